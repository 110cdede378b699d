"""Tests the report's charts: drawing, alternative text, and protection against hostile text from a board."""

from __future__ import annotations

import re
import subprocess
import sys
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hotpin_hil.analysis.leak import find_leak
from hotpin_hil.protocol.fields import MemoryStats
from hotpin_hil.report.chart import Chart, stand_alone, thinned
from hotpin_hil.report.heap_map import DrawnHeap, heap_map
from hotpin_hil.report.leak_chart import leak_chart
from hotpin_hil.report.timeline import Mark, MarkKind, Span, Timeline, TimelineSample, timeline_chart
from hotpin_hil.report.waterfall import Step, waterfall_chart

HOSTILE = "<script>alert(1)</script> $\\frac{x$ \x1b[2J\x00 \"'>"
LEVELS = {
    "internal_ram_warning": 51_200,
    "internal_ram_critical": 20_480,
    "dma_capable_warning": 35_840,
    "dma_capable_critical": 20_480,
    "psram_warning": 512_000,
    "psram_critical": 204_800,
}


def stats(free: int, psram: int = 3_900_000) -> MemoryStats:
    return MemoryStats(0, free, free // 2, 3, free - 3, free // 2, 3, psram, psram, 0, free + psram, 1_000)


def timeline(count: int, text: str = "Periodic") -> Timeline:
    samples = [TimelineSample(1_000 * number, text, stats(100_000 + number % 7)) for number in range(count)]
    marks = [Mark(500, kind, text) for kind in MarkKind]
    return Timeline(samples, marks, [Span(text, 0, 1_000 * count), Span("voice", 0, 5)], [(0, LEVELS)])


def step(name: str, internal: int = 0, psram: int = 0, *, err: str = "ESP_OK", undo: bool = False) -> Step:
    return Step(name, undo, err, 100_000, 100_000 + internal, 3_000_000, 3_000_000 + psram)


def charts(text: str) -> list[Chart]:
    """One chart of each kind, with `text` in every place for a board's text."""
    readings = [100_000 - 16 * number for number in range(40)]
    return [
        timeline_chart(timeline(30, text), "a", text),
        waterfall_chart([step(text, -4_096), step(text, err=text, undo=True)], "b", text),
        leak_chart(readings, find_leak(readings), "c", text, text),
        heap_map([DrawnHeap(0x3FFB0000, 0x3FFB0100, (100, -2_000, 64))], "d", text, 4_096),
    ]


def test_a_chart_has_the_same_bytes_each_time_and_ids_of_its_own() -> None:
    """A report must be reproducible: the same results must give the same bytes and thus the same hash."""
    drawn = charts("Periodic")
    assert drawn == charts("Periodic")
    ids = [id_ for chart in drawn for id_ in re.findall(r' id="([^"]*)"', chart.svg)]
    assert any("-clip-" in id_ for id_ in ids)
    assert len(ids) == len(set(ids))


def texts(chart: Chart) -> str:
    """All text in a drawing."""
    return " ".join(ET.fromstring(stand_alone(chart)).itertext())


def test_every_chart_has_a_description_and_a_table() -> None:
    for chart in charts("context"):
        head = re.match(r'<svg role="img" [^>]*><title>([^<]+)</title><desc>([^<]+)</desc>', chart.svg)
        assert head is not None
        assert head[1] == "context"
        assert chart.table is not None
        assert all(len(row) == len(chart.table.columns) for row in chart.table.rows)


def test_hostile_text_is_drawn_as_text() -> None:
    for chart in charts(HOSTILE):
        names = {element.tag.split("}")[-1] for element in ET.fromstring(stand_alone(chart)).iter()}
        assert names <= {
            "svg",
            "title",
            "desc",
            "g",
            "defs",
            "path",
            "use",
            "text",
            "tspan",
            "clipPath",
            "rect",
            "pattern",
        }
        assert "<script>" in texts(chart)
        assert not re.search(r"[\x00-\x08\x0b-\x1f]", chart.svg)


@settings(max_examples=8, deadline=None)
@given(st.text(max_size=40))
def test_no_text_breaks_a_drawing(text: str) -> None:
    for chart in charts(text):
        ET.fromstring(stand_alone(chart))


def test_drawings_take_the_pages_colours_and_share_no_id() -> None:
    page = "".join(chart.svg for chart in charts("context"))
    used = set(re.findall(r"(?:fill|stroke): (#[0-9a-f]{6})", page))
    assert used <= {"#000000"}, (
        used
    )  # only black, which is the default colour and may occur in clipped elements
    assert "<style" not in page
    ids = re.findall(r'id="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#([^"]+)"', page)) <= set(ids)
    assert set(re.findall(r"url\(#([^)]+)\)", page)) <= set(ids)


