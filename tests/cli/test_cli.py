"""`hotpin-hil` prints one clear line and returns the right exit status for any input."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hotpin_hil import __main__
from hotpin_hil.cli import main as cli
from hotpin_hil.errors import BuildError
from hotpin_hil.paths import PROJECT_ROOT
from tests.evidence.test_evidence import END, RUN, passed, row
from tests.support.fake_build import ELF_SHA256, write_build


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required"),
        (["frobnicate"], "invalid choice: 'frobnicate'"),
        (["boards", "--loud"], "unrecognized arguments: --loud"),
        (["board", "start", "--count", "many"], "argument --count: invalid int value: 'many'"),
        (["report"], "cannot read build/qualification/results.jsonl: No such file or directory (give"),
        (["report", "not-there"], "cannot read not-there/results.jsonl: No such file or directory (give"),
        (["heap", "replay", "not-there"], "not-there"),
        (["build", "--board", "paper"], "argument --board: invalid choice: 'paper'"),
        (["kind", "--board", "hardware", "--port", "/dev/not-there"], "there is no port /dev/not-there"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    try:
        status = cli.main(arguments)
    except SystemExit as exit_:  # argparse exits instead of returning
        status = int(exit_.code or 0)
    output = capsys.readouterr()
    assert status == cli.EXIT_ERROR
    assert output.err.startswith("error: ")
    assert output.err.count("\n") == 1
    assert message in output.err
    assert not output.out


def test_report_is_made_from_the_results_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [{**RUN, "requirements": [row("A")]}, *passed("A"), END]
    (tmp_path / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert cli.main(["report", str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith('REHEARSED (virtual): all 1 "must"')
    assert json.loads((tmp_path / "qualification.json").read_text())["overall"] == "REHEARSED"
    assert "REHEARSED" in (tmp_path / "report.html").read_text()


def test_report_writes_the_matrix_on_request(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [{**RUN, "requirements": [row("A")]}, *passed("A"), END]
    (tmp_path / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert cli.main(["report", str(tmp_path)]) == 0
    assert not list(tmp_path.glob("*.csv"))
    assert cli.main(["report", "--csv", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    for name in ("requirements.csv", "tests.csv"):
        assert str(tmp_path / name) in printed
        assert ",t::A," in (tmp_path / name).read_text().replace("\n", ",")


def test_unwritable_report_is_a_one_line_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [{**RUN, "requirements": [row("A")]}, *passed("A"), END]
    (tmp_path / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (tmp_path / "report.html").mkdir()
    assert cli.main(["report", str(tmp_path)]) == cli.EXIT_ERROR
    assert capsys.readouterr().err.startswith(
        f"error: {tmp_path / 'report.html'} cannot be written: Is a directory ("
    )
    assert {path.name for path in tmp_path.iterdir()} == {
        "results.jsonl",
        "qualification.json",
        "openmetrics.txt",
        "report.html",
    }


def test_results_without_a_run_header_are_a_one_line_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "results.jsonl").write_text('{"schema":1,"kind":"run","run":"1"}\n')
    assert cli.main(["report", str(tmp_path)]) == cli.EXIT_ERROR
    assert "line 1: no key 'evidence' (the results are damaged: " in capsys.readouterr().err


def test_build_prints_its_board_and_its_result(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    said_before = []

    def builds(kind: str) -> Path:
        said_before.append(capsys.readouterr().out)
        return write_build(tmp_path)

    monkeypatch.setattr("hotpin_hil.boards.build.build_firmware", builds)
    assert cli.main(["build", "--board", "virtual"]) == 0
    assert said_before == ["building the firmware for the virtual board, which can take a while ...\n"]
    out = capsys.readouterr().out
    assert out == f"built hotpin 1.2.3 (IDF native, ELF {ELF_SHA256[:9]}) in {tmp_path}\n"


@pytest.mark.parametrize(("given", "named"), [(["--board", "hardware"], ""), ([], "hardware")])
def test_a_build_for_hardware_needs_no_board(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: list[str], named: str
) -> None:
    def builds(kind: str) -> Path:
        assert kind == "hardware"
        return write_build(tmp_path, idf="v5.4.2")

    monkeypatch.setenv("HOTPIN_BOARD", named)
    monkeypatch.setattr("hotpin_hil.boards.ports.find_ports", list)
    monkeypatch.setattr("hotpin_hil.boards.build.build_firmware", builds)
    assert cli.main(["build", *given]) == 0


def test_failed_build_shows_the_output_of_the_build(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(kind: str) -> Path:
        assert kind == "virtual"
        raise BuildError("building failed:\nmain.c:1: no", "whole log: build.log")

    monkeypatch.setattr("hotpin_hil.boards.build.build_firmware", fails)
    assert cli.main(["build", "--board", "virtual"]) == cli.EXIT_ERROR
    assert capsys.readouterr().err == "error: building failed:\nmain.c:1: no (whole log: build.log)\n"


def test_ctrl_c_is_quiet(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted() -> list[object]:
        raise KeyboardInterrupt

    monkeypatch.setattr("hotpin_hil.boards.ports.find_ports", interrupted)
    assert cli.main(["boards"]) == cli.EXIT_INTERRUPTED
    output = capsys.readouterr()
    assert (output.out, output.err) == ("", "")


class Interrupts:
    """Import hook that raises KeyboardInterrupt when the command line's module is imported."""

    def find_spec(self, name: str, path: object, target: object = None) -> None:
        if name == "hotpin_hil.cli.main":
            raise KeyboardInterrupt


