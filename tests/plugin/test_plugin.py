"""Tests the verdicts, results and exit status of complete pytest sessions, with a fake board behind `dut`."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import NoReturn

import pytest

from hotpin_hil.boards.in_use import BoardInUse
from hotpin_hil.evidence.lines import RunLine
from hotpin_hil.evidence.results import ResultsWriter
from hotpin_hil.pytest_plugin import board as plugin_board
from hotpin_hil.pytest_plugin.arguments import join_values
from hotpin_hil.virtual import package
from tests.support.fake_build import write_build
from tests.support.plugin_suite import (
    CONFTEST,
    IMPORTS,
    REGISTERED,
    REQUIREMENTS,
    WITHOUT,
    FakeVirtualBoard,
    Suite,
)

pytest_plugins = ["pytester", "tests.support.plugin_suite"]

ABOVE_TABLE = re.compile("=+ requirements =+")

ALL_PASS = """
@requirement("AAA-01", "AAA-02")
def test_both(measure):
    measure("free", 60000, "B", min=51200, source="guide")
"""

WITHOUT_BOARD = """
from hotpin_hil.pytest_plugin.plugin import recorder_of

@requirement("AAA-01", "AAA-02")
def test_both(request):
    recorder_of(request.node).measure("free", 60000, "B", min=51200, source="guide")