@given(st.lists(st.integers(-1000, 1000), max_size=3_000), st.integers(1, 50))
def test_thinning_hides_no_extreme(values: list[int], buckets: int) -> None:
    kept = thinned(values, buckets)
    assert kept == sorted(set(kept))
    assert len(kept) <= 4 * buckets or len(values) <= 4 * buckets
    if values:
        shown = [values[index] for index in kept]
        assert (min(shown), max(shown)) == (min(values), max(values))
        assert (kept[0], kept[-1]) == (0, len(values) - 1)


def test_a_dip_of_one_sample_in_ten_thousand_is_in_drawing_words_and_table() -> None:
    samples = [TimelineSample(number * 10, "Periodic", stats(100_000)) for number in range(10_000)]
    samples[7_777] = TimelineSample(77_770, "Before Voice Transition", stats(4_831))
    chart = timeline_chart(Timeline(samples), "x", "dip")
    assert len(chart.svg) < 100_000
    assert "minimum free 4,831 B at 77.8 s (Before Voice Transition)" in chart.description
    assert chart.table is not None
    assert any("4,831" in row for row in chart.table.rows)
    assert len(chart.table.rows) < 100
    curves = re.findall(r'd="(M [^"]*)"', chart.svg)
    heights = [[float(y) for y in re.findall(r"[ML] [-\d.]+ ([-\d.]+)", curve)] for curve in curves]
    assert max(max(curve) - min(curve) for curve in heights if len(curve) > 3) > 60


def test_thresholds_are_drawn_only_while_in_force() -> None:
    plain = Timeline(timeline(30).samples, thresholds=[(0, LEVELS)])
    assert "warning 50 KB" in texts(timeline_chart(plain, "x", "x"))
    lowered = Timeline(timeline(30).samples, thresholds=[(0, {**LEVELS, "internal_ram_warning": 40 * 1024})])
    assert "warning 40 KB" in texts(timeline_chart(lowered, "x", "x"))
    off = Timeline(timeline(30).samples, thresholds=[(0, dict.fromkeys(LEVELS, 0))])
    assert "warning" not in texts(timeline_chart(off, "x", "x"))


def test_waterfall_names_every_step_its_change_and_its_failure() -> None:
    chart = waterfall_chart(
        [
            step("camera.stop", 37_780, 62_816),
            step("audio.start", err="ESP_ERR_NO_MEM"),
            step("camera.stop", -37_780, undo=True),
        ],
        "x",
        "x",
    )
    drawn = texts(chart)
    assert "+37,780 B" in drawn
    assert "+62,816 B" in drawn
    assert "✕ audio.start" in drawn
    assert "undo camera.stop" in drawn
    assert "audio.start failed with ESP_ERR_NO_MEM" in chart.description
    assert chart.table is not None
    assert chart.table.rows[0] == (
        *("camera.stop", "ESP_OK"),
        *("100,000", "137,780", "+37,780"),
        *("3,000,000", "3,062,816", "+62,816"),
    )


@pytest.mark.parametrize(
    ("readings", "expected"),
    [
        ([100_000 - 16 * number for number in range(40)], "Slope +16.000 B per cycle"),
        ([100_000] * 40, "Verdict: within budget."),
        ([100_000] * 20 + [91_804] * 20, "A single permanent loss of +8,196 B at cycle 20"),
        ([100_000], "too few"),
        ([100_000 + (-1) ** number * number**3 for number in range(30)], "Verdict: undecided."),
    ],
)
def test_leak_is_described_in_words(readings: list[int], expected: str) -> None:
    chart = leak_chart(readings, find_leak(readings), "x", "x")
    assert expected in chart.description


def test_heap_map_shows_every_block_and_the_block_that_did_not_fit() -> None:
    blocks = [100, -60] * 300 + [-22_528]
    chart = heap_map([DrawnHeap(0x3FFB0000, 0x3FFB0100, tuple(blocks))], "x", "x", 32_768)
    assert "40,528 B are free in 301 blocks; the largest is 22,528 B" in chart.description
    assert "The request was for one block of 32,768 B" in chart.description
    assert "wanted: 32,768 B" in texts(chart)
    drawn = [path.count("Z") + path.count("z") for path in re.findall(r'd="([^"]*)"', chart.svg)]
    # All used blocks are one path, with at least one shape each (two if a block spans two rows).
    assert max(drawn) >= 300
    assert chart.table is not None
    assert chart.table.rows[0][:6] == ("0x3ffb0000", "300", "30,000", "301", "40,528", "22,528")


def test_matplotlib_is_not_imported_before_a_chart_is_drawn() -> None:
    """Importing matplotlib takes 0.5 s, which must not slow down the start of pytest."""
    modules = "hotpin_hil.pytest_plugin.plugin, hotpin_hil.report.html, hotpin_hil.report.timeline"
    code = f"import sys, {modules}; sys.exit('matplotlib' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
