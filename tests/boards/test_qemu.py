"""Tests `--board qemu` with a fake QEMU: fixtures, channel and verdicts on top of pytest-embedded's QEMU service."""

from __future__ import annotations

import json
import os
import stat
import struct
import sys
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from hotpin_hil.boards.qemu import (
    Emulator,
    at_chip_speed,
    describe,
    extra_arguments,
    find_emulator,
    without_psram,
)
from hotpin_hil.errors import UsageError
from hotpin_hil.link import idf_qemu, qmp
from hotpin_hil.link.channel import Channel
from hotpin_hil.link.emulator_start import judge_start
from hotpin_hil.link.idf_qemu import HilQemu
from hotpin_hil.paths import PROJECT_ROOT
from tests.support.fake_build import app_descriptor, image, write_build
from tests.support.fake_qemu import APP_OFFSET, CORE_DUMP, CORE_DUMP_OFFSET, FLASH_BYTES, STARTS_OFFSET
from tests.support.plugin_suite import IMPORTS, REQUIREMENTS
from tests.support.until import until

pytest_plugins = ["pytester"]

RECORDED = PROJECT_ROOT.parent / "shared" / "qemu_runs"
CPU1 = "Guru Meditation Error: Core  1 panic'ed (Interrupt wdt timeout on CPU1)."

# The fixtures of the real suite, for a small suite.
CONFTEST = 'pytest_plugins = ["fixtures.console", "fixtures.measure", "fixtures.board", "fixtures.device"]\n'
ROWS = REQUIREMENTS.replace('"virtual"]', '"virtual", "qemu"]')
HEAD = f"""{IMPORTS}
from fixtures.device import start_over
from hotpin_hil.link.line import line_of
from pytest_embedded_idf.app import IdfApp
"""


PARTITIONS = struct.pack("<HBBII16sI", 0x50AA, 1, 3, CORE_DUMP_OFFSET, 0x20000, b"coredump", 0)
"""Partition table with only a core dump partition."""


