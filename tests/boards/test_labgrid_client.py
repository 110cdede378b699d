"""Uses labgrid's places as boards, with a fake labgrid-client: the queue, faulty places, errors and versions."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from hotpin_hil.boards import labgrid, labgrid_guard, labgrid_watch
from hotpin_hil.boards.bench import BoardEntry, load_bench
from hotpin_hil.boards.choose import Wish, choose_board
from hotpin_hil.boards.kind import BoardKind
from hotpin_hil.boards.labgrid import LabgridPlaces
from hotpin_hil.boards.labgrid_client import (
    ENV_CLIENT,
    CoordinatorError,
    LabgridClient,
    LabgridError,
    find_client,
    parse_places,
)
from hotpin_hil.boards.labgrid_place import AcquiredPlace
from hotpin_hil.boards.labgrid_settings import LabgridSettings
from hotpin_hil.boards.labgrid_watch import PlaceWatch
from hotpin_hil.boards.lease import Lease
from hotpin_hil.errors import UsageError
from hotpin_hil.paths import PROJECT_ROOT
from tests.support.fake_labgrid import FakeLabgrid
from tests.support.until import until

PATIENCE_S = 60.0
ADDRESS = "bench-1.example:20408"


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeLabgrid:
    monkeypatch.setenv("PYTHONPATH", str(PROJECT_ROOT))
    monkeypatch.setattr(labgrid_guard, "_PAUSE_S", 0.01)
    monkeypatch.setattr(labgrid, "PROGRESS_S", 0.1)
    return FakeLabgrid(tmp_path)


class Runs:
    """Runs that use the fake labgrid-client; `told` contains the lines that they reported."""

    def __init__(self, fake: FakeLabgrid) -> None:
        self.fake = fake
        self.told: list[str] = []
        self._open: list[LabgridPlaces] = []

    def connect(self, *, coordinator: str = ADDRESS, **settings: tuple[object, ...]) -> LabgridPlaces:
        places = LabgridPlaces.connect(
            LabgridSettings(coordinator, **settings),  # type: ignore[arg-type]
            BoardKind.HARDWARE,
            {ENV_CLIENT: str(self.fake.program)},
            self.told.append,
        )
        self._open.append(places)
        return places

    def board(self) -> BoardEntry:
        (board,) = self.connect().acquire(1, 0)
        return board

    def close(self) -> None:
        for places in self._open:
            places.release()


@pytest.fixture
def runs(fake: FakeLabgrid) -> Iterator[Runs]:
    runs = Runs(fake)
    yield runs
    runs.close()


def is_free(fake: FakeLabgrid, name: str) -> bool:
    place = fake.place(name)
    return not place["acquired"] and not place["reservation"]


# --- boards ---


def test_a_place_is_a_board(fake: FakeLabgrid, runs: Runs) -> None:
    fake.add_place("other", tags={"board": "other"})
    power = {"cls": "NetworkUSBPowerPort", "busnum": 1}
    serial = {"cls": "NetworkSerialPort", "host": "fe80::1", "port": 4001}
    fake.add_place("cam-1", tags={"board": "esp32-cam", "mac": "240AC4000001"}, resources=[serial, power])
    board = runs.board()
    assert fake.place("cam-1")["acquired"]
    assert board.name == "cam-1"
    assert board.port == "rfc2217://[fe80::1]:4001?ign_set_control"
    assert board.mac == "24:0a:c4:00:00:01"
    assert BoardEntry.from_json(board.as_json()) == board
    assert board.power is not None
    board.power.cycle()
    board.power.off()
    assert fake.state["calls"][-2:] == ["power cycle", "power off"]


def test_the_last_line_of_a_kind_counts() -> None:
    """A place's comment precedes its fields, may have several lines, and may look like a field."""
    (place,) = parse_places("Place 'a':\n  comment: x\n  acquired: nobody\n  acquired: desk/jo\n")
    assert place.acquired == "desk/jo"


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ({"is_orphaned": True}, "has no matching remote resource"),
        ({"resources": []}, "has no NetworkSerialPort"),
        (
            {"resources": [{"cls": "NetworkSerialPort", "host": "a", "port": 1, "protocol": "raw"}]},
            "'raw', which cannot reset the board",
        ),
        (
            {"resources": [{"cls": "NetworkSerialPort", "host": "a b", "port": 1}]},
            "has no usable address: 'a b':1",
        ),
        (
            {"resources": [{"cls": "NetworkSerialPort", "host": "a", "port": None}]},
            "has no usable address: 'a':None",
        ),
        (
            {"resources": [{"cls": "NetworkSerialPort", "host": "a", "port": 1, "proxy_required": True}]},
            "only be reached through SSH",
        ),
        (
            {"resources": [{"cls": "NetworkSerialPort", "host": "a", "port": 1, "avail": False}]},
            "does not see the board",
        ),
        ({"tags": {"board": "esp32-cam", "mac": "mine"}}, "mac=mine, which is not a MAC"),
    ],
)
def test_a_place_with_a_problem_is_left_out(
    fake: FakeLabgrid, runs: Runs, more: dict[str, object], problem: str
) -> None:
    fake.add_place("bad", **more)
    fake.add_place("good")
    assert runs.board().name == "good"
    assert len(runs.told) == 1
    assert runs.told[0].startswith("place bad is not used: ")
    assert problem in runs.told[0]
    assert is_free(fake, "bad")