"""


def test_run_that_shows_all_requirements_is_rehearsed(suite: Suite) -> None:
    result = suite.run(ALL_PASS)
    assert result.ret == 0
    assert result.outlines[0] == "evidence: virtual board, at best REHEARSED (virtual)"
    assert result.outlines[-1] == (
        'REHEARSED (virtual): all 2 "must" requirements that this kind of board can test pass; '
        "1 not applicable to this kind of board; 1 not built yet (listed)"
    )
    assert suite.qualification["overall"] == "REHEARSED"
    assert suite.qualification["board"]["mac"] == "24:0a:c4:00:00:01"
    assert [row["id"] for row in suite.qualification["not_tested"]] == ["PPP-01"]
    table = result.outlines[result.outlines.index(next(filter(ABOVE_TABLE.match, result.outlines))) : -1]
    assert all(len(line) <= 100 for line in table)
    result.stdout.fnmatch_lines(["AAA-01 *PASS *free 60000 B *>= 51200 B *1", "*PPP-01: its component*"])
    suite.validate()


def test_results_have_header_measurements_verdicts_and_end(suite: Suite) -> None:
    suite.run(ALL_PASS)
    kinds = [line.get("about", line["kind"]) for line in suite.lines]
    assert kinds == ["run", "plan", "started", "board", "measurement", "verdict", "end"]
    run, plan, started, note, measurement, verdict, end = suite.lines
    (test,) = plan["tests"]
    assert plan["tests"] == {test: ["AAA-01", "AAA-02"]}
    assert (started["test"], started["requirement"]) == (test, ["AAA-01", "AAA-02"])
    assert run["evidence"] == "virtual"
    assert run["firmware"]["version"] == "1.2.3"
    known = {"mac": "24:0a:c4:00:00:01", "chip": "ESP32", "build": "native", "image": "with test console"}
    assert note["board"] == known
    assert (measurement["value"], measurement["margin"], measurement["verdict"]) == (60000, 8800, "PASS")
    assert measurement["requirement"] == ["AAA-01", "AAA-02"]
    assert verdict["reproduce"] == "pytest --target esp32 --board virtual hil_tests/test_it.py::test_both"
    assert end["exit"] == 0


# Body of a test, the expected verdict of its requirement, and a part of the expected reason.
OUTCOMES = [
    ("measure('free', 9, 'B', min=9)", "MARGINAL", "free = 9 B, limit >= 9 B"),
    ("measure('free', 8, 'B', min=9)", "FAIL", "free = 8 B, limit >= 9 B"),
    ("measure('free', 95, 'B', max=100)", "MARGINAL", "free = 95 B, limit <= 100 B"),
    ("measure('leaked', 0, 'B', max=0)", "PASS", ""),
    ("measure('x', True, exact=1)", "FAIL", "x = true, limit = 1"),
    ("measure('x', float('nan'), max=1)", "FAIL", "x = nan"),
    ("pass", "UNSET", "nothing was measured for it"),
    ("measure('x', 1, max=9, klass='modelled')", "NOT APPLICABLE", "modelled"),
    ("measure('x', 1, exact=1); assert 1 == 2", "FAIL", "assert 1 == 2"),
    ("raise FirmwareError('no answer in 2 s')", "FAIL", "no answer in 2 s"),
    ("measure('x', 1, exact=1); raise BenchError('noise', 'other cable')", "BLOCKED", "noise"),
    ("measure('x', 2, exact=1); raise BenchError('noise')", "FAIL", "x = 2, limit = 1"),
    ("raise ValueError('odd') from PortError('port lost')", "BLOCKED", "port lost"),
    ("{}['free']", "FAIL", "KeyError: 'free'"),
    ("measure('x', 1, exact=1); pytest.skip('not today')", "BLOCKED", "skipped: not today"),
    ("measure('x', 1, exact=1); pytest.xfail('known')", "FAIL", "known to fail: known"),
    ("measure('x', 1, exact=1); pytest.fail('no READY')", "FAIL", "no READY"),
    ("import serial; raise serial.SerialException('gone')", "BLOCKED", "gone"),
    ("import esptool; raise esptool.FatalError('no sync')", "BLOCKED", "no sync"),
    ("import pexpect; raise pexpect.TIMEOUT('READY did not come')", "FAIL", "READY did not come"),
]


def test_verdict_of_each_outcome(suite: Suite) -> None:
    rows = [REQUIREMENTS]
    tests = []
    for number, (body, _, _) in enumerate(OUTCOMES):
        rows.append(REQUIREMENTS.split("[[requirement]]")[1].replace("AAA-01", f"OUT-{number}"))
        tests.append(f"@requirement('OUT-{number}')\ndef test_{number}(measure):\n    {body}\n")
    suite.write("hil_tests/requirements.toml", "[[requirement]]".join(rows))
    result = suite.run("".join(tests))
    seen = {
        line["requirement"][0]: (line["verdict"], line["reason"]) for line in suite.lines if "reason" in line
    }
    for number, (body, verdict, reason) in enumerate(OUTCOMES):
        assert seen[f"OUT-{number}"][0] == verdict == suite.verdict(f"OUT-{number}"), body
        assert reason in seen[f"OUT-{number}"][1], body
    assert result.ret == 1
    assert suite.verdict("AAA-01") is None
    suite.validate()


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("measure('x', 1, exact=1)", 0),
        ("measure('x', 95, max=100)", 0),
        ("measure('x', 2, exact=1)", 1),
        ("pass", 1),
        ("pytest.xfail('known')", 1),
        ("raise BenchError('noise')", 7),
        ("pytest.skip('not today')", 7),
    ],
)
def test_exit_status(suite: Suite, body: str, status: int) -> None:
    assert suite.run(f"@requirement('AAA-01')\ndef test_it(measure):\n    {body}\n").ret == status
    assert suite.lines[-1]["exit"] == status


def test_measuring_nothing_fails_the_test(suite: Suite) -> None:
    result = suite.run("@requirement('AAA-01')\ndef test_it(measure): pass\n")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["UNSET: nothing was measured for AAA-01"])


def test_a_value_out_of_limit_does_not_stop_the_test(suite: Suite) -> None:
    result = suite.run(
        "@requirement('AAA-01', 'AAA-02')\ndef test_it(measure):\n"
        "    measure('first', 5, max=1, requirement='AAA-01', source='datasheet 4.1')\n"
        "    measure('second', 1, exact=1, requirement='AAA-02')\n"
    )
    assert (suite.verdict("AAA-01"), suite.verdict("AAA-02")) == ("FAIL", "PASS")
    assert suite.qualification["overall"] == "NOT QUALIFIED"
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["out of limit: first = 5, limit <= 1 at hil_tests/test_it.py:[0-9]* (datasheet 4.1)"]
    )
    result.stdout.fnmatch_lines(
        [
            "AAA-01: FAIL: first = 5, limit <= 1 at hil_tests/test_it.py:[0-9]*",
            "  reproduce: pytest*::test_it",
        ]
    )


def test_one_test_cannot_pass_what_another_fails(suite: Suite) -> None:
    suite.run(
        "@requirement('AAA-01')\ndef test_bad(measure): measure('x', 2, exact=1)\n"
        "@requirement('AAA-01')\ndef test_good(measure): measure('x', 1, exact=1)\n"
    )
    assert suite.verdict("AAA-01") == "FAIL"


def test_marked_skip_never_passes(suite: Suite) -> None:
    result = suite.run("@pytest.mark.skip('later')\n@requirement('AAA-01')\ndef test_it(measure): pass\n")
    assert suite.verdict("AAA-01") == "BLOCKED"
    assert result.ret == 7
    assert suite.qualification["overall"] == "BLOCKED"


def test_requirement_of_another_kind_of_board_is_not_run(suite: Suite) -> None:
    suite.run("@requirement('HHH-01')\ndef test_it(measure): raise FirmwareError('ran')\n")
    assert suite.verdict("HHH-01") == "NOT APPLICABLE"


def test_fault_tests_are_listed_as_left_out_without_a_virtual_board(suite: Suite) -> None:
    write_build(Path("firmware/build"), idf="v5.4.2")
    suite.run(
        "@pytest.fixture\ndef faults(): raise FirmwareError('set up')\n"
        "@requirement('AAA-01')\ndef test_cut(faults, dut): raise FirmwareError('ran')\n"
        "@requirement('AAA-02')\ndef test_only(faults, dut): pass\n"
        "def test_bare(faults, dut): raise FirmwareError('ran')\n",
        "hil_tests",
        "--port",
        "rfc2217://127.0.0.1:1",
        board="hardware",
    )
    verdicts = {
        line["test"].split("::")[1]: line["verdict"] for line in suite.lines if line["kind"] == "verdict"
    }
    assert verdicts["test_cut"] == verdicts["test_only"] == verdicts["test_bare"] == "NOT APPLICABLE"
    assert suite.verdict("AAA-02") == "NOT APPLICABLE"
    assert (
        "AAA-01: test_cut was left out, because it injects faults, which needs a virtual board started by the harness"
        in (suite.qualification["notes"])
    )
    suite.validate()


@pytest.mark.parametrize("error", ["PortError('no port', 'plug in')", "FlashError('no sync', 'plug in')"])
def test_dead_board_blocks_the_rest_at_once(suite: Suite, error: str) -> None:
    result = suite.run(
        f"@pytest.fixture\ndef flashed(dut):\n    open('tries', 'a').write('x')\n    raise {error}\n"
        "@requirement('AAA-01')\ndef test_a(flashed): pass\n"
        "@requirement('AAA-02')\ndef test_b(flashed): pass\n"
        "def test_c(dut): pass\n"
    )
    assert Path("tries").read_text() == "x"
    assert result.ret == 7
    assert [line["verdict"] for line in suite.lines if line["kind"] == "verdict"] == ["BLOCKED"] * 3
    result.stdout.fnmatch_lines(["*remedy: plug in*", "*3 blocked*", "BLOCKED (virtual): *; 0 of 2 *"])
    assert "Traceback" not in result.stdout.str()
    suite.validate()


def test_bench_error_of_one_test_does_not_block_the_next(suite: Suite) -> None:
    suite.run(
        "@requirement('AAA-01')\ndef test_a(measure): raise PortError('lost for a moment')\n"
        "@requirement('AAA-02')\ndef test_b(measure): measure('x', 1, exact=1)\n"
    )
    assert (suite.verdict("AAA-01"), suite.verdict("AAA-02")) == ("BLOCKED", "PASS")


def test_teardown_error_fails_the_requirement(suite: Suite) -> None:
    suite.run(
        "@pytest.fixture\ndef clean(dut):\n    yield\n    raise FirmwareError('16 B were not given back')\n"
        "@requirement('AAA-01')\ndef test_it(clean, measure): measure('x', 1, exact=1)\n"
    )
    assert suite.verdict("AAA-01") == "FAIL"


SILENT_BOARD = """
from hotpin_hil.device.errors import NoReply
from hotpin_hil.link.channel import Channel

