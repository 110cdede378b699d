"""Text from a board or a tool, made safe and short enough for a terminal."""

from __future__ import annotations

LOG_LINES = 60
"""A boot is about 45 lines."""


LINE_MAX = 2_000
"""Characters. A record has at most a quarter of it."""


def printable(text: str) -> str:
    """Replaces control characters (terminal escapes among them) by `\\x1b` and the like; line ends stay."""
    if text.replace("\n", "").isprintable():
        return text
    return "".join(char if char.isprintable() or char == "\n" else repr(char)[1:-1] for char in text)


def shorten_log(text: str) -> str:
    """The last lines of a board's log, which say what happened: for showing it with a failed test."""
    lines = [_cut(line) for line in printable(text.replace("\r\n", "\n")).splitlines(keepends=True)]
    if len(lines) <= LOG_LINES:
        return "".join(lines)
    return f"... {len(lines) - LOG_LINES} lines left out ...\n" + "".join(lines[-LOG_LINES:])


def _cut(line: str) -> str:
    left_out = len(line.rstrip("\n")) - LINE_MAX
    return line if left_out <= 0 else f"{line[:LINE_MAX]} ... and {left_out:,} characters\n"


def shorten(text: str, width: int) -> str:
    """One line of at most `width` characters; `...` at its end says that there was more."""
    line = printable(" ".join(text.split()))
    return line if len(line) <= width else line[: width - 3].rstrip() + "..."