def test_name_with_control_characters_is_refused(fake: FakeLabgrid, runs: Runs) -> None:
    fake.add_place("bad\x1b[31m")
    with pytest.raises(UsageError, match="control characters in its name") as refused:
        runs.board()
    assert "\x1b" not in str(refused.value)


def test_only_listed_places_are_used(fake: FakeLabgrid, runs: Runs) -> None:
    for name in ("cam-1", "cam-2", "cam-3"):
        fake.add_place(name)
    boards = runs.connect(places=("cam-3", "cam-2")).acquire(2, 0)
    assert [board.name for board in boards] == ["cam-3", "cam-2"]


def test_too_few_places_do_not_wait(fake: FakeLabgrid, runs: Runs) -> None:
    fake.add_place("cam-1")
    fake.add_place("cam-2", tags={"board": "other"})
    with pytest.raises(
        UsageError, match=r"2 boards are needed .* but labgrid has 1 such place: cam-1 .tag places"
    ):
        runs.connect().acquire(2, PATIENCE_S)
    runs.close()
    assert is_free(fake, "cam-1")


# --- the queue ---


def test_wait_names_the_holder_and_ends_in_time(fake: FakeLabgrid, runs: Runs) -> None:
    fake.add_place("cam-1", acquired="de\x1bsk/eve")
    with pytest.raises(UsageError) as refused:
        runs.connect().acquire(1, 0.1)
    error = str(refused.value)
    assert error.startswith(
        "1 board is needed (board=esp32-cam, labgrid at bench-1.example:20408), none free"
    )
    assert r"even after 0.1 s; in use: cam-1 by eve@de\x1bsk since 2026-11-30 08:14:25" in error
    assert "wait longer with --lease-timeout S" in error
    runs.close()
    assert fake.state["reservations"] == {}


def test_a_place_is_taken_as_soon_as_labgrid_assigns_it(fake: FakeLabgrid, runs: Runs) -> None:
    fake.add_place("cam-1", acquired="de\x1bsk/eve")
    found: list[BoardEntry] = []
    places = runs.connect()
    thread = threading.Thread(target=lambda: found.extend(places.acquire(1, PATIENCE_S)))
    thread.start()
    until(lambda: runs.told)
    with fake as state:
        state["places"]["cam-1"]["acquired"] = None
    thread.join()
    assert [board.name for board in found] == ["cam-1"]
    assert runs.told[0] == (
        "waiting up to 60 s: 1 board is needed (board=esp32-cam, labgrid at bench-1.example:20408); in use: "
        r"cam-1 by eve@de\x1bsk since 2026-11-30 08:14:25"
    )