class Serial:
    def __init__(self):
        self.channel = Channel()
        self.channel.feed(b"I (5) main: \x1b[2Jlast words\\r\\n")

    def hard_reset(self):
        self.channel.feed(RESET_SAYS)

@pytest.fixture
def dut():
    class Dut:
        serial = Serial()
    return Dut()

@requirement("AAA-01")
def test_a(dut): raise NoReply("no reply to 'mem.stats'", 0)

@requirement("AAA-02")
def test_b(dut): pytest.fail("tried again")
"""


def test_hung_firmware_fails_and_its_console_is_shown(suite: Suite) -> None:
    banner = b"rst:0x1 (POWERON_RESET),boot:0x13 (SPI_FAST_FLASH_BOOT)\r\n"
    result = suite.run(f"RESET_SAYS = {banner!r}\n{SILENT_BOARD}")
    assert (suite.verdict("AAA-01"), suite.verdict("AAA-02")) == ("FAIL", "FAIL")
    result.stdout.fnmatch_lines(["*the board's console*", "I (5) main: *last words"])


def test_dead_line_is_a_bench_fault(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugin_board, "BOOT_S", 0.05)
    result = suite.run(f"RESET_SAYS = b'?'\n{SILENT_BOARD}")
    assert (suite.verdict("AAA-01"), suite.verdict("AAA-02")) == ("BLOCKED", "BLOCKED")
    assert result.ret == 7
    assert "tried again" not in result.stdout.str().replace("not tried again", "")


def test_board_that_does_not_start_blocks_everything(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeVirtualBoard, "refuses", True)
    result = suite.run(ALL_PASS)
    assert result.ret == 7
    result.stdout.fnmatch_lines(["the virtual board did not start: no room", "*remedy: make room*"])


def test_build_of_another_checkout_is_not_flashed(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    """The virtual board does not run such a build. If it were flashed, every test would report that the firmware never
    started."""
    monkeypatch.setattr(package, "is_registered", [].__contains__)
    result = suite.run(ALL_PASS)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: * was not built by this checkout, * (build it: make native)"])
    assert not FakeVirtualBoard.started


def test_board_is_stopped_at_the_end(suite: Suite) -> None:
    suite.run(ALL_PASS)
    (board,) = FakeVirtualBoard.started
    assert not board.is_running


SEVERAL = """
from hotpin_hil.pytest_plugin.plugin import board_of

