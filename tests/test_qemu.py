"""`--board qemu`: the same fixtures, channel and verdicts over pytest-embedded's QEMU service, with a stand-in."""

from __future__ import annotations

import json
import os
import stat
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from hotpin_hil.boards.qemu import check_program
from hotpin_hil.errors import UsageError
from hotpin_hil.link.idf_qemu import extra_arguments
from hotpin_hil.paths import PROJECT_ROOT

from .fake_build import app_descriptor, image, write_build
from .plugin_suite import IMPORTS, REQUIREMENTS

pytest_plugins = ["pytester"]

# The suite's own fixtures, on a suite of its own.
CONFTEST = 'pytest_plugins = ["fixtures.console", "fixtures.measure", "fixtures.board", "fixtures.device"]\n'
ROWS = REQUIREMENTS.replace('"virtual"]', '"virtual", "qemu"]')
HEAD = f"""{IMPORTS}
from fixtures.device import start_over
from hotpin_hil.link.line import line_of
from pytest_embedded_idf.app import IdfApp
"""


class Qemu:
    """A checkout with a suite, a build for QEMU and the stand-in on the path."""

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
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -m tests.fake_qemu "$@"\n')
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        write_build(pytester.path / "firmware" / "build-qemu", idf="v5.4.2")
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
        """Test -> its verdict, and why."""
        lines = [json.loads(line) for line in (self.folder / "results.jsonl").read_text().splitlines()]
        return {
            line["test"].split("::test_")[1]: (line["verdict"], line["reason"])
            for line in lines
            if line["kind"] == "verdict"
        }

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
    result.stdout.fnmatch_lines(["evidence: qemu board, at best REHEARSED (emulated)"])
    assert len(qemu.started) == 2
    assert all(" -m 4M " in f" {arguments} " for arguments in qemu.started)
    # Workers must not write into each other's flash.
    images = {arguments.split("file=")[1].split(",")[0] for arguments in qemu.started}
    assert len(images) == (2 if workers else 1)


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
    """The machine answers a reset, so it is the firmware that hangs."""
    qemu.run(
        "@requirement('AAA-01')\ndef test_hangs(device):\n    device.command('silence')\n    device.info()\n"
    )
    verdict, reason = qemu.verdicts()["hangs"]
    assert verdict == "FAIL"
    assert "it answers a reset" in reason


def test_qemu_that_hangs_is_a_dead_board(qemu: Qemu) -> None:
    (qemu.state / "deaf").touch()
    result = qemu.run(
        "@requirement('AAA-01')\ndef test_hangs(device):\n    device.command('silence')\n"
        "@requirement('AAA-02')\ndef test_next(device, measure): measure('x', 1, exact=1)\n"
    )
    assert result.ret == 7
    assert "does not answer a reset either" in qemu.verdicts()["hangs"][1]
    assert "not tried again" in qemu.verdicts()["next"][1]


def test_qemu_ends_with_a_run_that_is_killed(qemu: Qemu) -> None:
    """It would go on without its standard input."""
    qemu.run(
        "import os, signal\n@requirement('AAA-01')\ndef test_it(dut, device):\n"
        "    open('state/pid', 'w').write(str(dut.qemu.pid))\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    pid = int((qemu.state / "pid").read_text())
    deadline = time.monotonic() + 10
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not is_running(pid)


def is_running(pid: int) -> bool:
    """Whether there is such a process and it is not only waiting to be reaped."""
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


def test_what_needs_the_boot_loader_is_not_applicable(qemu: Qemu) -> None:
    qemu.run(
        "from fixtures.board import needs_boot_loader\n"
        "@needs_boot_loader\n@requirement('AAA-01')\ndef test_chip(device, measure): measure('x', 2, exact=1)\n"
    )
    verdict, reason = qemu.verdicts()["chip"]
    assert verdict == "NOT APPLICABLE"
    assert "esptool" in reason


def test_qemu_that_is_not_there_is_one_line_before_any_test(qemu: Qemu, pytester: pytest.Pytester) -> None:
    (pytester.path / "tools" / "qemu-system-xtensa").unlink()
    result = qemu.run(GOOD)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: there is no qemu-system-xtensa on the path (install Espressif's: *"])
    assert "Traceback" not in result.stderr.str()
    assert not (qemu.folder / "results.jsonl").exists()


def test_program_named_by_the_user_is_looked_for(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="as --qemu-prog-path says"):
        check_program(str(tmp_path / "qemu"))


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (None, "-m 4M"),
        ("", "-m 4M"),
        ("-icount 3", "-icount 3 -m 4M"),
        ("-m 2M -icount 3", "-m 2M -icount 3"),
    ],
)
def test_psram_is_4_mb_unless_the_user_says_otherwise(given: str | None, meant: str) -> None:
    assert extra_arguments(given) == meant