def test_runs_that_need_two_boards_do_not_keep_one_each(
    fake: FakeLabgrid, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(labgrid, "HOLD_S", 0.1)
    fake.add_place("cam-1")
    fake.add_place("cam-2", acquired="desk/eve")
    first, second = runs.connect(), runs.connect()
    found: list[str] = []
    thread = threading.Thread(
        target=lambda: found.extend(board.name for board in first.acquire(2, PATIENCE_S))
    )
    thread.start()
    until(lambda: runs.told)
    with pytest.raises(UsageError, match="needed"):
        second.acquire(2, 1.0)
    second.release()
    with fake as state:
        state["places"]["cam-2"]["acquired"] = None
    thread.join()
    assert sorted(found) == ["cam-1", "cam-2"]
    assert any(call.startswith("release") for call in fake.state["calls"]), (
        "the run did not release its board"
    )


# --- the end ---


def test_release_gives_everything_back(fake: FakeLabgrid, runs: Runs) -> None:
    fake.add_place("cam-1")
    places = runs.connect()
    places.acquire(1, 0)
    assert places.release() == []
    assert is_free(fake, "cam-1")
    assert fake.state["reservations"] == {}
    assert places.release() == []


def test_place_that_cannot_be_released_is_reported(fake: FakeLabgrid, runs: Runs) -> None:
    fake.add_place("cam-1")
    places = runs.connect()
    places.acquire(1, 0)
    with fake as state:
        state["fails"] = {"release": "failed to release"}
    (problem,) = places.release()
    assert re.fullmatch(
        r"labgrid's reservation T\d+ was not released: .*failed to release \(try labgrid-.*", problem
    )


def test_guard_of_a_killed_run_waits_for_its_workers(fake: FakeLabgrid, tmp_path: Path) -> None:
    fake.add_place("cam-1")
    client = LabgridClient(str(fake.program), ADDRESS)
    guard = labgrid_guard.ReleaseGuard(client)
    reservation = client.reserve({"board": "esp32-cam"})
    client.acquire(reservation.token)
    guard.hold(reservation.token)
    guard.wait_for_lock(tmp_path, "port-worker")
    process = guard._process
    with Lease(tmp_path, "a worker's") as lease:
        lease.add("port-worker")
        assert process.stdin is not None
        process.stdin.close()  # the place must also be released if the run is killed
        assert fake.place("cam-1")["acquired"]
    assert process.wait(PATIENCE_S) == 0
    assert is_free(fake, "cam-1")


# --- errors and versions ---


def test_coordinator_that_does_not_answer_is_named(fake: FakeLabgrid, runs: Runs) -> None:
    with fake as state:
        state["is_up"] = False
    with pytest.raises(CoordinatorError) as lost:
        runs.connect()
    assert str(lost.value) == (
        "labgrid's coordinator bench-1.example:20408 does not answer (start labgrid-coordinator there, or correct "
        "the coordinator in [labgrid] or --labgrid-coordinator)"
    )


@pytest.mark.parametrize("version", ["24.0.3", "27.0", "0.4.1", "", "usage: \x1b[31m"])
def test_unknown_version_is_one_clear_line(fake: FakeLabgrid, runs: Runs, version: str) -> None:
    with fake as state:
        state["version"] = version
    with pytest.raises(UsageError, match=r"it must be 25 or 26 \(set HOTPIN_LABGRID_CLIENT to") as refused:
        runs.connect()
    assert "\x1b" not in str(refused.value)


def test_client_is_found(fake: FakeLabgrid, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_client({ENV_CLIENT: str(fake.program), "PATH": ""}) == str(fake.program)
    assert find_client({"PATH": str(tmp_path)}) == str(fake.program)
    made = tmp_path / "made" / "bin" / "labgrid-client"
    made.parent.mkdir(parents=True)
    monkeypatch.setattr("hotpin_hil.boards.labgrid_client.LABGRID_ENV_DIR", made.parent.parent)
    with pytest.raises(UsageError, match=r"labgrid-client was not found .run make labgrid"):
        find_client({"PATH": ""})
    made.write_text("#!/bin/sh\n")
    made.chmod(0o755)
    assert find_client({"PATH": ""}) == str(made)
    with pytest.raises(UsageError, match=f"{ENV_CLIENT} is 'nowhere', which is not a program"):
        find_client({ENV_CLIENT: "nowhere"})


def test_program_that_is_not_labgrids_is_an_error(fake: FakeLabgrid, runs: Runs) -> None:
    fake.program.write_text("#!/bin/sh\necho nonsense \x1b >&2; exit 3\n")
    with pytest.raises(LabgridError, match=r"labgrid-client version: nonsense \\x1b"):
        runs.connect()
    fake.program.write_text("#!/nowhere\n")
    with pytest.raises(LabgridError, match="cannot be run: No such file"):
        runs.connect()


def test_variables_of_another_labgrid_project_do_not_matter(
    fake: FakeLabgrid, tmp_path: Path, monkeypatch
) -> None:
    fake.program.write_text('#!/bin/sh\necho "26.$LG_ENV$LG_PLACE$STATE$KEPT"\n')
    for name in ("LG_ENV", "LG_PLACE", "STATE"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("KEPT", "1")
    client = LabgridClient(str(fake.program), ADDRESS)
    assert client.run("version") == "26.1\n"


# --- a place in use ---


class Clock:
    now = 0.0

    def __call__(self) -> float:
        self.now += 6  # time advances with each query, so that every wait ends
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    monkeypatch.setattr(labgrid_watch, "_POLL_S", 0.0)
    return Clock()


@pytest.fixture
def place(fake: FakeLabgrid, runs: Runs) -> AcquiredPlace:
    fake.add_place("cam-1")
    board = runs.board()
    assert board.place is not None
    return board.place


def test_a_place_is_checked_from_time_to_time(fake: FakeLabgrid, place: AcquiredPlace, clock: Clock) -> None:
    watch = PlaceWatch(place, clock)
    calls = len(fake.state["calls"])
    assert watch.check() is None
    assert len(fake.state["calls"]) == calls
    clock.now += labgrid_watch.CHECK_S
    with fake as state:
        state["places"]["cam-1"]["resources"][0]["port"] = 4007
    assert watch.check() == "rfc2217://bench-3.example:4007?ign_set_control"
    assert watch.check() is None


def test_missing_exporter_blocks_until_it_is_back(
    fake: FakeLabgrid, place: AcquiredPlace, clock: Clock
) -> None:
    watch = PlaceWatch(place, clock)
    assert not watch.is_away()
    with fake as state:
        state["places"]["cam-1"]["is_orphaned"] = True
    assert watch.is_away()
    calls = len(fake.state["calls"])
    with pytest.raises(
        LabgridError,
        match=rf"exporter shelf of place cam-1 is not connected to {ADDRESS} .start labgrid-exporter",
    ):
        watch.check()
    waited = len(fake.state["calls"]) - calls
    assert waited > 3, "the run does not wait for the exporter"
    with pytest.raises(LabgridError, match="not connected"):
        watch.check()
    assert len(fake.state["calls"]) == calls + waited + 1, "the run waits twice"
    with fake as state:
        state["places"]["cam-1"]["is_orphaned"] = False
    assert watch.check()


def test_place_is_acquired_again_after_a_restart_of_the_coordinator(
    fake: FakeLabgrid, place: AcquiredPlace, clock: Clock
) -> None:
    watch = PlaceWatch(place, clock)
    with fake as state:
        state["is_up"] = False
    clock.now += labgrid_watch.CHECK_S
    assert watch.check() is None, "tests continue although the coordinator is gone"
    with fake as state:
        state["is_up"] = True
        state["reservations"].clear()
        state["places"]["cam-1"] |= {"acquired": None, "reservation": None}
    clock.now += labgrid_watch.CHECK_S
    assert watch.check()
    assert fake.place("cam-1")["acquired"]
    assert watch.release() == []
    assert is_free(fake, "cam-1")


@pytest.mark.parametrize("holder", [{"acquired": "desk/eve"}, {"reservation": "OTHER"}])
def test_place_that_was_given_away_is_not_used(
    fake: FakeLabgrid, place: AcquiredPlace, clock: Clock, holder: dict[str, str]
) -> None:
    watch = PlaceWatch(place, clock)
    with fake as state:
        state["places"]["cam-1"] |= {"acquired": None, "reservation": None, **holder}
    clock.now += labgrid_watch.CHECK_S
    with pytest.raises(
        LabgridError, match=r"has given place cam-1 to (desk/eve|another reservation): it was restarted"
    ):
        watch.check()


def test_deleted_place_is_not_mistaken_for_a_longer_name(
    fake: FakeLabgrid, place: AcquiredPlace, clock: Clock
) -> None:
    fake.add_place("cam-10")
    watch = PlaceWatch(place, clock)
    with fake as state:
        del state["places"]["cam-1"]
    clock.now += labgrid_watch.CHECK_S
    with pytest.raises(LabgridError, match="no longer has the place cam-1"):
        watch.check()


# --- bench.toml ---

WHOLE = """
[labgrid]
coordinator = "bench-1.example:20408"
match = { board = "esp32-cam", room = "3" }
places = ["cam-1", "cam-2"]
"""


def load(folder: Path, text: str) -> LabgridSettings:
    (folder / "bench.toml").write_text(text)
    settings = load_bench(folder / "bench.toml").labgrid
    assert settings is not None
    return settings


def test_every_key_is_read(tmp_path: Path) -> None:
    settings = load(tmp_path, WHOLE)
    assert settings == LabgridSettings(ADDRESS, (("board", "esp32-cam"), ("room", "3")), ("cam-1", "cam-2"))
    assert load(tmp_path, '[labgrid]\ncoordinator = "a"') == LabgridSettings("a")
    assert settings.is_met_by("cam-1", {"board": "esp32-cam", "room": "3", "more": "1"})
    assert not settings.is_met_by("cam-3", {"board": "esp32-cam", "room": "3"})
    assert not settings.is_met_by("cam-1", {"board": "esp32-cam"})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("labgrid = 1", "labgrid = 1 is not a table"),
        ("[labgrid]", "has no coordinator"),
        ("[labgrid]\ncoordinator = 1", "coordinator = 1 is not valid"),
        ('[labgrid]\ncoordinator = "ws://a:1"', "'ws://a:1' is not the address of a coordinator"),
        ('[labgrid]\ncoordinator = "-h"', "'-h' is not the address"),
        ('[labgrid]\ncoordinater = "a"', "did you mean 'coordinator'?"),
        ('[labgrid]\ncoordinator = "a"\nmatch = { B = "x" }', "match has B = 'x'"),
        ('[labgrid]\ncoordinator = "a"\nmatch = { board = "x=y" }', "match has board = 'x=y'"),
        ('[labgrid]\ncoordinator = "a"\nmatch = { board = 1 }', "match has board = 1"),
        ('[labgrid]\ncoordinator = "a"\nplaces = [""]', "places has ''"),
        (f"{WHOLE}\n[[board]]\nname = 'a'\nport = '/dev/x'", r"both \[\[board\]\] and \[labgrid\]"),
    ],
)
def test_each_error_of_the_file_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as refused:
        load(tmp_path, text)
    assert "\n" not in str(refused.value)


def test_labgrid_is_chosen(tmp_path: Path) -> None:
    (tmp_path / "bench.toml").write_text(WHOLE)
    bench = load_bench(tmp_path / "bench.toml")
    choice = choose_board(Wish(), {}, list, bench)
    assert (choice.kind, choice.labgrid, choice.is_started_here) == (BoardKind.HARDWARE, bench.labgrid, False)
    assert choose_board(Wish(kind="virtual"), {}, list, bench).kind == BoardKind.VIRTUAL
    assert choose_board(Wish(kind="qemu"), {}, list, bench).is_started_here
    assert choose_board(Wish(port="rfc2217://a:1"), {}, list, bench).labgrid is None
    named = choose_board(Wish(name="cam-2", labgrid="other:1"), {}, list, bench).labgrid
    assert named is not None
    assert (named.coordinator, named.places) == ("other:1", ("cam-2",))
    alone = choose_board(Wish(labgrid="other:1"), {}, list).labgrid
    assert alone == LabgridSettings("other:1")
    with pytest.raises(UsageError, match="has no place cam-9"):
        choose_board(Wish(name="cam-9"), {}, list, bench)
    with pytest.raises(UsageError, match="--labgrid-coordinator = 'a b' is not the address"):
        choose_board(Wish(labgrid="a b"), {}, list)
    (tmp_path / "bench.toml").write_text("[[board]]\nname = 'a'\nport = '/dev/x'")
    with pytest.raises(UsageError, match=r"lists boards .leave one of the two out"):
        choose_board(Wish(labgrid="a"), {}, list, load_bench(tmp_path / "bench.toml"))
