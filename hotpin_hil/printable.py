"""Makes untrusted text (from a board, an image, a file, another user) safe for a terminal."""

from __future__ import annotations


def printable(text: str) -> str:
    """Replace control characters, including terminal escapes, by text such as `\\x1b`; keeps newlines."""
    if text.replace("\n", "").isprintable():
        return text
    return "".join(char if char.isprintable() or char == "\n" else repr(char)[1:-1] for char in text)
