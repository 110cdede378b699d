"""Tests that a benchmark prints a row for a stock tool that fails, and fails itself if the harness's own tool fails."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.benchmarks import bench_link, bench_tools
from tests.system.benchmarks.stock import StockFailure, measure_stock

WORKS = "pass"
FAILS = "import sys; sys.exit('Connecting...\\nA fatal error occurred: no serial data received')"


@pytest.fixture
def tools(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """bench_tools with a fake build and a fake board, for measuring a fake esptool."""

    @contextlib.contextmanager
    def board(_folder: Path) -> Iterator[str]:
        yield "nowhere"

    (tmp_path / "flasher_args.json").touch()
    monkeypatch.setattr(bench_tools, "NATIVE_BUILD_DIR", tmp_path)
    monkeypatch.setattr(bench_tools, "erased_board", board)
    monkeypatch.setattr("sys.argv", ["bench_tools", "--only", "flash"])
    return monkeypatch


def test_failed_stock_tool_is_a_row_with_its_reason(
    tools: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tools.setattr(bench_tools, "ESPTOOL", WORKS)
    tools.setattr(bench_tools, "STOCK_ESPTOOL", FAILS)
    assert bench_tools.main() == 0
    row = capsys.readouterr().out.splitlines()[-1]
    assert row.startswith("esptool writes 721 KB")
    assert row.endswith("failed: A fatal error occurred: no serial data received")


def test_failure_of_our_tool_is_an_error(
    tools: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tools.setattr(bench_tools, "ESPTOOL", FAILS)
    tools.setattr(bench_tools, "STOCK_ESPTOOL", WORKS)
    assert bench_tools.main() == 1
    assert "no serial data received" in capsys.readouterr().err


def test_failed_stock_console_is_a_row_and_ours_keeps_its_limit(capsys: pytest.CaptureFixture[str]) -> None:
    results = {"ours": [1.0] * 20, "dut.expect": [1.5] * 20, "set-up": [5.0]}
    assert bench_link.report(results, StockFailure("Timeout exceeded."), "a board") == 0
    table = capsys.readouterr().out
    assert "stock       failed: Timeout exceeded.\n" in table
    assert "ours: p95 1.00 ms" in table


def test_reason_of_pytest_is_its_failed_test() -> None:
    def fails() -> float:
        raise bench_tools.Failed(
            "E   pexpect.TIMEOUT: not found\nFAILED test_set_up.py::test_set_up[0] - pexpect.TIMEOUT\n=== 1 failed ==="
        )

    stock = measure_stock(fails)
    assert str(stock) == "failed: FAILED test_set_up.py::test_set_up[0] - pexpect.TIMEOUT"
