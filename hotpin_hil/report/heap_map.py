"""Draws every block of a few heaps and, to the same scale, the block that did not fit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from hotpin_hil.report.chart import (
    BAND,
    BLUE,
    FAINT,
    LINE,
    ORANGE,
    RED,
    Box,
    Chart,
    Table,
    boxes_patch,
    drawing,
    finish,
)

BLOCK_HEADER = 4
"""Bytes before each block in ESP-IDF's heaps."""
ROWS_MAX = 22
"""Maximum number of lines in the picture, which determines the bytes per line."""
ROW_BYTES_MIN = 1024
ROW_PT = 15


@dataclass(frozen=True)
class DrawnHeap:
    """One heap: the user address of its first block, and the usable bytes of each block, negative if free.

    The next block's address is the sum of this address, the size and BLOCK_HEADER (`heap.blocks`, firmware/README.md).
    """

    start: int
    first: int
    blocks: tuple[int, ...]
    truncated: bool = False

    @property
    def end(self) -> int:
        return self.first + sum(abs(size) + BLOCK_HEADER for size in self.blocks)

    @property
    def free(self) -> list[int]:
        return [-size for size in self.blocks if size < 0]

    @property
    def used(self) -> list[int]:
        return [size for size in self.blocks if size > 0]


def heap_map(heaps: Sequence[DrawnHeap], name: str, title: str, wanted: int | None = None) -> Chart:
    """Draw heaps; each has at least one block. `wanted` is the size of the block that did not fit, None if unknown."""
    row_bytes = _row_bytes(heaps, wanted or 0)
    rows = sum(_rows(heap.end - heap.first, row_bytes) for heap in heaps) + len(heaps)
    rows += _rows(wanted, row_bytes) + 1 if wanted else 0
    with drawing(40 + ROW_PT * rows) as (figure, (axes,)):
        labels: list[tuple[float, str]] = []
        row = 0
        largest = max((size for heap in heaps for size in heap.free), default=0)
        for heap in heaps:
            for number in range(_rows(heap.end - heap.first, row_bytes)):
                labels.append((row + number, f"{heap.first + number * row_bytes:#010x}"))
            _draw_heap(axes, heap, row, row_bytes, largest)
            row += _rows(heap.end - heap.first, row_bytes) + 1
        if wanted:
            labels.append((row, f"wanted: {wanted:,} B"))
            for number, left, width in _lines(0, wanted, row_bytes):
                axes.broken_barh(
                    [(left, width)], (row + number - 0.38, 0.76), facecolor="none", edgecolor=RED, hatch="xx"
                )
            row += _rows(wanted, row_bytes)
        axes.set_xlim(0, row_bytes)
        axes.set_ylim(row - 0.4, -0.6)
        axes.set_yticks(
            [at for at, _ in labels], [text for _, text in labels], fontsize=7, fontfamily="monospace"
        )
        axes.set_xticks([])
        axes.tick_params(length=0)
        axes.set_xlabel(
            f"a line is {row_bytes:,} B; filled: used, empty: free, thick frame: the largest free block"
        )
        for spine in axes.spines.values():
            spine.set_visible(False)
        return finish(figure, name, title, _in_words(heaps, wanted), _table(heaps))


def _draw_heap(axes: Any, heap: DrawnHeap, row: int, row_bytes: int, largest: int) -> None:
    """Draw all blocks of a kind as one path, so that thousands of them stay small."""
    used: list[Box] = []
    free: list[Box] = []
    biggest: list[Box] = []
    at = 0
    for size in heap.blocks:
        boxes: list[Box] = [
            (left, left + width, row + number - 0.38, row + number + 0.38)
            for number, left, width in _lines(at, abs(size), row_bytes)
        ]
        (used if size > 0 else free).extend(boxes)
        if -size == largest:
            biggest.extend(boxes)
        at += abs(size) + BLOCK_HEADER
    for boxes, style in (
        (used, {"facecolor": BLUE, "edgecolor": LINE, "linewidth": 0.2}),
        (free, {"facecolor": BAND, "edgecolor": FAINT, "linewidth": 0.4}),
        (biggest, {"facecolor": "none", "edgecolor": ORANGE, "linewidth": 1.6}),
    ):
        if boxes:
            axes.add_patch(boxes_patch(boxes, **style))


def _lines(at: int, size: int, row_bytes: int) -> Iterator[tuple[int, int, int]]:
    """The lines that `size` bytes from `at` cover: number, left edge and width."""
    while size > 0:
        number, left = divmod(at, row_bytes)
        width = min(size, row_bytes - left)
        yield number, left, width
        at += width
        size -= width


def _rows(size: int, row_bytes: int) -> int:
    return -(-size // row_bytes)


def _row_bytes(heaps: Sequence[DrawnHeap], wanted: int) -> int:
    size = ROW_BYTES_MIN
    while sum(_rows(heap.end - heap.first, size) for heap in heaps) + _rows(wanted, size) > ROWS_MAX:
        size *= 2
    return size


def _in_words(heaps: Sequence[DrawnHeap], wanted: int | None) -> str:
    largest = max((size for heap in heaps for size in heap.free), default=0)
    free = sum(sum(heap.free) for heap in heaps)
    holes = sum(len(heap.free) for heap in heaps)
    text = f"{free:,} B are free in {holes} blocks; the largest is {largest:,} B."
    if wanted:
        text += f" The request was for one block of {wanted:,} B."
        if largest >= wanted:
            text += " It would fit now, unless the free block is listed under a smaller size class."
    if any(heap.truncated for heap in heaps):
        text += " A heap had more blocks than the board could list; the other blocks are not shown."
    return text


def _table(heaps: Sequence[DrawnHeap]) -> Table:
    columns = (
        "heap",
        "used blocks",
        "used, B",
        "free blocks",
        "free, B",
        "largest free, B",
        "free blocks by size, B",
    )
    return Table(columns, tuple(_row(heap) for heap in heaps))


def _row(heap: DrawnHeap) -> tuple[str, ...]:
    free = sorted(heap.free, reverse=True)
    shown = ", ".join(f"{size:,}" for size in free[:FREE_SHOWN])
    if len(free) > FREE_SHOWN:
        shown += f", and {len(free) - FREE_SHOWN} smaller"
    figures = (len(heap.used), sum(heap.used), len(free), sum(free), max(free, default=0))
    return (f"{heap.start:#010x}", *(f"{figure:,}" for figure in figures), shown)


FREE_SHOWN = 12
