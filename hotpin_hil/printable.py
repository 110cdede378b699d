"""Makes untrusted text (from a board, an image, a file, another user) safe for a terminal."""

from __future__ import annotations


def printable(text: str) -> str:
    """Replace non-printable characters, including terminal escapes, with text such as `\\x1b`. Newlines are kept."""
    if text.replace("\n", "").isprintable():
        return text
    return "".join(char if char.isprintable() or char == "\n" else repr(char)[1:-1] for char in text)
