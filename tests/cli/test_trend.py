"""Tests `hotpin-hil trend`, which prints figures of many runs on the terminal and on an HTML page that loads nothing
from the network."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from hotpin_hil.cli.main import main
from tests.support.release_runs import SmallRun


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A folder of four runs. From the third run, voice mode uses 2 KB more."""
    folder = tmp_path / "runs"
    for number, more in enumerate((0, 0, 2_048, 2_048), start=1):
        run = replace(SmallRun(seed=number), voice_more=more).write(folder / f"run-{9 - number}")
        file = run / "results.jsonl"
        file.write_text(file.read_text().replace("2025-01-01T00:00:00", f"2025-01-0{number}T00:00:00"))
    return folder


def test_figures_are_in_the_order_of_time(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trend", str(runs), "--figure", "memory: voice mode: internal taken*"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "4 runs on qemu boards, 2025-01-01 to 2025-01-04",
        "memory: voice mode: internal taken since the start: 98,544 to 100,592 B, range 98,544..100,592, 4 runs",
    ]


def test_page_has_a_chart_and_a_table_of_each_figure(runs: Path, tmp_path: Path) -> None:
    page = tmp_path / "trend.html"
    assert main(["trend", str(runs), "--html", str(page)]) == 0
    html = page.read_text(encoding="utf-8")
    assert html.count("<svg") == 4  # one chart each for memory, transitions, leaks and sizes
    assert "voice mode: internal free" in html
    assert "28,944" in html
    assert "with test console: static dram" in html
    assert not re.search(r"<script|https?://", html)


def test_runs_on_other_kinds_of_board_are_left_out(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    SmallRun(evidence="virtual").write(runs / "virtual")
    assert main(["trend", str(runs), "--board", "qemu", "--figure", "leak: *"]) == 0
    found = capsys.readouterr()
    assert "left out: 1 runs on other kinds of board" in found.err
    assert "4 runs on qemu boards" in found.out


def test_damaged_run_in_a_folder_is_named_and_left_out(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (runs / "damaged").mkdir()
    (runs / "damaged" / "results.jsonl").write_text("no\n")
    assert main(["trend", str(runs), "--figure", "leak: *"]) == 0
    assert "damaged" in capsys.readouterr().err
    assert main(["trend", str(runs / "damaged")]) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--figure", "nonsense"], "no figure matches nonsense"),
        (["--board", "hardware"], "a trend needs at least two runs, but there are 0"),
    ],
)
def test_nothing_to_show_is_an_error(
    runs: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["trend", str(runs), *arguments]) == 2
    assert message in capsys.readouterr().err
