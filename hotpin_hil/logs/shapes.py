"""Byte patterns of log lines, for the scanner."""

from __future__ import annotations

import re
from collections.abc import Sequence

from hotpin_hil.protocol.box import TOP

Row = tuple[bytes, ...]
"""Level, time, tag and the rest of a line; the first three are empty for a line without header."""

_WORD = rb"[^\s:@{]{1,40}"
_TAG = rb"%s(?:(?=:)|(?: (?!\()%s){1,3})" % (_WORD, _WORD)
"""A tag may have several words. A time in parentheses, or a record, is not part of it but belongs to the next line."""
_HEADER = rb"([EWIDV]) \((\d{1,10})\) (%s):" % _TAG
ROW = re.compile(rb"(?s)(?:%s)?(.*)" % _HEADER)
STAMP = re.compile(rb"\n[EWIDV] \((\d{1,10})\) ")
"""The time at the start of a line, searched from the newline before it."""
BOX_TOP = f" {TOP}".encode()
SECOND_TIME = re.compile(rb"\((?<=.[EWIDV] \()\d{1,10}\) ")
INSERTED = re.compile(rb"%s|@(?:!|\d{1,5}) \{" % _HEADER)
"""The start of another task's line within a line: a header, or a record."""
RECORD_END = re.compile(rb"\}\*[0-9A-F]{4}\r?$")
HEADLESS = re.compile(
    rb"@|rst:|_RESET\)|BOOT\)|ets [A-Z]|ESP-ROM:|Saved PC:|CORRUPT HEAP: |ESP_ERROR_CHECK failed|Backtrace:|rownout|"
    rb"invalid header|csum err|ets_main|flash read err|bytes \(@|in trace \(|PSRAM: \d|MEMORY USAGE \d|atchdog got|"
    rb"\xe2\x94\x82 (?:ALIVE|DELETED)|Error:|"
    rb"CPU \d: |(?:set|start)[ _]?[Rr]eason|ecure boot|ig(?:nature)? block|len:(?:-|\d{8})|ssertion failed|ASSERT_"
)
"""Texts in lines without a header for which such a line may matter."""
_SPOKEN = re.compile(rb"lloc|out of mem|no[ _]mem|not enough |too low")
"""Lower-case texts in lines without a header that may report a failed allocation."""
MEMORY = re.compile(rb"ree|eap|t[ _]?[Rr]eason|Error:")
"""Parts of words such as "free" and "heap", "reset reason", and a Python exception."""
_FAILURE = re.compile(
    rb"lloc|mem|task|out of|not enough|nsufficient|wdt|despite|amera|aborting\.|0x101|errno|ssl|-0x|-32512|rownout|"
    rb"psram|spi ram|external ram|rx buffer|tx buffer|image|bootable|hecksum|partition|chip rev|blk rev|chip id|"
    rb"segment|binary|on time|get frame|the frame|could not send|"
    rb"esp_\w{1,40} \d{3}\b|\(\d{3}\)|ret=|length|creat|thread|secure|signature"
)
"""Lower-case texts in errors and warnings that may report a failure."""
FAILURE_CODE = re.compile(rb"0x000|-00000")
"""The error codes among these texts, as they appear in a shape."""
DIGIT_IN_NAME = re.compile(rb"[A-Za-z_-]0|0[A-Za-z_]|[Ee]rrno|esp_\w{1,40} 000|\(000\)|=000|data: 00")
"""Digits in a shape that may belong to a name or a code."""


def has_mark(level: bytes, text: bytes) -> bool:
    """Whether a line with a header has a word about free memory or a failure."""
    if MEMORY.search(text) is not None:
        return True
    return level in b"EW" and _FAILURE.search(text.lower()) is not None


def is_wanted(text: bytes) -> bool:
    """Whether a line without a header has a text that is always read."""
    return HEADLESS.search(text) is not None or _SPOKEN.search(text.lower()) is not None


def may_matter(text: bytes) -> bool:
    """Whether a line without a header has a word that may matter."""
    return is_wanted(text) or MEMORY.search(text) is not None


def any_of(texts: Sequence[str]) -> re.Pattern[bytes]:
    """Pattern that matches any of the texts."""
    return re.compile("|".join(map(re.escape, texts)).encode())
