"""Sequence numbers and boot ids: which records were lost, and whether the board has started anew."""

from __future__ import annotations

from dataclasses import dataclass

from hotpin_hil.protocol.records import Record

GAP_MAX = 1000
"""Of a longer run of lost records only so many are listed."""


@dataclass(frozen=True)
class Gap:
    """Record number `n` of boot `boot` did not arrive; noticed at record index `seen_at` of the channel."""

    boot: str
    n: int
    seen_at: int


class SequenceCheck:
    """Follows the records of one line in the order in which they arrive."""

    def __init__(self) -> None:
        self.boot: str | None = None
        self.boots: list[tuple[str, int]] = []
        """Every boot id seen, with the index of its first record."""
        self._first = 0
        self._next = 0
        self._missing: dict[int, Gap] = {}
        self._early: set[int] = set()
        """Numbers below `_first` that came after it: stored replies from before this line was listened to."""

    def add(self, record: Record, index: int) -> bool:
        """False for a repeat of a record that was already counted (the firmware's stored reply)."""
        n = record.n
        if record.boot != self.boot:
            if any(boot == record.boot for boot, _ in self.boots):
                return False  # a straggler of an earlier boot
            self.boot = record.boot
            self.boots.append((record.boot, index))
            self._missing.clear()
            self._early.clear()
            self._first, self._next = n, n + 1
            return True
        if n >= self._next:
            for lost in range(max(self._next, n - GAP_MAX), n):
                self._missing[lost] = Gap(record.boot, lost, index)
            self._next = n + 1
            return True
        if n < self._first and n not in self._early:
            self._early.add(n)
            return True
        return self._missing.pop(n, None) is not None

    def gaps(self, since: int = 0) -> list[Gap]:
        """Records of the present boot that are missing, as far as that was noticed at index `since` or
        later."""
        return [gap for gap in self._missing.values() if gap.seen_at >= since]
