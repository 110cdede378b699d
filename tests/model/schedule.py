"""Models when periodic samples are due."""

from __future__ import annotations

from tests.model.memory import expect

TICK_MS = 10
SLACK_MS = TICK_MS + 2
"""Maximum delay of a sample: it is taken at the tick after its time, and time stamps count whole ticks."""
ARRIVAL_US = 500_000
"""Maximum delay of a sample's record, which waits for a box and for replies."""
WORD = 1 << 32


class Schedule:
    """Grid of the periodic samples: the start of monitoring plus multiples of the interval."""

    def __init__(self) -> None:
        self.interval_ms = 0
        self.samples = 0
        """Number of periodic samples since boot."""
        self.congested = False
        """Whether the interval is too short to send a sample's output, so that samples may be late or skipped."""
        self._due_us: int | None = None
        self._late_us = 0
        self._loose_us = 0

    def set(self, now_us: int, interval_ms: int, congested: bool = False, loose_us: int = 0) -> None:
        """Note that monitoring starts, changes its interval, or stops (0). `loose_us`: uncertainty of the time of this
        change."""
        self._loose_us = loose_us
        self.interval_ms = interval_ms
        self.congested = congested
        self._due_us = now_us + interval_ms * 1000 if interval_ms else None

    def is_overdue(self, now_us: int) -> bool:
        """Whether a sample is missing at this time, with an allowance for the time to send it."""
        return self._due_us is not None and now_us > self._due_us + ARRIVAL_US

    def due_in_us(self, now_us: int) -> int | None:
        """Time until the next sample, us; None if monitoring is off."""
        return None if self._due_us is None else self._due_us - now_us

    def is_near_due(self, when_us: int) -> bool:
        """Whether a time is so close to the grid that the model cannot tell whether the sample comes before or after
        it."""
        if self._due_us is None:
            return False
        interval_us = self.interval_ms * 1000
        near_us = 2 * SLACK_MS * 1000 + self._loose_us
        return (when_us - self._due_us + near_us) % interval_us < 2 * near_us

    def skip_to(self, now_us: int) -> None:
        """Note that the clock has jumped: one of the missed samples is taken now, and the grid is unchanged."""
        assert self._due_us is not None
        interval_us = self.interval_ms * 1000
        self._due_us += (now_us - self._due_us) // interval_us * interval_us
        self._late_us = now_us - self._due_us

    def sampled(self, taken_us: int) -> None:
        """Note a periodic sample."""
        expect(self._due_us is not None, "a periodic sample without monitoring")
        assert self._due_us is not None
        jumped = self._late_us > 0
        late_ms = (taken_us - self._due_us - self._late_us) // 1000
        self._late_us = 0
        interval_us = self.interval_ms * 1000
        slack_ms = SLACK_MS + self._loose_us // 1000
        expect(
            late_ms >= -slack_ms, f"a sample {-late_ms} ms before its time, interval {self.interval_ms} ms"
        )
        expect(
            late_ms <= slack_ms or self.congested,
            f"a sample {late_ms} ms late, interval {self.interval_ms} ms",
        )
        if self._loose_us and not jumped:
            self._loose_us, self._due_us = 0, taken_us
        self.samples += 1
        self._due_us += max(taken_us - self._due_us, 0) // interval_us * interval_us + interval_us