@pytest.fixture
def dut(request):
    return board_of(request.config).port

@pytest.mark.parametrize("count", [2, 1])
def test_it(count, dut):
    assert dut.count("rfc2217://") == count
"""


def test_a_test_with_two_boards_starts_a_second(suite: Suite) -> None:
    result = suite.run(SEVERAL)
    result.assert_outcomes(passed=2)
    assert len(FakeVirtualBoard.started) == 2
    assert not any(board.is_running for board in FakeVirtualBoard.started)


def test_part_of_the_suite_is_incomplete(suite: Suite) -> None:
    result = suite.run("@requirement('AAA-01')\ndef test_it(measure): measure('x', 1, exact=1)\n")
    assert result.ret == 0
    summary = 'INCOMPLETE (virtual): not all tests were run; 1 of 1 tested "must" requirements pass;'
    assert result.outlines[-1].startswith(summary)
    assert "1 not run" in result.outlines[-1]


TWO_OF_ONE = """
@requirement('AAA-01', 'AAA-02')
def test_good(measure): measure('x', 1, exact=1)
@requirement('AAA-01')
def test_bad(measure): measure('x', 2, exact=1)
"""


@pytest.mark.parametrize(
    "options",
    [
        ("-k", "good", "hil_tests"),
        ("--deselect", "hil_tests/test_it.py::test_bad"),
        ("hil_tests/test_it.py::test_good",),
        ("--ignore=hil_tests/test_other.py", "hil_tests"),
    ],
)
def test_run_without_the_failing_test_is_incomplete(suite: Suite, options: tuple[str, ...]) -> None:
    good, bad = TWO_OF_ONE.split("@requirement('AAA-01')\n")
    ignored = "--ignore" in options[0]
    if ignored:
        suite.write("hil_tests/test_other.py", f"{IMPORTS}@requirement('AAA-01')\n{bad}")
    result = suite.run(good if ignored else TWO_OF_ONE, *options)
    result.assert_outcomes(passed=1, deselected=int("deselect" in str(options) or "-k" in options))
    assert suite.qualification["overall"] == "INCOMPLETE"
    assert result.outlines[-1].startswith("INCOMPLETE (virtual): not all tests were run")
    (note,) = suite.qualification["notes"]
    assert note
    suite.validate()


def test_tests_of_one_requirement_can_be_run_alone(suite: Suite) -> None:
    result = suite.run(
        "@requirement('AAA-01')\ndef test_first(measure): measure('x', 1, exact=1)\n"
        "@requirement('AAA-02')\ndef test_second(measure): measure('x', 1, exact=1)\n"
        "def test_none(measure): measure('x', 1, exact=1)\n",
        *("--requirement", "AAA-02", "hil_tests"),
    )
    result.assert_outcomes(passed=1, deselected=2)
    assert suite.verdict("AAA-02") == "PASS"
    assert suite.qualification["overall"] == "INCOMPLETE"


def test_unknown_requirement_to_run_is_refused_by_name(suite: Suite) -> None:
    result = suite.run(ALL_PASS, "--requirement", "AAA-1", "hil_tests")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--requirement: requirements.toml has no AAA-1*"])


@pytest.mark.parametrize(
    ("marker", "overall"), [("soak", "REHEARSED"), ("burn_in", "REHEARSED"), ("other", "INCOMPLETE")]
)
def test_only_a_long_test_may_be_left_out(suite: Suite, marker: str, overall: str) -> None:
    long = (
        f"@pytest.mark.{marker}\n@requirement('AAA-01')\ndef test_long(measure): measure('x', 1, exact=1)\n"
    )
    result = suite.run(ALL_PASS + long, "-m", f"not {marker}", "hil_tests")
    assert "1 deselected" in result.stdout.str()
    assert suite.qualification["overall"] == overall


ONE_REQUIREMENT = WITHOUT_BOARD.replace(', "AAA-02"', "")
STOPS = "@requirement('AAA-02')\ndef test_stop(request): raise KeyboardInterrupt\n"


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "on two workers"])
def test_part_of_the_suite_has_a_short_table(suite: Suite, workers: tuple[str, ...]) -> None:
    suite.write("conftest.py", CONFTEST + REGISTERED)
    result = suite.run(ONE_REQUIREMENT + STOPS, "-k", "not stop", *workers, "hil_tests")
    table = [line for line in result.outlines if re.match(r"[A-Z]{3}-\d\d |not |other ", line)]
    assert [row.split()[0] for row in table] == ["AAA-01", "other"]
    assert table[1] == "other requirements: 3 not selected"


def test_interrupted_part_lists_what_was_selected(suite: Suite) -> None:
    result = suite.run(ONE_REQUIREMENT + STOPS, "hil_tests/test_it.py")
    result.stdout.fnmatch_lines(
        ["AAA-01 *PASS*", "not run:", "  AAA-02: *", "other requirements: 2 not selected"], consecutive=True
    )


def test_second_run_into_the_same_folder_is_refused(suite: Suite) -> None:
    suite.run(ALL_PASS)
    run = RunLine.from_json(suite.lines[0])
    suite.folder = suite.runs / "named"
    other = ResultsWriter(suite.folder, run)
    where = f"--qualification-dir={suite.folder}"
    result = suite.run(ALL_PASS, where, "--overwrite", "hil_tests")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["ERROR: another run is writing its evidence to * (wait * --qualification-dir)"]
    )
    assert [line["kind"] for line in suite.lines] == ["run"]
    other.close()
    assert suite.run(ALL_PASS, where, "--overwrite", "hil_tests").ret == 0


BROKEN_FIXTURES = """
@pytest.fixture
def broken():
    raise RuntimeError(chr(27) + "[2J")

