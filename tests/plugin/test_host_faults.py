"""If the host has a fault, tests must be BLOCKED with a remedy for the fault, and the results must remain complete."""

from __future__ import annotations

import errno

import pytest

from hotpin_hil.errors import HostError
from hotpin_hil.evidence import results
from tests.evidence.test_full_disk import SmallDisk
from tests.support.plugin_suite import FakeVirtualBoard, Suite

pytest_plugins = ["pytester", "tests.support.plugin_suite"]

KILLED = HostError("another program ended the firmware process", "look for it")


@pytest.mark.parametrize(
    ("body", "verdict"),
    [
        ("assert 1 == 2", "BLOCKED"),
        ("raise FirmwareError('no READY')", "BLOCKED"),
        # A value outside its limit is a failure, even if the host has a fault later.
        ("measure('x', 2, exact=1)", "FAIL"),
        ("measure('x', 1, exact=1)", "PASS"),
    ],
)
def test_host_fault_during_the_test_blocks_what_it_may_have_caused(
    suite: Suite, monkeypatch: pytest.MonkeyPatch, body: str, verdict: str
) -> None:
    monkeypatch.setattr(FakeVirtualBoard, "host_fault", KILLED)
    suite.run(f"@requirement('AAA-01')\ndef test_it(measure):\n    {body}\n")
    assert suite.verdict("AAA-01") == verdict
    (line,) = [line for line in suite.lines if line["kind"] == "verdict"]
    if verdict == "BLOCKED":
        assert line["reason"].startswith(f"{KILLED.message}; then ")
        assert line["remedy"] == "look for it"


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENOSPC], ids=errno.errorcode.get)
@pytest.mark.parametrize("phase", ["setup", "call", "teardown"])
def test_shortage_of_the_machine_is_blocked_in_any_phase(suite: Suite, number: int, phase: str) -> None:
    lines = {name: "pass" for name in ("setup", "call", "teardown")}
    lines[phase] = f"raise OSError({number}, 'shortage')"
    result = suite.run(
        f"@pytest.fixture\ndef thing():\n    {lines['setup']}\n    yield\n    {lines['teardown']}\n"
        "@requirement('AAA-01')\ndef test_it(thing, measure):\n"
        f"    measure('x', 1, exact=1)\n    {lines['call']}\n"
    )
    assert suite.verdict("AAA-01") == "BLOCKED"
    assert result.ret == 7
    result.stdout.fnmatch_lines(["  remedy: *, then run again"])


TESTS = """
from hotpin_hil.evidence import results
@requirement('AAA-01')
def test_before(measure): measure('x', 1, exact=1)
@requirement('AAA-02')
def test_full(measure):
    results.os.free = 40
    measure('x', 1, exact=1)
@requirement('AAA-02')
def test_after(measure): {after}
"""


def test_full_disk_blocks_the_rest_and_keeps_what_was_written(
    suite: Suite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "os", SmallDisk(1 << 30))
    result = suite.run(
        TESTS.format(after="measure('x', 1, exact=1)"), "-v", "--junitxml=junit.xml", "hil_tests"
    )
    assert result.ret == 7
    result.stdout.fnmatch_lines(
        [
            "*::test_before PASSED*",
            "*::test_full BLOCKED*",
            "*::test_after BLOCKED*",
            "*lines are waiting for disk space*",
        ]
    )
    assert suite.verdict("AAA-01") == "PASS"
    assert suite.qualification["overall"] == "INCOMPLETE"
    suite.validate()


def test_run_goes_on_when_there_is_space_again(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "os", SmallDisk(1 << 30))
    again = "results.os.free = 40\n    measure('x', 2, max=3)\n    results.os.free = 1 << 30\n"
    tests = TESTS.format(after="measure('x', 1, exact=1)").replace("results.os.free = 40\n", again)
    assert suite.run(tests).ret == 0
    assert suite.verdict("AAA-02") == "PASS"
    assert suite.qualification["unfinished"] == []
