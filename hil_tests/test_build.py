"""Properties of the builds: options of the release image, stack use along call chains, and the tasks' priorities."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from fixtures.audio import RATE_HZ, tone
from fixtures.measure import Measure
from fixtures.modes import CAMERA, VOICE, Modes
from hotpin_hil.boards.stack_use import MONITOR, documented_tasks, limit, stack_use
from hotpin_hil.compat import tomllib
from hotpin_hil.device import Device
from hotpin_hil.device.images import RELEASE, WITH_CONSOLE
from hotpin_hil.paths import FIRMWARE_DIR
from hotpin_hil.pytest_plugin.plugin import BoardInUse

OPTIONS = Path(__file__).with_name("release_sdkconfig.toml")
BUILD_KIND = "HOTPIN_BUILD_KIND"
"""Option that names the kind of build; it has another value on each kind of board."""


def config_of(folder: Path) -> dict[str, Any]:
    """Options of a build, without CONFIG_."""
    config: dict[str, Any] = json.loads((folder / "config" / "sdkconfig.json").read_text())
    return config


ASSIGNMENT = re.compile(r"CONFIG_(\w+)=(\S+)|# CONFIG_(\w+) is not set")


def assigned(*files: Path) -> dict[str, Any]:
    """Options set in these files, without CONFIG_; later files override earlier ones."""
    found: dict[str, Any] = {}
    for path in files:
        for line in path.read_text().splitlines():
            match = ASSIGNMENT.match(line)
            if match is not None:
                name, text = match[1] or match[3], match[2] or "n"
                found[name] = {"y": True, "n": False}.get(text, int(text, 0) if text[0].isdigit() else text)
    return found


# Not in QEMU, where the release image has simulated drivers and one core.
@pytest.mark.boards("hardware", "virtual", needs="a build of the release configuration")
@pytest.mark.requirement("REL-01")
def test_release_image_has_the_expected_options(board: BoardInUse, measure: Measure) -> None:
    config = config_of(board.build_of(RELEASE).folder)
    expected = {
        name: value for table in tomllib.loads(OPTIONS.read_text()).values() for name, value in table.items()
    }
    for name, value in expected.items():
        if name in config or board.is_real_chip:
            measure(f"CONFIG_{name}", config.get(name, False), exact=value, source=OPTIONS.name)
    found = assigned(FIRMWARE_DIR / "sdkconfig.defaults", FIRMWARE_DIR / "sdkconfig.release")
    own = sorted(
        name for name in config if name.startswith("HOTPIN_") and name not in {*expected, BUILD_KIND}
    )
    measure("own options that are not listed", str(own), exact="[]", source=OPTIONS.name)
    for name, text in found.items():
        if name in expected:
            measure(f"CONFIG_{name} in the sdkconfig files", text, exact=expected[name], source=OPTIONS.name)


@pytest.mark.boards(
    "virtual", needs="call graphs; for another build: python -m hotpin_hil.boards.stack_use FOLDER"
)
@pytest.mark.requirement("PERF-05")
@pytest.mark.parametrize("image", [WITH_CONSOLE, RELEASE])
def test_call_chains_fit_into_the_stacks(board: BoardInUse, measure: Measure, image: str) -> None:
    """Compares the deepest call chain of each task, from the compiler's call graphs, with the size of the task's stack.
    The host's stack frames are larger than the chip's, so a chain that fits here also fits on the chip.

    The release image's monitor must not reach a function that formats text: its stack is too small for that.
    """
    uses = stack_use(board.build_of(image).folder)
    assert MONITOR in uses, "the build has no call graphs; gcc 10 or newer makes them"
    tasks = documented_tasks()
    for task, use in uses.items():
        measure(
            f"{image}: deepest call chain of {task}",
            use.bytes,
            "B",
            max=limit(task, tasks[task].stack, use),
            source=" > ".join(use.chain),
            klass="modelled",
        )
    if image == RELEASE:
        logs = uses[MONITOR].logs
        measure("the monitor formats text", logs, exact=False, source="PROTOCOL.md §2: its stack has 2 KB")


STACK_OPTIONS = {
    "hil_console": "HOTPIN_HIL_CONSOLE_STACK",
    "state": "HOTPIN_STATE_TASK_STACK",
    "stt_capture": "HOTPIN_STT_TASK_STACK",
    "tts_playback": "HOTPIN_TTS_TASK_STACK",
    "cam_task": "CAMERA_TASK_STACK_SIZE",
}


@pytest.mark.requirement("BOOT-01")
def test_tasks_have_the_documented_stacks_priorities_and_cores(
    board: BoardInUse, device: Device, modes: Modes, measure: Measure
) -> None:
    """Compares the documented stacks with the configuration, and the documented tasks, priorities and cores with the
    running tasks: in each mode, and during playback. In a single-core build every task is on core 0."""
    config = config_of(board.build.folder)
    tasks = documented_tasks()
    for task, option in STACK_OPTIONS.items():
        measure(f"stack of {task}", tasks[task].stack, "B", exact=config[option], source=f"CONFIG_{option}")
    permanent = {"mem_monitor", "mem_history", "state", "hil_console"}
    found, cores = {CAMERA: device.priorities()}, {CAMERA: device.cores()}
    modes.to(VOICE)
    found[VOICE], cores[VOICE] = device.priorities(), device.cores()
    modes.write(tone(RATE_HZ // 8))
    device.tts_play()
    found["playing"], cores["playing"] = device.priorities(), device.cores()
    expected = {
        CAMERA: permanent | {"cam_task"},
        VOICE: permanent | {"stt_capture"},
        "playing": permanent | {"stt_capture", "tts_playback"},
    }
    for when, names in expected.items():
        measure(
            f"{when}: tasks", str(sorted(found[when])), exact=str(sorted(names)), source="the mode's tasks"
        )
        for name in sorted(names & found[when].keys()):
            measure(
                f"{when}: priority of {name}",
                found[when][name],
                exact=tasks[name].priority,
                source="firmware/README.md, Tasks",
            )
            documented = 0 if config["FREERTOS_UNICORE"] else tasks[name].core
            measure(
                f"{when}: {name} runs where documented",
                cores[when].get(name) == documented,
                exact=True,
                source="firmware/README.md, Tasks",
            )