class Qemu:
    """Checkout with a small suite, a build for QEMU, and the fake QEMU on the path."""

    def __init__(self, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
        self._pytester = pytester
        self.folder = pytester.path / "evidence"
        self.state = pytester.path / "state"
        self.state.mkdir()
        tools = pytester.path / "tools"
        tools.mkdir()
        for name in ("CI", "HOTPIN_BOARD", "ESPPORT", "PYTEST_ADDOPTS"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
        monkeypatch.setenv("PYTHONPATH", str(PROJECT_ROOT))
        monkeypatch.setenv("FAKE_QEMU_STATE", str(self.state))
        program = tools / "qemu-system-xtensa"
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -m tests.support.fake_qemu "$@"\n')
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        build = write_build(pytester.path / "firmware" / "build-qemu", idf="v5.4.2")
        (build / "partition_table" / "partition-table.bin").write_bytes(PARTITIONS)
        pytester.makeini("[pytest]\naddopts = --import-mode=importlib\n")
        pytester.makeconftest(CONFTEST)
        suite = pytester.path / "hil_tests"
        suite.mkdir()
        (suite / "requirements.toml").write_text(ROWS)

    def run(self, tests: str, *options: str) -> pytest.RunResult:
        (self._pytester.path / "hil_tests" / "test_it.py").write_text(HEAD + tests)
        where = f"--qualification-dir={self.folder}"
        return self._pytester.runpytest_subprocess(
            *("--target", "esp32", "--board", "qemu", where, *options, "hil_tests"), timeout=120
        )

    def verdicts(self) -> dict[str, tuple[str, str]]:
        """Map of test name to verdict and reason."""
        lines = [json.loads(line) for line in (self.folder / "results.jsonl").read_text().splitlines()]
        return {
            line["test"].split("::test_")[1]: (line["verdict"], line["reason"])
            for line in lines
            if line["kind"] == "verdict"
        }

    def order(self, *starts: str) -> None:
        """Writes the outcomes of the firmware's next boots, for fake_qemu.py."""
        (self.state / "starts").write_text(json.dumps(starts))

    def lines(self, about: str) -> list[dict[str, Any]]:
        """The lines of results.jsonl whose `about` has this value."""
        found = [json.loads(line) for line in (self.folder / "results.jsonl").read_text().splitlines()]
        return [line for line in found if line.get("about") == about]

    @property
    def qualification(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "qualification.json").read_text())
        return found

    @property
    def started(self) -> list[str]:
        return (self.state / "started").read_text().splitlines()


@pytest.fixture
def qemu(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Qemu:
    return Qemu(pytester, monkeypatch)


GOOD = """
@requirement("AAA-01")
def test_talks(device, measure):
    measure("PSRAM", device.info().psram, "B", exact=4 << 20)

@requirement("AAA-02")
def test_restarts(dut, device, measure):
    before = device.boot
    start_over(dut, device)
    measure("another boot", device.info().b != before, exact=True)
    dut.expect_exact("POWERON_RESET")
"""


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["one process", "two workers"])
def test_suite_runs_in_qemu(qemu: Qemu, workers: tuple[str, ...]) -> None:
    result = qemu.run(GOOD, *workers)
    assert result.ret == 0
    assert qemu.verdicts() == {"talks": ("PASS", ""), "restarts": ("PASS", "")}
    assert (qemu.qualification["overall"], qemu.qualification["evidence"]) == ("REHEARSED", "emulated")
    result.stdout.fnmatch_lines(
        ["evidence: qemu board (QEMU 9.2.2 (esp_develop_9.2.2_20250817)), at best REHEARSED (emulated)"]
    )
    assert qemu.qualification["board"]["emulator"] == "QEMU 9.2.2 (esp_develop_9.2.2_20250817)"
    assert "counts instructions" in qemu.qualification["board"]["emulator_clock"]
    assert len(qemu.started) == 2
    assert all(" -m 4M " in f" {arguments} " for arguments in qemu.started)
    # Each xdist worker has its own flash file.
    images = {arguments.split("file=")[1].split(",")[0] for arguments in qemu.started}
    assert len(images) == (2 if workers else 1)
    assert not any(Path(image).exists() for image in images)


def test_no_bytes_are_taken_for_commands_to_qemu_itself(qemu: Qemu) -> None:
    result = qemu.run("""
@requirement("AAA-01")
def test_any_bytes(device, measure):
    device.channel.send(b"\\x01x\\n")
    measure("PSRAM", device.info().psram, "B", exact=4 << 20)
""")
    assert result.ret == 0
    assert qemu.verdicts() == {"any_bytes": ("PASS", "")}


def test_qemu_that_ends_blocks_its_test_only(qemu: Qemu) -> None:
    result = qemu.run(
        "@requirement('AAA-01')\ndef test_dies(device): device.command('die')\n"
        "@requirement('AAA-02')\ndef test_next(device, measure): measure('x', 1, exact=1)\n"
    )
    assert result.ret == 7
    verdicts = qemu.verdicts()
    assert verdicts["dies"][0] == "BLOCKED"
    assert "QEMU has ended (exit status 3)" in verdicts["dies"][1]
    assert verdicts["next"] == ("PASS", "")


def test_qemu_that_does_not_start_blocks_everything_at_once(qemu: Qemu) -> None:
    (qemu.state / "broken").write_text("qemu-system-xtensa: unsupported machine type")
    result = qemu.run(GOOD)
    assert result.ret == 7
    assert {verdict for verdict, _ in qemu.verdicts().values()} == {"BLOCKED"}
    assert all("unsupported machine type" in reason for _, reason in qemu.verdicts().values())
    assert len(qemu.started) == 1
    assert "Traceback" not in result.stdout.str()


def test_firmware_that_is_silent_in_qemu_fails(qemu: Qemu) -> None:
    """QEMU still performs a reset on request, so the silence is the firmware's fault."""
    qemu.run(
        "@requirement('AAA-01')\ndef test_hangs(device):\n    device.command('silence')\n    device.info()\n"
    )
    verdict, reason = qemu.verdicts()["hangs"]
    assert verdict == "FAIL"
    assert "it answers a reset" in reason


def test_hung_emulator_blocks_its_own_test_and_no_other(qemu: Qemu) -> None:
    """The harness must start a new emulator for the next test."""
    (qemu.state / "deaf").touch()
    result = qemu.run(
        "@requirement('AAA-01')\ndef test_hangs(device):\n    device.command('silence')\n"
        "@requirement('AAA-02')\ndef test_next(device, measure): measure('x', 1, exact=1)\n"
    )
    assert result.ret == 7
    verdict, reason = qemu.verdicts()["hangs"]
    assert verdict == "BLOCKED"
    assert "does not answer a reset either" in reason
    assert qemu.verdicts()["next"] == ("PASS", "")


def test_start_spoiled_by_the_emulator_is_repeated_and_reported(qemu: Qemu) -> None:
    qemu.order(CPU1, "", CPU1, "")
    result = qemu.run(GOOD)
    assert result.ret == 0
    assert [line["count"] for line in qemu.lines("emulator")] == [1, 1]
    (note,) = [text for text in qemu.qualification["notes"] if "emulator" in text]
    assert "restarted 2 times" in note
    assert "Interrupt wdt timeout on CPU1" in note
    assert "Interrupt wdt timeout" not in result.stdout.str().split("requirements")[0]


def test_core_dump_is_read_from_the_flash_image(qemu: Qemu) -> None:
    qemu.run(
        "@requirement('AAA-01')\ndef test_panics(device):\n    device.command('panic')\n    device.info()\n"
    )
    assert qemu.verdicts()["panics"][0] == "FAIL"
    (panic,) = qemu.lines("panic")
    assert panic["core_dump"]["sound"] is True
    assert (qemu.folder / panic["core_dump"]["file"]).read_bytes() == CORE_DUMP


def test_board_without_psram_is_qemu_without_memory_for_it(qemu: Qemu) -> None:
    qemu.run("""
from hotpin_hil.boards.qemu import without_psram

@pytest.fixture
def qemu_extra_args(qemu_extra_args): return without_psram(qemu_extra_args)

@requirement("AAA-01")
def test_psram(device, measure): measure("PSRAM", device.info().psram, "B", exact=0)
""")
    assert qemu.verdicts() == {"psram": ("PASS", "")}


def test_qemu_ends_with_a_run_that_is_killed(qemu: Qemu) -> None:
    """QEMU does not exit when its standard input closes, so the harness must stop it in another way."""
    qemu.run(
        "import os, signal\n@requirement('AAA-01')\ndef test_it(dut, device):\n"
        "    open('state/pid', 'w').write(str(dut.qemu.pid))\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    pid = int((qemu.state / "pid").read_text())
    until(lambda: not is_running(pid))


def is_running(pid: int) -> bool:
    """Whether the process exists and is not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_another_build_can_be_flashed(qemu: Qemu, pytester: pytest.Pytester) -> None:
    folder = write_build(pytester.path / "firmware" / "build-qemu-release", idf="v5.4.2")
    app = folder / "hotpin.bin"
    assert b"hotpin\0" in app.read_bytes()
    app.write_bytes(image(app_descriptor("v5.4.2").replace(b"hotpin\0", b"shipped")))
    qemu.run(
        "@requirement('AAA-01')\ndef test_flash(dut, device, measure):\n"
        "    line_of(dut).flash(IdfApp(app_path='firmware', build_dir='build-qemu-release'))\n"
        "    device.wait_ready()\n"
        "    measure('project', device.info().project, exact='shipped')\n"
        "@requirement('AAA-02')\ndef test_next(device, measure):\n"
        "    measure('project', device.info().project, exact='hotpin')\n"
    )
    assert qemu.verdicts() == {"flash": ("PASS", ""), "next": ("PASS", "")}


def test_test_that_needs_the_boot_loader_is_not_applicable(qemu: Qemu) -> None:
    qemu.run(
        "from fixtures.board import needs_boot_loader\n"
        "@needs_boot_loader\n@requirement('AAA-01')\ndef test_chip(device, measure): measure('x', 2, exact=1)\n"
    )
    verdict, reason = qemu.verdicts()["chip"]
    assert verdict == "NOT APPLICABLE"
    assert "esptool" in reason


def test_missing_qemu_is_a_one_line_error_before_any_test(qemu: Qemu, pytester: pytest.Pytester) -> None:
    (pytester.path / "tools" / "qemu-system-xtensa").unlink()
    result = qemu.run(GOOD)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: there is no qemu-system-xtensa on the path (install Espressif's: *"])
    assert "Traceback" not in result.stderr.str()
    assert not (qemu.folder / "results.jsonl").exists()


def test_missing_qemu_prog_path_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="from --qemu-prog-path"):
        find_emulator(str(tmp_path / "qemu"))


@pytest.mark.parametrize(
    ("order", "text", "complaint"),
    [
        ("version", "QEMU emulator version 7.2.9 (Debian)\n", "is QEMU 7.2.9 (Debian), but 8.0 or newer"),
        ("version", "something else\n", "does not print a QEMU version: something else"),
        ("machines", "Supported machines are:\nlx60   lx60 EVB\n", "has no machine 'esp32'"),
    ],
)
def test_unusable_qemu_is_named_with_a_remedy(qemu: Qemu, order: str, text: str, complaint: str) -> None:
    (qemu.state / order).write_text(text)
    with pytest.raises(UsageError) as error:
        find_emulator(None)
    assert complaint in str(error.value)
    assert "idf_tools.py install qemu-xtensa" in error.value.remedy


def test_emulator_version_is_read_from_the_program(qemu: Qemu) -> None:
    assert find_emulator(None).version == "9.2.2 (esp_develop_9.2.2_20250817)"


COUNTED = "-icount shift=6,sleep=off"


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (None, f"-m 4M {COUNTED}"),
        ("", f"-m 4M {COUNTED}"),
        ("-icount 3", "-icount 3 -m 4M"),
        ("-m 2M -icount 3", "-m 2M -icount 3"),
    ],
)
def test_psram_is_4_mb_and_time_is_counted_unless_the_user_says_otherwise(
    given: str | None, meant: str
) -> None:
    assert extra_arguments(given) == meant


def test_psram_is_left_out_of_the_arguments() -> None:
    assert without_psram(extra_arguments("-d guest_errors")) == f"-d guest_errors {COUNTED}"


@pytest.mark.parametrize(
    ("given", "meant"),
    [(None, "-m 4M -icount shift=3,sleep=off"), ("-icount shift=7", "-icount shift=7 -m 4M")],
)
def test_time_is_counted_at_the_chips_speed_unless_the_user_says_otherwise(
    given: str | None, meant: str
) -> None:
    assert at_chip_speed(extra_arguments(given)) == meant


def test_evidence_states_that_the_watchdogs_are_off() -> None:
    off = "-global driver=timer.esp32.timg,property=wdt_disable,value=true"
    emulator = Emulator("qemu-system-xtensa", "9.2.2")
    assert "emulator_watchdogs" in describe(emulator, extra_arguments(off))
    assert "emulator_watchdogs" not in describe(emulator, extra_arguments(None))


# --- A single emulator, without a pytest session ---


class Queue:
    """Fake of pytest-embedded's message queue."""

    def __init__(self) -> None:
        self.text = b""

    def put(self, data: bytes) -> None:
        self.text += data


Start = Callable[[], HilQemu]


@pytest.fixture
def start(qemu: Qemu, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Start, None, None]:
    """Starts an emulator with short budgets, so that a hang is detected quickly."""
    monkeypatch.setattr(idf_qemu, "START_S", 3.0)
    monkeypatch.setattr(qmp, "TIMEOUT_S", 1.0)
    template = tmp_path / "flash.bin"
    build = write_build(tmp_path / "build", idf="v5.4.2")
    image = bytearray(b"\xff" * FLASH_BYTES)
    for offset, name in ((0x1000, "bootloader/bootloader.bin"), (APP_OFFSET, "hotpin.bin")):
        content = (build / name).read_bytes()
        image[offset : offset + len(content)] = content
    template.write_bytes(image)
    emulators = []

    def start() -> HilQemu:
        arguments = {"qemu_cli_args": "-nographic -machine esp32", "qemu_extra_args": "-m 4M"}
        emulators.append(HilQemu(msg_queue=Queue(), qemu_image_path=str(template), **arguments))
        return emulators[-1]

    yield start
    for emulator in emulators:
        emulator.terminate()


def starts_in_flash(emulator: HilQemu, tmp_path: Path) -> int:
    emulator.read_flash(STARTS_OFFSET, 1, tmp_path / "starts")
    return int.from_bytes((tmp_path / "starts").read_bytes(), "little")


@pytest.mark.parametrize(
    ("order", "fault"),
    [
        (CPU1, "Interrupt wdt timeout on CPU1 (each core has its own PSRAM)"),
        ("Cache disabled but cached memory region accessed", "the host stopped a core"),
        (
            "rst:0x7 (TG0WDT_SYS_RESET),boot:0x12 (SPI_FAST_FLASH_BOOT)",
            "TG0WDT_SYS_RESET (the host was too slow",
        ),
        ("crash", "QEMU crashed with signal 11"),
        ("hang", "QEMU hung"),
    ],
)
def test_start_spoiled_by_the_emulator_leaves_no_trace(
    qemu: Qemu, start: Start, tmp_path: Path, order: str, fault: str
) -> None:
    qemu.order(order, "")
    emulator = start()
    (found,) = emulator.faults
    assert fault in found
    assert len(qemu.started) == 2
    assert [reset.requested for reset in emulator.channel.resets()] == [True]
    assert order.encode() not in emulator.channel.text() + emulator._q.text
    assert emulator._q.text == emulator.channel.text()
    assert starts_in_flash(emulator, tmp_path) == 0


def test_slow_emulator_is_not_taken_for_a_hung_one(
    qemu: Qemu, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a loaded host, QEMU's process alone may need longer to start than the budget for a boot."""
    monkeypatch.setattr(idf_qemu, "START_S", 1.0)
    (qemu.state / "late").write_text("2.0")
    assert start().faults == []
    assert len(qemu.started) == 1


def test_reset_spoiled_by_the_emulator_is_repeated_on_the_same_flash(
    qemu: Qemu, start: Start, tmp_path: Path
) -> None:
    emulator = start()
    qemu.order(CPU1, "")
    emulator.hard_reset()
    assert len(emulator.faults) == 1
    assert [reset.requested for reset in emulator.channel.resets()] == [True, True]
    assert starts_in_flash(emulator, tmp_path) == 1


def test_repeats_of_a_start_are_limited_and_the_last_one_is_shown(qemu: Qemu, start: Start) -> None:
    qemu.order(*[CPU1] * idf_qemu.STARTS_MAX)
    emulator = start()
    assert len(emulator.faults) == idf_qemu.STARTS_MAX - 1
    assert len(qemu.started) == idf_qemu.STARTS_MAX
    assert CPU1.encode() in emulator.channel.text()


@pytest.mark.parametrize(
    "panic",
    [
        "Guru Meditation Error: Core  0 panic'ed (Interrupt wdt timeout on CPU0).",
        "Guru Meditation Error: Core  0 panic'ed (LoadProhibited). Exception was unhandled.\r\n"
        "rst:0x7 (TG0WDT_SYS_RESET),boot:0x12 (SPI_FAST_FLASH_BOOT)",
    ],
)
def test_start_spoiled_by_the_firmware_is_not_repeated(qemu: Qemu, start: Start, panic: str) -> None:
    qemu.order(panic, "")
    emulator = start()
    assert emulator.faults == []
    assert len(qemu.started) == 1
    assert panic.encode() in emulator.channel.text()


def test_watchdog_reset_before_the_rom_banner_is_an_emulator_fault() -> None:
    channel = Channel()
    channel.feed(
        b"I (5400) STATE: leaving camera\r\nrst:0x7 (TG0WDT_SYS_RESET),boot:0x12 (SPI_FAST_FLASH_BOOT)\r\n"
    )
    end = judge_start(channel)
    assert end is not None
    assert "TG0WDT_SYS_RESET" in end.fault


def test_watchdog_reset_after_a_panic_is_a_firmware_fault() -> None:
    channel = Channel()
    channel.feed(
        b"abort() was called at PC 0x400d1234\r\nrst:0x7 (TG0WDT_SYS_RESET),boot:0x12 (SPI_FAST_FLASH_BOOT)\r\n"
    )
    channel.feed(b"I (900) main_task: Returned from app_main()\r\n")
    end = judge_start(channel)
    assert end is not None
    assert end.fault == ""


def test_known_fault_after_the_start_is_not_excused() -> None:
    """The emulator's known faults are excused only during a boot. After the boot, the test may have caused the
    fault."""
    channel = Channel()
    channel.feed(b"rst:0x1 (POWERON_RESET),boot:0x12 (SPI_FAST_FLASH_BOOT)\r\n")
    assert judge_start(channel) is None
    channel.feed(b"I (900) main_task: Returned from app_main()\r\n" + CPU1.encode())
    end = judge_start(channel)
    assert end is not None
    assert end.fault == ""


def test_firmware_in_a_boot_loop_is_not_waited_for() -> None:
    channel = Channel()
    channel.feed(b"rst:0xc (SW_CPU_RESET),boot:0x12 (SPI_FAST_FLASH_BOOT)\r\n" * 4)
    end = judge_start(channel)
    assert end is not None
    assert end.fault == ""


@pytest.mark.skipif(
    not RECORDED.exists(), reason="the recorded runs (../shared/qemu_runs) are not on this machine"
)
def test_recorded_starts_are_sound() -> None:
    """None of the recorded boots may count as an emulator fault, even if the log has a panic after the boot."""
    for log in [*RECORDED.glob("boot-*.log"), *RECORDED.glob("panics/*.log"), RECORDED / "no-psram-qemu.log"]:
        channel = Channel()
        channel.feed(log.read_bytes())
        end = judge_start(channel)
        assert end is not None, log
        assert end.fault == "", log
