"""Sequence numbers and boot ids: detects lost records and unrequested boots."""

from __future__ import annotations

from dataclasses import dataclass

from hotpin_hil.protocol.records import Record

GAP_MAX = 1000
"""Maximum number of lost records listed for one gap."""


@dataclass(frozen=True)
class Gap:
    """Record `n` of a boot did not arrive. `seen_at` is the channel index of the record that revealed the loss."""

    boot: str
    n: int
    seen_at: int


class SequenceCheck:
    """Follows the sequence numbers of the records on one serial line, in the order of arrival."""

    def __init__(self) -> None:
        self.boot: str | None = None
        self.boots: list[tuple[str, int]] = []
        """Every boot id so far, with the index of its first record."""
        self._first = 0
        self._next = 0
        self._missing: dict[int, Gap] = {}
        self._early: set[int] = set()
        """Numbers below `_first` that arrived later. They belong to stored replies from the time before the harness was
        listening."""

    def add(self, record: Record, index: int) -> bool:
        """Count the next record, and store the numbers missing before it.

        Args:
            record: the record.
            index: its index on the channel.

        Returns:
            False for a record to ignore: from an earlier boot, or already counted (a repeated stored reply).
        """
        n = record.n
        if record.boot != self.boot:
            if any(boot == record.boot for boot, _ in self.boots):
                return False  # a late record of an earlier boot
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
        """Missing records of the current boot, if the loss was detected at index `since` or later."""
        return [gap for gap in self._missing.values() if gap.seen_at >= since]