def test_ctrl_c_is_quiet_from_the_first_import_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "hotpin_hil.cli.main")
    monkeypatch.setattr(sys, "meta_path", [Interrupts(), *sys.meta_path])
    assert __main__.main() == cli.EXIT_INTERRUPTED


def test_missing_board_is_reported(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hotpin_hil.boards.ports.find_ports", list)
    assert cli.main(["boards"]) == 0
    assert "no board found" in capsys.readouterr().err


def test_closed_pipe_prints_no_error() -> None:
    """`python -m hotpin_hil … | head` ends without an error message when the reader closes the pipe."""
    process = subprocess.Popen(
        [sys.executable, "-m", "hotpin_hil", "--help"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    process.wait(30)


def test_kind_prints_the_board_that_pytest_chooses(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.delenv("HOTPIN_BOARD", raising=False)
    assert cli.main(["kind", "--board", "qemu"]) == 0
    assert cli.main(["kind", "--port", "rfc2217://127.0.0.1:1"]) == 0
    assert capsys.readouterr().out == "qemu\nvirtual\n"
    monkeypatch.setenv("CI", "true")
    assert cli.main(["kind"]) == 2
    assert "--board" in capsys.readouterr().err


LOG = b"rst:0x1 (POWERON_RESET),boot:0x13 (SPI_FAST_FLASH_BOOT)\r\nI (29) boot: \xe2\x95\x94\r\n"


def shell(tmp_path: Path, how: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs `hotpin-hil analyze` on a short log with a Greek name in a shell; `how` is appended to the command."""
    (tmp_path / "log-λ.txt").write_bytes(LOG)
    return subprocess.run(
        ["sh", "-c", f'"$0" -m hotpin_hil analyze log-λ.txt {how}', sys.executable],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(PROJECT_ROOT), **environment},
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=60,
    )


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    process = shell(tmp_path, "> /dev/full")
    assert process.stderr == (
        "error: output cannot be written: No space left on device (free space on the disk, then run again)\n"
    )
    assert process.returncode == cli.EXIT_ERROR


def test_ascii_terminal_gets_escapes(tmp_path: Path) -> None:
    process = shell(tmp_path, "", PYTHONIOENCODING="ascii")
    assert "log-\\u03bb.txt: 2 lines" in process.stdout
    assert (process.returncode, process.stderr) == (0, "")


def test_closed_output_prints_no_error(tmp_path: Path) -> None:
    process = shell(tmp_path, ">&-")
    assert (process.returncode, process.stderr) == (0, "")


@pytest.mark.parametrize("command", ["report", "seal", "verify"])
def test_commands_on_the_newest_run_find_it_in_the_users_state_folder(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOTPIN_STATE_DIR", str(tmp_path / "state"))
    assert cli.main([command]) == cli.EXIT_ERROR  # fails because no run exists yet
    assert str(tmp_path / "state" / "qualification") in capsys.readouterr().err
