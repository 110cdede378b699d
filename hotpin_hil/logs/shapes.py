"""Byte patterns of log lines, for the scanner."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from hotpin_hil.protocol.box import BOTTOM, BOX_LINES, TOP

Row = tuple[bytes, ...]
"""Level, time, tag and the rest of a line; the first three are empty for a line without header."""

_WORD = rb"[^\s:@{]{1,40}"
_TAG = rb"%s(?:(?=:)|(?: (?!\()%s){1,3})" % (_WORD, _WORD)
"""A tag may have several words. A time in parentheses, or a record, is not part of it but belongs to the next line."""
_HEADER = rb"([EWIDV]) \((\d{1,10})\) (%s):" % _TAG
ROW = re.compile(rb"(?:%s)?([^\n]*)\n" % _HEADER)
BOX_TOP, BOX_BOTTOM = f" {TOP}".encode(), f"{BOTTOM}\n".encode()
BOX = re.compile(
    rb"I \(\d{1,10}\) (%s): %s\n(?:I \(\d{1,10}\) \1: [^\n]*\n){%d}" % (_TAG, TOP.encode(), BOX_LINES - 1)
)
"""Consecutive lines of one task, as many as a box has."""
BOX_LINE = re.compile(rb"\((\d+)\) [^:]*: ([^\n]*\n)")
PLAIN_TIME = re.compile(rb"\nI \((\d{1,10})")
"""The time of a plain line, searched from the newline before it."""
SECOND_TIME = re.compile(rb"\((?<=[^\n][EWIDV] \()\d{1,10}\) ")
INSERTED = re.compile(rb"%s|@(?:!|\d{1,5}) \{" % _HEADER)
"""The beginning of another task's line within a line: a header, or a record."""
RECORD_END = re.compile(rb"\}\*[0-9A-F]{4}\r?$")
HEADLESS = re.compile(
    rb"@|rst:|_RESET\)|BOOT\)|ets [A-Z]|ESP-ROM:|Saved PC:|CORRUPT HEAP: |ESP_ERROR_CHECK failed|Backtrace:|rownout|"
    rb"invalid header|csum err|ets_main|flash read err|failed to allocate|alloc fail|bad_alloc|MemoryError|alloc eb|"
    rb"ree|eap|bytes \(@|in trace \(|PSRAM: \d|MEMORY USAGE \d|\xe2\x94\x82 (?:ALIVE|DELETED)"
)
"""Lines without header that matter."""
FAILURE = re.compile(
    rb"WDT|lloc|nsufficient|despite|amera|Aborting\.|[Mm][Ee][Mm]|0x101|errno|(?i:out of|not enough|task)|SSL|-0x|"
    rb"-32512|rownout|PSRAM|SPI RAM|external RAM|rx buffer|tx buffer|[Ii]mage|bootable|hecksum|partition|chip rev|"
    rb"blk rev|chip ID|segment|binary"
)
"""Texts in errors and warnings that may report a failure."""


def any_of(texts: Sequence[str]) -> re.Pattern[bytes]:
    """Pattern that matches any of the texts."""
    return re.compile("|".join(map(re.escape, texts)).encode())


def before_special(wanted: Mapping[str, Sequence[str]]) -> re.Pattern[bytes]:
    """Pattern of the newline before each line that is not plain.

    Plain lines are unwanted lines of level I.

    Args:
        wanted: by tag, the texts that make a line wanted; no texts means all lines of the tag.
    """
    # One alternative per text is faster than one for all: `re` then looks only where the text's first letter is.
    unwanted = "|".join(
        rf"{re.escape(tag)}:[^\n]*{re.escape(text)}" if text else f"{re.escape(tag)}:"
        for tag, texts in wanted.items()
        for text in texts or ("",)
    )
    unwanted = f"(?!{unwanted})" if unwanted else ""
    plain = rf"\n(?!I \(\d{{1,10}}\) {unwanted}"
    return re.compile(plain.encode() + _TAG + b":)")