@pytest.fixture
def unplugged():
    raise PortError("gone", "plug in")

@requirement("AAA-01")
def test_broken(broken): pass
@requirement("AAA-01")
def test_unplugged(unplugged): pass
"""


def test_broken_fixture_is_shown_with_file_and_line(suite: Suite) -> None:
    """The report of a broken fixture must contain a traceback for its author; for a bench error, the message is
    enough."""
    result = suite.run(BROKEN_FIXTURES)
    result.stdout.fnmatch_lines(
        ["*test_broken, setup*", ">*raise RuntimeError(*", "*test_it.py:*: RuntimeError"]
    )
    output = result.stdout.str()
    assert "test_unplugged, setup" not in output
    assert "\x1b" not in output
    assert (
        "RuntimeError"
        not in suite.run(BROKEN_FIXTURES, "hil_tests", "--tb=no").stdout.str().partition(" requirements ")[0]
    )


@pytest.mark.parametrize("mark", ["requirement", "requirement()", "requirement(id='AAA-01')"])
def test_requirement_mark_without_an_id_is_an_error(suite: Suite, mark: str) -> None:
    result = suite.run(f"@{mark}\ndef test_it(measure): measure('x', 1, exact=1)\n")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines(["*test_it has a requirement mark without an id (write *"])


def test_interrupted_run_is_incomplete(suite: Suite) -> None:
    result = suite.run(ALL_PASS + "def test_z(dut): raise KeyboardInterrupt\n")
    assert result.ret == 2
    assert suite.qualification["overall"] == "INCOMPLETE"
    assert suite.lines[-1]["exit"] == 2


def test_results_are_on_disk_before_the_test_ends(suite: Suite) -> None:
    suite.run(
        "@requirement('AAA-01')\ndef test_it(measure):\n    measure('x', 1, exact=1)\n"
        "    lines = open('build/qualification/latest/results.jsonl').read().splitlines()\n"
        '    assert \'"name":"x"\' in lines[-1]\n'
    )
    assert suite.verdict("AAA-01") == "PASS"


def test_failing_test_without_a_requirement_counts(suite: Suite) -> None:
    result = suite.run(ALL_PASS + "def test_z(dut): assert False\n")
    assert result.ret == 1
    assert suite.qualification["overall"] == "NOT QUALIFIED"
    assert suite.qualification["other_tests"][0]["test"].endswith("::test_z")


def test_unknown_requirement_is_an_error_of_collection(suite: Suite) -> None:
    result = suite.run("@requirement('AAA-01', 'ZZZ-99')\ndef test_it(dut): pass\n")
    assert result.ret == 2
    result.stdout.fnmatch_lines(["*test_it.py::test_it is marked with the unknown requirement ZZZ-99 *"])
    assert not FakeVirtualBoard.started
    assert result.outlines[-1].startswith("INCOMPLETE (virtual): pytest exited with status 2; 0 of 0 tested")


def test_older_results_are_not_taken_for_this_run(suite: Suite) -> None:
    suite.run(ALL_PASS)
    suite.run(
        "import os\n@requirement('AAA-01')\ndef test_it(measure):\n"
        "    measure('older', os.path.exists('build/qualification/latest/qualification.json'), exact=False)\n"
    )
    assert suite.verdict("AAA-01") == "PASS"


def test_terminal_escapes_of_a_board_stay_out_of_the_terminal(suite: Suite) -> None:
    result = suite.run(
        "@requirement('AAA-01')\ndef test_it(measure): measure('\\x1b[2J', '\\x1b[31m', exact='a')\n"
    )
    assert "\x1b" not in result.stdout.str()
    assert "\\x1b[31m" in result.stdout.str()
    assert "\x1b" not in (suite.folder / "report.html").read_text()


@pytest.mark.parametrize(
    ("options", "environment", "message"),
    [
        ((), {"CI": "true"}, "CI is set*--board*"),
        (("--port", "/dev/not-there"), {}, "there is no port /dev/not-there*hotpin-hil boards*"),
        (("--board", "hardware"), {}, "no attached board was found*"),
        (("--board", "virtual", "--target", "esp32c3"), {}, "*is for esp32, not for --target esp32c3*"),
        (
            ("--board", "hardware", "--port", "/dev/null"),
            {},
            "there is no firmware build in *build*--board hardware*",
        ),
        (("--board", "virtual", "--time-scale", "0"), {}, "--time-scale must be greater than 0*"),
        ((), {"HOTPIN_BOARD": "real"}, "HOTPIN_BOARD is 'real'*"),
    ],
)
def test_usage_error_is_one_line(
    suite: Suite,
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...],
    environment: dict[str, str],
    message: str,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    result = suite.run(ALL_PASS, "hil_tests", "--target", "esp32", *options, board=None)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {message}"])
    assert "Traceback" not in result.stderr.str()
    assert not FakeVirtualBoard.started


def test_missing_build_ends_the_run_before_a_board_is_touched(
    suite: Suite, pytester: pytest.Pytester
) -> None:
    (pytester.path / "firmware/build-native/hotpin.bin").unlink()
    result = suite.run(ALL_PASS)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: the firmware build has no *hotpin.bin (build it: make native)*"])
    assert not FakeVirtualBoard.started


def test_unwritable_folder_is_a_one_line_error(suite: Suite) -> None:
    suite.write("a_file", "")
    result = suite.run(ALL_PASS, "--qualification-dir=a_file/below")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: cannot write the evidence to *below: Not a directory (*)"])


@pytest.mark.parametrize(
    ("made", "options"),
    [
        ("made", ("-n", "2", "--alluredir", "made")),
        ("made/any", ("--tx", "2*popen", "--dist", "load", "--made-by-a-plugin", "made/any")),
    ],
)
def test_worker_starts_after_the_run_created_the_path(
    suite: Suite, pytester: pytest.Pytester, made: str, options: tuple[str, ...]
) -> None:
    pytester.makepyfile(
        a_plugin="""
        from pathlib import Path
        def pytest_addoption(parser):
            parser.addoption("--made-by-a-plugin")
        def pytest_configure(config):
            if path := config.option.made_by_a_plugin:
                Path(path).mkdir(parents=True, exist_ok=True)
        """
    )
    suite.write("conftest.py", CONFTEST + REGISTERED)
    suite.write("hil_tests/test_it.py", IMPORTS + WITHOUT_BOARD)
    own = ("-p", "a_plugin", "--board", "virtual", "--max-worker-restart", "0")
    result = pytester.runpytest_subprocess(*WITHOUT, *own, *options)
    assert result.ret == 0
    assert (pytester.path / made).exists()


@pytest.mark.parametrize(("exists", "workers"), [(True, ()), (False, ("-n", "2"))])
def test_path_as_a_value_is_not_taken_for_tests(
    suite: Suite,
    pytester: pytest.Pytester,
    tmp_path_factory: pytest.TempPathFactory,
    exists: bool,
    workers: tuple[str, ...],
) -> None:
    """Without the plugin, pytest would take such a path for a test argument, use the common parent as rootdir, and find
    neither pytest.ini nor the suite."""
    elsewhere = tmp_path_factory.mktemp("elsewhere") / ("" if exists else "made_by_the_run")
    suite.write("conftest.py", CONFTEST + REGISTERED)
    suite.write("hil_tests/test_it.py", IMPORTS + WITHOUT_BOARD)
    options = ("--board", "virtual", "--qualification-dir", str(elsewhere), "--max-worker-restart=0")
    result = pytester.runpytest_subprocess(*WITHOUT, *options, *workers)
    assert result.ret == 0
    assert result.outlines[0] == "evidence: virtual board, at best REHEARSED (virtual)"
    assert (elsewhere / "qualification.json").exists()


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (["--port", "/dev/null"], ["--port=/dev/null"]),
        (["--port", "not-there", "-v", "hil_tests"], ["--port=not-there", "-v", "hil_tests"]),
        (["--alluredir", "a", "b", "--port", "a"], ["--alluredir=a", "b", "--port=a"]),
        (["--port", "-q"], ["--port", "-q"]),
        (["--port=/dev/null", "/tmp"], ["--port=/dev/null", "/tmp"]),
        (["--verbose", "hil_tests"], ["--verbose", "hil_tests"]),
        (["--two", "hil_tests", "b"], ["--two", "hil_tests", "b"]),
        (["--not-known-yet", "hil_tests"], ["--not-known-yet", "hil_tests"]),
        (["--", "--port", "/dev/null"], ["--", "--port", "/dev/null"]),
        (["-p", "/dev/null"], ["-p", "/dev/null"]),
    ],
)
def test_only_option_values_are_joined(given: list[str], meant: list[str]) -> None:
    class Parser(argparse.ArgumentParser):
        def error(self, message: str) -> NoReturn:
            raise pytest.UsageError(message)

    parser = Parser()
    for name in ("--port", "--alluredir", "-p"):
        parser.add_argument(name, nargs="?")
    parser.add_argument("--two", nargs=2)
    parser.add_argument("--verbose", "-v", action="store_true")
    parser.add_argument("file_or_dir", nargs="*")
    assert join_values(given, parser.parse_known_args) == meant


def test_auto_announces_that_no_board_is_attached(suite: Suite) -> None:
    result = suite.run(ALL_PASS, board=None)
    assert result.outlines[0] == "evidence: virtual board (no board is attached), at best REHEARSED (virtual)"


def test_board_of_another_kind_blocks_the_run(
    suite: Suite, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_build(pytester.path / "firmware" / "build", idf="v5.4.2")
    monkeypatch.setattr(BoardInUse, "port", "rfc2217://127.0.0.1:1")
    result = suite.run(ALL_PASS, "hil_tests", "--port", "rfc2217://127.0.0.1:1", board="hardware")
    assert result.outlines[0].endswith("at best QUALIFIED (hardware)")
    assert result.ret == 7
    assert suite.qualification["overall"] == "BLOCKED"
    result.stdout.fnmatch_lines(["*remedy: run with --board virtual"])


def test_sessions_outside_the_suite_are_left_alone(suite: Suite, pytester: pytest.Pytester) -> None:
    (pytester.path / "tests").mkdir()
    (pytester.path / "tests/test_own.py").write_text("def test_it(): pass\n")
    result = suite.run(ALL_PASS, "tests", board=None)
    assert result.ret == 0
    assert "evidence" not in result.stdout.str()
    assert not FakeVirtualBoard.started
    assert not suite.folder.exists()


def test_collect_only_needs_no_board(suite: Suite, pytester: pytest.Pytester) -> None:
    (pytester.path / "firmware/build-native/hotpin.bin").unlink()
    assert suite.run(ALL_PASS, "hil_tests", "--collect-only", board=None).ret == 0


def test_evidence_of_workers_is_collected(suite: Suite) -> None:
    """Workers are separate processes, where the fake board is not installed, so this test uses no board."""
    result = suite.run(WITHOUT_BOARD, "-n", "2", "hil_tests")
    assert result.ret == 0
    kinds = [line.get("about", line["kind"]) for line in suite.lines]
    assert kinds == ["run", "plan", "plan", "started", "measurement", "verdict", "end"]
    assert (suite.verdict("AAA-01"), suite.qualification["overall"]) == ("PASS", "REHEARSED")
    suite.validate()


def test_worker_whose_board_does_not_start_is_blocked(suite: Suite, pytester: pytest.Pytester) -> None:
    suite.write("conftest.py", CONFTEST + REGISTERED)
    # `python -m hotpin_hil` runs this file instead.
    pytester.makepyfile(hotpin_hil="raise SystemExit('error: no room')")
    result = suite.run(ALL_PASS, "-n", "2", "hil_tests")
    assert result.ret == 7
    result.stdout.fnmatch_lines(
        ["the virtual board did not start *no room", "BLOCKED (virtual): *; 0 of 2 *"]
    )
    suite.validate()
