"""Handles lines that were split by another task's output: cuts them into pieces, and joins the pieces."""

from __future__ import annotations

from hotpin_hil.logs.shapes import INSERTED, RECORD_END, Row

JOIN_MS = 2_000
"""Maximum time between a line and another task's line within it; a larger gap means a quoted line."""


def cut_up(row: Row, high_ms: int) -> list[bytes]:
    """Cut a line where another task's line starts in it; returns the pieces.

    Args:
        row: the line.
        high_ms: latest time so far, used for a line without a time; -1 if unknown.
    """
    level, stamp, tag, text = row
    if text.startswith(b"@") and not level and RECORD_END.search(text):
        return [text]
    head = b"%s (%s) %s:" % (level, stamp, tag) if stamp else b"%s %s:" % (level, tag)
    whole = head + text if level else text
    start = len(whole) - len(text)
    near = int(stamp) if stamp else high_ms
    cuts = [0]
    for found in INSERTED.finditer(whole, start):
        is_near = not found[2] or near < 0 or abs(int(found[2]) - near) <= JOIN_MS
        if found.start() > cuts[-1] and is_near:
            cuts.append(found.start())
    return [whole[a:b] for a, b in zip(cuts, [*cuts[1:], len(whole)], strict=True)]


class LineJoiner:
    """Keeps the first parts of split lines until the rest arrives.

    Lines are returned as (number, text, whether it was joined).
    """

    def __init__(self) -> None:
        self.waiting: list[tuple[int, bytes]] = []
        """Number and text of the cut lines, outermost first; the next line continues the last."""

    @property
    def oldest(self) -> int | None:
        """Number of the oldest line that is still incomplete; None if there is none."""
        return self.waiting[0][0] if self.waiting else None

    def join(self, number: int, pieces: list[bytes]) -> list[tuple[int, bytes, bool]]:
        """Join the pieces to the lines that they continue; returns the completed lines."""
        done = []
        if self.waiting:  # this line has no header, so it continues the last split line
            cut_number, cut_text = self.waiting.pop()
            whole, pieces = cut_text + pieces[0], pieces[1:]
            if pieces:
                self.waiting.append((cut_number, whole))
            else:
                done.append((cut_number, whole, True))
        for piece in pieces[:-1]:
            if piece.startswith(b"@") and RECORD_END.search(piece):
                done.append((number, piece, False))
            else:
                self.waiting.append((number, piece))
        if pieces:
            done.append((number, pieces[-1], False))
        return done

    def leave(self) -> list[tuple[int, bytes, bool]]:
        """Stop waiting for the missing parts; returns the incomplete lines, innermost first."""
        cut, self.waiting = self.waiting, []
        return [(number, text, False) for number, text in reversed(cut)]
