"""Lines of a log by their numbers, in a second pass that reads them like the first pass."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from hotpin_hil.logs.blocks import BlockCutter
from hotpin_hil.logs.format import LogFormat
from hotpin_hil.protocol.events import quote


def read_lines(chunks: Iterable[bytes], wanted: Collection[int]) -> dict[int, str]:
    """Read the wanted lines: number -> text without colours and the terminal's prefix.

    Args:
        chunks: the log from its start, in chunks of any size; it is read up to the last wanted line.
        wanted: numbers of lines, from 1.
    """
    found: dict[int, str] = {}
    numbers = sorted(wanted)
    if not numbers:
        return found
    blocks = BlockCutter(LogFormat())
    before = 0
    for chunk in chunks:
        before += _pick(blocks.feed(chunk), before, numbers, found)
        if before >= numbers[-1]:
            return found
    _pick(blocks.close(), before, numbers, found)
    return found


def _pick(block: bytes, before: int, numbers: list[int], found: dict[int, str]) -> int:
    """Collect the wanted lines of a block; `before` is the number of lines before it. Returns its number of lines."""
    count = block.count(b"\n")
    here = [number for number in numbers if before < number <= before + count]
    if here:
        lines = block.split(b"\n")
        for number in here:
            found[number] = quote(lines[number - before - 1].decode("utf-8", errors="replace"))
    return count
