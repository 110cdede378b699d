"""Tests the table of faults, and their effects on the serial line, the flash, and the parameters of the runtime."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from serial import SerialException

from hotpin_hil.errors import UsageError
from hotpin_hil.paths import FIRMWARE_DIR, PROJECT_ROOT
from hotpin_hil.virtual.control import BoardControl
from hotpin_hil.virtual.faults import firmware
from hotpin_hil.virtual.faults.board import Faults
from hotpin_hil.virtual.faults.line import LineFaults
from hotpin_hil.virtual.faults.table import FAULTS, FIRMWARE, describe, find
from tests.support.until import until
from tests.support.virtual_board import Boards, Build, Console

SENT = "".join(f"I ({n}) TAG: line {n} ┌──║ end\r\n" for n in range(60)).encode()


def passed(name: str, seed: int = 1, chunk: int = 7, **arguments: Any) -> bytes:
    """The bytes that the host receives if SENT passes through a serial line with this fault."""
    line = LineFaults()
    line.add(name, find(name).parse(arguments), str(seed))
    return b"".join(line.to_host(SENT[at : at + chunk]) for at in range(0, len(SENT), chunk))


# --- The table of faults ---


def test_arguments_are_checked_and_filled_in() -> None:
    assert find("noise").parse({"rate": "0.5"}) == {"rate": 0.5, "count": 0, "direction": "to-host"}
    for name, given, message in (
        ("noise", {"rate": "loud"}, r"`rate` 'loud' is not valid \(give a number from 0 to 1\)"),
        ("noise", {"rate": 1.5}, "`rate` 1.5 is not valid"),
        ("noise", {"rate": "nan"}, "`rate` 'nan' is not valid"),
        ("noise", {"count": 1.5}, r"`count` 1.5 is not valid \(give a whole number"),
        (
            "noise",
            {"direction": "up"},
            r"`direction` 'up' is not valid \(give one of to-host, to-board, both\)",
        ),
        ("foreign-line", {"text": "two\nlines"}, "`text` .* is not valid"),
        ("hang", {"long": 1}, r"no argument 'long' \(it has none\)"),
    ):
        with pytest.raises(UsageError, match=message):
            find(name).parse(given)
    with pytest.raises(UsageError, match=r"unknown fault 'fire' \(known faults: noise, drop"):
        find("fire")


def test_defaults_are_valid() -> None:
    for fault in FAULTS.values():
        assert fault.parse({argument.name: argument.default for argument in fault.arguments}) == fault.parse(
            {}
        )


def test_document_has_the_table() -> None:
    text = (PROJECT_ROOT / "docs" / "faults.md").read_text(encoding="utf-8")
    assert describe() in text, (
        "put in docs/faults.md what this prints: "
        "python -c 'from hotpin_hil.virtual.faults.table import describe; print(describe())'"
    )


def test_runtime_knows_every_fault_sent_to_it() -> None:
    known = set(re.findall(r'strcmp\(name, "(\w+)"\)', (FIRMWARE_DIR / "native/idf/faults.c").read_text()))
    sent = {line.split("=")[0] for name in FAULTS for line in firmware.lines_to_begin(name)}
    sent |= {line.split("=")[0] for line in firmware.lines_to_clear(FAULTS)}
    sent |= {"sensor_used", "time_scale_milli", "run", "jump"}  # requests that are not faults
    assert sent == known
    in_firmware = {name for name, fault in FAULTS.items() if fault.group == FIRMWARE}
    assert {name for name in FAULTS if firmware.lines_to_begin(name)} == in_firmware - {"no-psram"} | {
        "brown-out"
    }


# --- The serial line ---


@pytest.mark.parametrize("name", ["noise", "drop", "insert", "duplicate", "foreign-line"])
def test_same_seed_has_the_same_effect_in_any_chunking(name: str) -> None:
    arguments: dict[str, Any] = {"count": 5} if name == "foreign-line" else {"rate": 0.02}
    first = passed(name, **arguments)
    assert first != SENT
    assert passed(name, chunk=1000, **arguments) == first
    assert passed(name, seed=2, **arguments) != first


@pytest.mark.parametrize(("name", "longer"), [("noise", 0), ("drop", -3), ("insert", 3), ("duplicate", 3)])
def test_count_is_the_number_of_bytes(name: str, longer: int) -> None:
    got = passed(name, rate=0.5, count=3)
    assert len(got) - len(SENT) == longer
    if name == "noise":
        changed = [a ^ b for a, b in zip(got, SENT, strict=True) if a != b]
        assert len(changed) == 3
        assert all(bit.bit_count() == 1 for bit in changed)


def test_nothing_passes_at_rate_1_and_everything_at_0() -> None:
    assert passed("drop", rate=1) == b""
    assert passed("drop", rate=0) == SENT


def test_line_is_cut_inside_a_character() -> None:
    got = passed("cut-utf8", count=2)
    assert got.startswith(
        b"I (0) TAG: line 0 \xe2\r\nI (1) TAG: line 1 \xe2\r\nI (2) TAG: line 2 \xe2\x94\x8c"
    )


def test_foreign_line_breaks_in_and_the_rest_follows() -> None:
    got = passed("foreign-line", text="I (1) wifi: here")
    (before, after) = got.split(b"I (1) wifi: here\r\n")
    assert before + after == SENT
    assert not before.endswith(b"\n")
    got = passed("foreign-line", inside="character", text="I (1) wifi: here")
    assert got.startswith(b"I (0) TAG: line 0 \xe2I (1) wifi: here\r\n\x94\x8c")


def test_foreign_line_has_the_time_of_the_line_that_it_breaks() -> None:
    """Without its own time, a log reader would treat the foreign line as a quotation."""
    got = passed("foreign-line", inside="character", count=20)
    times = re.findall(rb"I \((\d+)\) TAG: line \d+ \xe2I \((\d+)\) wifi:", got)
    # A line has four characters to break.
    assert [time for time, _ in times] == [b"%d" % number for number in range(5)]
    assert all(time == foreign for time, foreign in times)


def test_megabytes_without_an_end_of_line_pass_in_time() -> None:
    """Reading the flash sends data without line ends. If the fault stored the unfinished line, the time would grow
    quadratically."""
    line = LineFaults()
    line.add("cut-utf8", find("cut-utf8").parse({}), "1")
    started = time.process_time()
    for _ in range(32):
        assert line.to_host(bytes(0x8000)) == bytes(0x8000)
    assert (
        time.process_time() - started < 10
    )  # takes about 0.3 s on an idle machine; it would take minutes if the line were stored


def test_line_fault_acts_in_its_direction_only() -> None:
    line = LineFaults()
    line.add("drop", find("drop").parse({"rate": 1, "direction": "to-board"}), "1")
    assert (line.to_host(b"out"), line.to_board(b"in")) == (b"out", b"")
    line.add("drop", find("drop").parse({"rate": 1, "direction": "both"}), "1")
    assert line.to_host(b"out") == b""
    line.clear()
    assert (line.to_host(b"out"), line.to_board(b"in")) == (b"out", b"in")


# --- Flash and supply ---


class Timer:
    def __init__(self, action: Callable[[], None]) -> None:
        self.action: Callable[[], None] | None = action

    def cancel(self) -> None:
        self.action = None


class Subject:
    """Fake board that records calls. `timers` maps delays in seconds to scheduled actions."""

    flash_bytes = 4 << 20

    def __init__(self, runs: str = "firmware") -> None:
        self.runs = runs
        self.done: list[tuple[Any, ...]] = []
        self.timers: dict[float, Timer] = {}

    def call_later(self, seconds: float, action: Callable[[], None]) -> Timer:
        self.timers[seconds] = Timer(action)
        return self.timers[seconds]

    def later(self, seconds: float) -> None:
        """Runs the action that was scheduled for `seconds` after the request."""
        action = self.timers[seconds].action
        if action is not None:
            action()

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments: self.done.append((name, *arguments))


def faults_of(subject: Subject) -> tuple[Faults, list[str]]:
    notes: list[str] = []
    return Faults(subject, "1/0", notes.append, subject.call_later), notes


def test_power_fails_after_the_given_bytes_of_flashing() -> None:
    subject = Subject()
    faults, notes = faults_of(subject)
    faults.inject("power-cut-flashing", {"bytes": 10, "off_s": 0.5}, seed=3)
    assert notes == ["fault power-cut-flashing bytes=10 off_s=0.5 seed=3"]
    assert faults.programmed(0x1000, b"12345678") == b"12345678"
    assert subject.done == []
    assert faults.programmed(0x1008, b"12345678") == b"12"
    assert subject.done == [("cut_power", 0.5)]
    assert faults.programmed(0x1000, b"after") == b"after"
    assert faults.in_force == []


def test_bad_flash_keeps_a_bit_of_its_byte_set_and_no_other() -> None:
    faults, _ = faults_of(Subject())
    faults.inject("bad-flash", {"at": 0x1002})
    assert faults.programmed(0x1000, b"\x00\x00\xf0\xf0\x00") == b"\x00\x00\xf1\xf0\x00"
    assert faults.programmed(0x1002, b"\x00") == b"\x01"
    for offset, data in (
        (0x1000, b"\x00\x00\xff\x00"),
        (0x1000, bytes(2)),
        (0x1003, b"\x00"),
        (0x90000, b"\x00"),
    ):
        assert faults.programmed(offset, data) == data
    with pytest.raises(
        UsageError, match=r"`at` 4194304 is outside the flash \(the flash has 4194304 bytes\)"
    ):
        faults.inject("bad-flash", {"at": 4 << 20})


@pytest.mark.parametrize(
    ("name", "arguments", "refused"),
    [
        ("panic", {}, ("off", "in reset", "rom loader", "booting", "hung", "crashed", "halted")),
        ("task-watchdog", {}, ("booting", "hung")),
        ("interrupt-watchdog", {}, ("booting", "hung")),
        ("brown-out", {}, ("booting", "hung")),
        ("power-cut-step", {}, ("booting", "hung")),
        ("brown-out", {"by": "hardware"}, ("off", "in reset")),
        ("hang", {}, ("off", "in reset")),
        ("power-cut", {}, ("off",)),
    ],
)
def test_fault_without_effect_is_refused(
    name: str, arguments: dict[str, Any], refused: tuple[str, ...]
) -> None:
    for runs in refused:
        subject = Subject(runs)
        faults, notes = faults_of(subject)
        with pytest.raises(UsageError, match=f"fault {name} would do nothing: `board list` shows '{runs}'"):
            faults.inject(name, arguments)
        assert (subject.done, notes, faults.in_force) == ([], [], [])
    faults, _ = faults_of(Subject())
    faults.inject(name, arguments)
    faults.chip_stopped()
    assert faults.in_force == []  # a one-time fault ends with its action


def test_each_fault_of_the_port_has_its_own_timer() -> None:
    subject = Subject()
    faults, _ = faults_of(subject)

    def port() -> tuple[bool, bool]:
        """Pair: whether the port refuses clients, and whether it hangs."""
        last = {name: arguments[0] for name, *arguments in subject.done if arguments}
        return last["refuse_clients"], last["hang_bridge"]

    for name, seconds in (("bridge-hang", 5), ("port-busy", 3), ("disconnect", 1)):
        faults.inject(name, {"seconds": seconds})
    assert subject.done[-1] == ("drop_client",)
    assert port() == (True, True)
    subject.later(1)
    assert port() == (True, True)
    subject.later(3)
    assert port() == (False, True)
    assert [fault.name for fault in faults.in_force] == ["bridge-hang"]
    faults.clear()
    assert port() == (False, False)
    faults.inject("bridge-hang", {"seconds": 0})
    subject.later(5)  # the timer of the fault that was cleared must do nothing
    assert port() == (False, True)


def test_clearing_disarms_the_step_too() -> None:
    subject = Subject()
    faults, _ = faults_of(subject)
    for _ in range(2):
        faults.inject("power-cut-step", {"step": "audio.start"}, seed=7)
        faults.clear()
    assert [words[0] for name, *words in subject.done if name == "type_in"] == [
        "@60001 sys.panic kind=abort step=audio.start\n",
        "@60002 heap.fail off=1\n",
        # The id must be new: for a repeated one, the firmware would only repeat its reply.
        "@60003 sys.panic kind=abort step=audio.start\n",
        "@60004 heap.fail off=1\n",
    ]


def test_lasting_faults_are_sent_at_each_start_until_cleared() -> None:
    subject = Subject()
    faults, notes = faults_of(subject)
    faults.inject("sensor-dead", {})
    faults.inject("panic", {})
    assert subject.done == [("tell_firmware", "sensor_dead=1"), ("tell_firmware", "panic")]
    assert faults.start_lines(sensor_used=True) == ["sensor_dead=1", "sensor_used=1"]
    assert faults.start_lines(sensor_used=False) == ["sensor_dead=1"]
    faults.clear()
    assert ("tell_firmware", "sensor_dead=0") in subject.done
    assert faults.start_lines(sensor_used=True) == []
    assert notes[-1] == "faults cleared: panic, sensor-dead"


def test_drawn_seeds_follow_from_the_seed_of_the_board() -> None:
    seeds = [[faults_of(Subject())[0].inject("noise", {}).seed for _ in range(1)] for _ in range(2)]
    assert seeds[0] == seeds[1]
    faults, _ = faults_of(Subject())
    assert faults.inject("noise", {}).seed != faults.inject("noise", {}).seed


# --- On a board with a fake firmware ---


@pytest.fixture(scope="module")
def boards(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Boards]:
    build = Build(tmp_path_factory.mktemp("build"))
    state_dir = tmp_path_factory.mktemp("boards")
    place = state_dir / "hotpin-5.4-0"
    place.mkdir()
    (place / "flash.bin").write_bytes(build.flash_image())
    boards = Boards(state_dir, build.registry)
    yield boards
    boards.stop()


@pytest.fixture
def control(boards: Boards) -> Iterator[BoardControl]:
    control = BoardControl(Path(boards.found[0]["directory"]))
    yield control
    control.ask("clear")
    control.ask("power", on=True)


@pytest.fixture
def console(boards: Boards, control: BoardControl) -> Iterator[Console]:
    with Console(boards.url) as console:
        console.restart()
        yield console


def inject(control: BoardControl, fault: str, **arguments: Any) -> None:
    control.ask("fault", fault=fault, arguments=arguments)


def test_line_faults_reach_both_ends(control: BoardControl, console: Console) -> None:
    inject(control, "duplicate", rate=1, count=2, direction="both")
    console.send("abc")
    console.expect("aaaabbc")


def test_hanging_chip_is_silent_until_its_reset(
    boards: Boards, control: BoardControl, console: Console
) -> None:
    (firmware_pid,) = boards.children()
    inject(control, "hang")
    assert control.state()["runs"] == "hung"
    assert control.state()["faults"][0].startswith("hang ")
    console.send("lost")
    status = Path(f"/proc/{firmware_pid}/stat")
    until(lambda: status.read_text().rsplit(")", 1)[1].split()[0] == "T")  # stopped
    console.restart()
    assert control.state()["faults"] == []
    console.send("here")
    assert "lost" not in console.expect("(.*)here").group(1)


def test_power_returns_after_a_power_cut(control: BoardControl, console: Console) -> None:
    inject(control, "power-cut", off_s=0)
    assert control.state()["runs"] == "off"
    control.ask("reset")
    assert control.state()["runs"] == "off"
    control.ask("power", on=True)
    console.expect("POWERON_RESET.*ready\n")
    inject(control, "power-cut", off_s=0.05)
    console.expect("POWERON_RESET.*ready\n")


def test_switching_on_a_powered_board_does_not_reset_it(control: BoardControl, console: Console) -> None:
    control.ask("power", on=True)
    console.send("still here")
    assert "param" not in console.expect("(.*)still here").group(1)


def test_brown_out_in_hardware_has_its_own_reset_code(control: BoardControl, console: Console) -> None:
    inject(control, "brown-out", by="hardware")
    console.expect(r"rst:0xf \(RTCWDT_BROWN_OUT_RESET\).*param rom_cause=15\n.*ready\n")


def test_firmware_gets_its_faults_at_its_start(control: BoardControl, console: Console) -> None:
    inject(control, "no-psram")
    inject(control, "sensor-dead")
    console.reset()
    sent = console.expect("(param .*)ready\n").group(1)
    assert "param psram_bytes=0\n" in sent
    assert "pool=" not in sent
    assert "param fault=sensor_dead=1\n" in sent
    assert "param fault=sensor_used=1\n" in sent
    inject(control, "power-cut")
    assert "sensor_used" not in console.expect("(param .*)ready\n").group(1)


def test_lost_connection_can_be_reopened(boards: Boards, control: BoardControl) -> None:
    with Console(boards.url) as console:
        console.restart()
        inject(control, "disconnect", seconds=0)
        with pytest.raises(SerialException):
            console.expect("never")
    with pytest.raises(SerialException):
        Console(boards.url)
    control.ask("clear")
    with Console(boards.url) as console:
        console.restart()


def test_busy_port_is_refused_to_the_next_client(boards: Boards, control: BoardControl) -> None:
    with Console(boards.url) as console:
        console.restart()
        inject(control, "port-busy", seconds=0)
        console.send("still mine")
        console.expect("still mine")
    with pytest.raises(SerialException):
        Console(boards.url)
    control.ask("clear")
    with Console(boards.url) as console:
        console.restart()


def test_hanging_bridge_moves_nothing_and_lets_clients_come_and_go(
    boards: Boards, control: BoardControl
) -> None:
    with Console(boards.url) as console:
        console.restart()
        inject(control, "bridge-hang", seconds=0)
        console.send("quit")  # this input would end the firmware if it arrived
        control.ask("clear")
        console.send("alive")
        console.expect("alive")
        inject(control, "bridge-hang", seconds=0)
        console.send("lost")
    with pytest.raises(SerialException):
        Console(boards.url)
    control.ask("clear")
    with Console(boards.url) as console:
        console.restart()
        console.send("here")
        assert "lost" not in console.expect("(.*)here").group(1)


def test_boot_loader_is_not_entered_when_io0_stays_high(control: BoardControl, console: Console) -> None:
    inject(control, "no-download")
    console.port.dtr = True
    console.port.rts = True
    console.port.dtr = False
    console.port.reset_input_buffer()
    console.port.dtr = True
    console.port.rts = False
    console.expect(r"POWERON_RESET\),boot:0x13 ")
