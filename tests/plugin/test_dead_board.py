"""If a board dies in the middle of a run, the remaining tests must be BLOCKED within seconds."""

from __future__ import annotations

import json

import pytest

from hotpin_hil.boards.artifacts import read_build
from hotpin_hil.boards.kind import BoardKind
from hotpin_hil.errors import BuildError
from hotpin_hil.paths import NATIVE_BUILD_DIR, PROJECT_ROOT

pytest_plugins = ["pytester"]

REST_MAX_S = 30.0
"""Limit in seconds from the death of the board to the end of the session. It takes 1 s on an idle machine; at least
four tests are left, and a test that waits for the boot of a dead board takes 10 s."""

# Kills the virtual board's process while the second test waits for an answer.
KILLER = """
import time
from pathlib import Path
from hotpin_hil.link.channel import Channel
from hotpin_hil.pytest_plugin.board import BOARD_KEY

send = Channel.send
tests = died = 0

def pytest_runtest_call(item):
    global tests
    tests += 1
    if tests == 2:
        process = item.config.stash[BOARD_KEY].session.board._processes[0]._process

        def send_and_kill(channel, data):
            global died
            send(channel, data)
            if not died:
                died = time.monotonic()
                process.kill()

        Channel.send = send_and_kill

def pytest_sessionfinish(session):
    Path(__file__).with_name("rest").write_text(f"{time.monotonic() - died:.3f}")
"""


def test_dead_board_blocks_the_rest_within_seconds(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    try:
        read_build(NATIVE_BUILD_DIR, BoardKind.VIRTUAL)
    except BuildError as error:
        pytest.skip(str(error))
    for name in ("CI", "HOTPIN_BOARD", "ESPPORT", "PYTEST_ADDOPTS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PYTHONPATH", str(pytester.path))
    pytester.makepyfile(killer=KILLER)
    folder = pytester.path / "evidence"
    options = ("-p", "killer", "--rootdir", str(PROJECT_ROOT), "-c", str(PROJECT_ROOT / "pytest.ini"))
    tests = str(PROJECT_ROOT / "hil_tests" / "test_tts.py")
    result = pytester.runpytest_subprocess(
        *options,
        *("--target", "esp32", "--board", "virtual", f"--qualification-dir={folder}", tests),
        timeout=120,
    )
    assert result.ret == 7
    lines = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
    verdicts = [line for line in lines if line["kind"] == "verdict"]
    assert [line["verdict"] for line in verdicts][:2] == ["PASS", "BLOCKED"]
    assert {line["verdict"] for line in verdicts[1:]} == {"BLOCKED"}
    assert len(verdicts) >= 5
    assert all(line["remedy"] for line in verdicts[1:])
    assert "Traceback" not in result.stdout.str() + result.stderr.str()
    assert float((pytester.path / "rest").read_text()) < REST_MAX_S
