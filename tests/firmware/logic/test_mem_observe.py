"""Tests the observers of periodic samples, and the application state that is passed to them."""

from __future__ import annotations

from typing import Any

from tests.support.c_build import build


def copy(name: str) -> tuple[Any, Any, Any]:
    """ffi, lib and new of a separate copy of the module, because an observer cannot be removed."""
    module = build(f"mem_observe_{name}", ["memory_manager/src/mem_observe.c"], ["mem_observe.h"])
    return module.ffi, module.lib, module.new


def test_observers_are_called_with_the_state_and_whether_it_was_steady() -> None:
    ffi, lib, new = copy("state")
    seen: list[Any] = []

    def note(name: str) -> Any:
        @ffi.callback("void(const memory_observation_t *)")
        def observe(observation: Any) -> None:
            state = ffi.string(observation.state).decode()
            seen.append((name, state, observation.steady, observation.low, observation.critical))

        return observe

    observers = {name: new("memory_observer_t *") for name in ("first", "second")}
    calls = {name: note(name) for name in observers}
    for name, observer in observers.items():
        observer.observe = calls[name]
        lib.mem_observe_register(observer)
    stats = new("memory_stats_t *")
    states = {name: new("char[]", name.encode()) for name in ("camera", "voice", "")}

    def sample(low: bool = False, critical: bool = False) -> list[Any]:
        seen.clear()
        lib.mem_observe_sample(stats, low, critical)
        assert [entry[0] for entry in seen] == ["second", "first"]
        assert seen[0][1:] == seen[1][1:]
        return list(seen[0][1:])

    assert sample() == ["", False, False, False]
    lib.mem_observe_set_state(states["camera"])
    assert sample() == ["camera", False, False, False], "the state changed within the window"
    assert sample(low=True) == ["camera", True, True, False]
    assert sample(critical=True) == ["camera", True, False, True]
    lib.mem_observe_set_state(states[""])
    lib.mem_observe_set_state(states["camera"])
    assert sample() == ["camera", False, False, False], "the state changed and changed back within the window"
    lib.mem_observe_set_state(states[""])
    assert sample() == ["", False, False, False]
    assert sample() == ["", False, False, False], "without a state, a window must never be steady"
    lib.mem_observe_set_state(states["voice"])
    assert sample()[:2] == ["voice", False]
    assert sample()[:2] == ["voice", True]


def test_observers_get_only_what_they_ask_for() -> None:
    ffi, lib, new = copy("hooks")
    seen: list[Any] = []

    @ffi.callback("void(const char *)")
    def entered(state: Any) -> None:
        seen.append(("entered", ffi.string(state).decode()))

    @ffi.callback("void(const memory_warning_t *)")
    def warned(warning: Any) -> None:
        seen.append(("warned", warning.current_value))

    @ffi.callback("void(const memory_snapshot_t *)")
    def logged(snapshot: Any) -> None:
        seen.append(("logged", snapshot.sequence))

    @ffi.callback("void(uint32_t, uint32_t, const char *)")
    def failed(size: int, caps: int, function: Any) -> None:
        seen.append(("failed", size, caps, ffi.string(function).decode()))

    hooks = {"entered": entered, "warned": warned, "logged": logged, "failed": failed}
    observers = []
    for name, hook in hooks.items():
        observer = new("memory_observer_t *")
        setattr(observer, name, hook)
        lib.mem_observe_register(observer)
        observers.append(observer)
    warning, snapshot = new("memory_warning_t *"), new("memory_snapshot_t *")
    warning.current_value, snapshot.sequence = 4, 5
    state, function = new("char[]", b"voice"), new("char[]", b"heap_caps_malloc")
    lib.mem_observe_set_state(state)
    lib.mem_observe_warning(warning)
    lib.mem_observe_snapshot(snapshot)
    lib.mem_observe_failed(6, 7, function)
    assert seen == [("entered", "voice"), ("warned", 4), ("logged", 5), ("failed", 6, 7, "heap_caps_malloc")]


def test_observers_may_change_the_thresholds_of_a_check() -> None:
    ffi, lib, new = copy("thresholds")
    seen: list[tuple[str, bool]] = []

    @ffi.callback("void(const memory_observation_t *)")
    def observe(observation: Any) -> None:
        pass

    @ffi.callback("void(const memory_observation_t *, memory_thresholds_t *)")
    def adapt(observation: Any, thresholds: Any) -> None:
        seen.append((ffi.string(observation.state).decode(), observation.steady))
        thresholds.psram_warning = observation.stats.psram_free

    observer = new("memory_observer_t *", {"observe": observe, "adapt": adapt})
    lib.mem_observe_register(observer)
    stats = new("memory_stats_t *", {"psram_free": 77})
    thresholds = new("memory_thresholds_t *")
    camera, nothing = new("char[]", b"camera"), new("char[]", b"")
    lib.mem_observe_set_state(camera)
    for _ in range(2):
        lib.mem_observe_adapt(stats, thresholds)
    lib.mem_observe_sample(stats, False, False)
    lib.mem_observe_adapt(stats, thresholds)
    lib.mem_observe_set_state(nothing)
    lib.mem_observe_sample(stats, False, False)
    lib.mem_observe_adapt(stats, thresholds)
    assert seen == [("camera", False), ("camera", False), ("camera", True), ("", False)]
    assert thresholds.psram_warning == 77
