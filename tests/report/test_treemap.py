"""Tests the treemap of the allocation profile."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotpin_hil.report.treemap import ASPECT, Area, Held, divide, treemap

WHOLE = Area(0, 0, 1, 1)


@given(
    st.lists(st.integers(1, 10_000_000), min_size=1, max_size=60).map(
        lambda sizes: sorted(sizes, reverse=True)
    )
)
def test_areas_are_proportional_and_fill_the_drawing_without_overlap(sizes: list[int]) -> None:
    areas = divide(sizes, WHOLE)
    assert len(areas) == len(sizes)
    for size, area in zip(sizes, areas, strict=True):
        assert area.width * area.height == pytest.approx(size / sum(sizes), rel=1e-6)
        assert area.left >= -1e-9
        assert area.top >= -1e-9
        assert area.left + area.width <= 1 + 1e-9
        assert area.top + area.height <= 1 + 1e-9
    for number, one in enumerate(areas):
        for other in areas[:number]:
            across = min(one.left + one.width, other.left + other.width) - max(one.left, other.left)
            down = min(one.top + one.height, other.top + other.height) - max(one.top, other.top)
            assert min(across, down) <= 1e-9


def test_equal_parts_are_about_square() -> None:
    for area in divide([1] * 12, WHOLE):
        assert 1 / 2.5 < area.width * ASPECT / area.height < 2.5


def test_picture_names_tasks_and_sites_and_lists_all_in_the_table() -> None:
    held = [
        Held("state", "audio_driver_init, audio_driver.c:61", 24_000, 8, 24_000, 8),
        Held("main", "take, network_model.c:32", 50_000, 40, 50_000, 40),
        Held("main", "take, network_model.c:32", 40_000, 30, 40_000, 30),
        Held("state", "<b>&", 10, 1, 500, 9),
        Held("state", "gone, a.c:1", 0, 0, 5_000, 3),
    ]
    chart = treemap(held, "profile-1", "Use of internal memory")
    assert "114,010 B in use: main 90,000 B, state 24,010 B." in chart.description
    assert chart.svg.count("90,000 B<") == 1
    assert chart.svg.count("network_model.c:32") == 1
    assert "<b>" not in chart.svg
    assert chart.table is not None
    assert [row[0].split(",")[0] for row in chart.table.rows] == [
        "take",
        "take",
        "audio_driver_init",
        "<b>&",
        "gone",
    ]
    assert chart.table.rows[2][1:] == ("state", "24,000", "8", "24,000", "8")
