"""Text from a board or a tool, made safe and short enough for a terminal."""

from __future__ import annotations

from hotpin_hil.printable import printable

LOG_LINES = 60
"""Maximum number of lines; a boot prints about 45."""


LINE_MAX = 2_000
"""Maximum length of a line, in characters; a record is at most a quarter as long."""


def shorten_log(text: str) -> str:
    """The last lines of a board's log, for the report of a failed test."""
    lines = [_cut(line) for line in printable(text.replace("\r\n", "\n")).splitlines(keepends=True)]
    if len(lines) <= LOG_LINES:
        return "".join(lines)
    return f"... {len(lines) - LOG_LINES} lines omitted ...\n" + "".join(lines[-LOG_LINES:])


def _cut(line: str) -> str:
    left_out = len(line.rstrip("\n")) - LINE_MAX
    return line if left_out <= 0 else f"{line[:LINE_MAX]} ... and {left_out:,} characters\n"


def shorten(text: str, width: int) -> str:
    """The text as one line of at most `width` characters; a cut is marked by `...`."""
    line = printable(" ".join(text.split()))
    return line if len(line) <= width else line[: width - 3].rstrip() + "..."
