"""Tests the statistics box: it must have the guide's layout byte for byte, for figures of every width and sign."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import shared_data
from tests.support.c_build import build

MODULE = build(
    "mem_render", ["memory_manager/src/mem_render.c", "telemetry/src/number_format.c"], ["mem_render.h"]
)
ffi, lib, new = MODULE.ffi, MODULE.lib, MODULE.new
LINE_MAX = MODULE.const("MEM_LINE_MAX")
CANARY = b"\xa5" * 16

# "System Boot" as recorded on a real board, but with this firmware's fragmentation and with deltas of both signs.
SYSTEM_BOOT = {
    "stats": {
        "timestamp_ms": 1861,
        "internal_free": 225179,
        "internal_largest": 110592,
        "internal_fragmentation": 3,
        "dma_free": 204763,
        "dma_largest": 110592,
        "dma_fragmentation": 46,
        "psram_free": 4192016,
        "psram_largest": 4128768,
        "psram_fragmentation": 100,
        "total_free": 4364748,
        "total_minimum_free": 4360000,
    },
    "delta": {"internal": 0, "dma": -1023, "psram": -102400, "total": 1536},
    "context": b"System Boot",
}
BORDER = "═" * 59
BOX = f"""\
╔{BORDER}
║ Memory Statistics - System Boot
╠{BORDER}
║ Internal RAM:
║   Free:             225179 bytes (219 KB)
║   Largest Block:    110592 bytes (108 KB)
║   Fragmentation:      3%
╠{BORDER}
║ DMA-capable RAM:
║   Free:             204763 bytes (199 KB)
║   Largest Block:    110592 bytes (108 KB)
║   Fragmentation:     46%
╠{BORDER}
║ PSRAM:
║   Free:             4192016 bytes (4093 KB)
║   Largest Block:    4128768 bytes (4032 KB)
║   Fragmentation:    100%
╠{BORDER}
║ Total Heap:
║   Free:             4364748 bytes (4262 KB)
║   Minimum Ever:     4360000 bytes (4257 KB)
╠{BORDER}
║ Memory Delta from Baseline:
║   Internal RAM:          +0 bytes (  +0 KB)
║   DMA-capable:        -1023 bytes (  +0 KB)
║   PSRAM:            -102400 bytes (-100 KB)
║   Total Heap:         +1536 bytes (  +1 KB)
╚{BORDER}
"""


def render(
    snapshot: dict[str, Any], time_ms: int = 1879, color: bytes = b"", reset: bytes = b""
) -> list[str]:
    """Renders the box; returns its lines without line endings. Checks the length of each line."""
    kept = [new("memory_snapshot_t *", snapshot), new("char[]", color), new("char[]", reset)]
    box = new("mem_box_t *", {"snapshot": kept[0], "time_ms": time_ms, "color": kept[1], "reset": kept[2]})
    lines = []
    for number in range(100):
        out = new("char[]", LINE_MAX + len(CANARY))
        ffi.memmove(out + LINE_MAX, CANARY, len(CANARY))
        length = lib.mem_render_line(box, number, out)
        assert bytes(ffi.buffer(out + LINE_MAX, len(CANARY))) == CANARY
        if length == 0:
            break
        line = bytes(ffi.buffer(out, length + 1))
        assert line.endswith(b"\r\n\0")
        lines.append(line[:-3].decode())
    return lines


def strip_prefix(lines: list[str], time_ms: int = 1879) -> str:
    prefix = f"I ({time_ms}) MEM_MGR: "
    assert all(line.startswith(prefix) for line in lines)
    return "".join(line.removeprefix(prefix) + "\n" for line in lines)


def test_the_box_of_a_recorded_boot() -> None:
    assert strip_prefix(render(SYSTEM_BOOT)) == BOX


def guide_box() -> list[str]:
    text = shared_data("mission/memory_management_guide.md").read_text()
    found = re.search(r"^╔.*?^╚═*$", text, re.S | re.M)
    assert found, "the guide contains no box"
    return found[0].splitlines()


def test_the_box_has_the_guides_lines() -> None:
    """Compares labels, columns, units and borders. In the guide, a run of X stands for a figure with its padding."""
    ours, guide = strip_prefix(render(SYSTEM_BOOT)).splitlines(), guide_box()
    assert len(ours) == len(guide)
    for mine, theirs in zip(ours, guide, strict=True):
        pattern = re.escape(theirs).replace(re.escape("[Context]"), ".+")
        pattern = re.sub(r"\\\+/\\\-X+", r" *[+-][0-9]+", pattern)
        pattern = re.sub(r"X+", r" *[0-9]+", pattern)
        assert re.fullmatch(pattern, mine), f"{mine!r} is not the guide's {theirs!r}"


def test_the_box_has_the_layout_of_recorded_logs() -> None:
    log = shared_data("real_logs/serialmonitorlogs_a67f01a.txt").read_text(errors="replace").splitlines()
    start = next(i for i, line in enumerate(log) if line.endswith("Memory Statistics - System Boot"))
    recorded = [re.sub(r"^I \(\d+\) MEM_MGR: ", "", line) for line in log[start : start + 27]]
    stats = {
        **SYSTEM_BOOT["stats"],  # type: ignore[dict-item]
        "internal_fragmentation": 51,
        "psram_fragmentation": 2,
        "total_minimum_free": 4364748,
    }
    ours = strip_prefix(render({**SYSTEM_BOOT, "stats": stats, "delta": {}})).splitlines()
    assert ours[1:] == recorded


@pytest.mark.parametrize("value", [0, 999, 99_999, 999_999, 4_194_304, 2**32 - 1])
def test_byte_figures_have_printfs_widths(value: int) -> None:
    stats = {name: value for name in ("internal_free", "dma_largest", "psram_free", "total_minimum_free")}
    lines = strip_prefix(render({"stats": stats, "context": b"x"})).splitlines()
    assert lines[4] == f"║   Free:             {value:6} bytes ({value // 1024:3} KB)"
    assert lines[10] == f"║   Largest Block:    {value:6} bytes ({value // 1024:3} KB)"
    assert lines[14] == f"║   Free:             {value:6} bytes ({value // 1024:4} KB)"
    assert lines[20] == f"║   Minimum Ever:     {value:6} bytes ({value // 1024:4} KB)"


@given(st.integers(-(2**31), 2**31 - 1))
def test_deltas_have_sign_and_truncate_towards_zero(value: int) -> None:
    lines = strip_prefix(render({"delta": {"psram": value}, "context": b"x"})).splitlines()
    kilobytes = abs(value) // 1024 * (1 if value >= 0 else -1)
    assert lines[25] == f"║   PSRAM:            {value:+7} bytes ({kilobytes:+4} KB)"


def test_every_figure_is_in_its_own_place() -> None:
    names = [name for name, _field in ffi.typeof("memory_stats_t").fields]  # in the struct's order
    stats = {name: 100_000 + i for i, name in enumerate(names)}
    box = strip_prefix(render({"stats": stats, "context": b"x"}))
    shown = {name: str(value) in box for name, value in stats.items()}
    hidden = {"timestamp_ms", "iram_free"} | {name for name in names if name.endswith("_watermark")}
    assert {name for name, seen in shown.items() if not seen} == hidden
    figures = re.findall(r": +(\d{6}) ?[b%]", box)
    assert [int(figure) - 100_000 for figure in figures] == sorted(
        names.index(name) for name in names if name not in hidden
    )


def test_colours_and_time_stamp_stand_around_each_line() -> None:
    lines = render(SYSTEM_BOOT, time_ms=2**32 - 1, color=b"\033[0;32m", reset=b"\033[0m")
    assert len(lines) == 28
    for line in lines:
        assert line.startswith("\033[0;32mI (4294967295) MEM_MGR: ")
        assert line.endswith("\033[0m")


def test_longest_box_fits_mem_box_max() -> None:
    widest = {
        "stats": {name: 2**32 - 1 for name in dir(new("memory_stats_t *")) if not name.startswith("_")},
        "delta": {name: -(2**31) for name in ("internal", "dma", "psram", "total")},
        "context": ("═" * 10).encode() + b"x",
    }
    lines = render(widest, time_ms=2**32 - 1, color=b"\033[0;32m", reset=b"\033[0m")
    assert sum(len(line.encode()) + 2 for line in lines) <= MODULE.const("MEM_BOX_MAX")
