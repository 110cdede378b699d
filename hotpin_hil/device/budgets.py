"""Timeouts of the console client on the host's clock, in seconds.

They are budgets, not delays: every wait ends as soon as its condition is true. The firmware's own limits are measured
with the board's clock and do not depend on these.
"""

from __future__ import annotations

REPLY_S = 1.0
"""Timeout of one reply. At 115200 baud the longest record takes 42 ms, and a statistics box can delay it by 250 ms."""
REPEATS = 2
"""Number of times that a request is repeated before the board counts as silent."""
SENDS_MAX = 8
"""Maximum number of sends, including immediate repeats after damaged replies."""
SLOW_REPLY_S = 5.0
"""Timeout of the reply to a command that fills or walks the whole heap."""
BENCH_REPLY_S = 30.0
"""Timeout of the reply to a benchmark."""
BOOT_S = 10.0
"""Timeout from reset to the `boot` event. This takes 1.5 s with 4 MB of PSRAM, and longer after a flash erase (NVS)."""
STARTS_MAX = 6
"""Number of consecutive resets without a `boot` event before `wait_ready` gives up. A working board needs at most two
boots; a set-up may reset it twice, and a test once more."""
MODE_S = 10.0
"""Timeout of a mode transition. In the recorded logs, it takes 2.2 s with boxes, and a rollback takes as long again."""
PLAY_S = 5.0
"""Timeout from the start of a short playback to its end."""
EVENT_S = 3.0
"""Timeout of an event that immediately follows an action of the test."""
BOX_S = 3.0
"""Timeout from a request for a statistics box to its last line. A box takes 0.25 s at 115200 baud, and up to 8 queued
boxes are sent first."""
