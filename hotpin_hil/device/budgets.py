"""Timeouts of the console client on the host's clock, in seconds.

They are budgets, not delays: every wait ends as soon as its condition is true. The firmware's own limits are measured
with the board's clock and do not depend on these.
"""

from __future__ import annotations

REPLY_S = 1.0
"""One reply. At 115200 baud the longest record takes 42 ms, and a statistics box can delay the record by 250 ms."""
REPEATS = 2
"""Number of times that a request is repeated before the board counts as silent."""
SENDS_MAX = 8
"""Maximum number of sends, including immediate repeats after damaged replies."""
SLOW_REPLY_S = 5.0
"""A reply to a command that fills or walks the whole heap."""
BENCH_REPLY_S = 30.0
"""A benchmark's reply."""
BOOT_S = 10.0
"""From reset to the `boot` event: 1.5 s on a board with 4 MB PSRAM, longer after a flash erase (NVS)."""
STARTS_MAX = 6
"""Number of consecutive resets without a `boot` event before `wait_ready` gives up. A working board needs at most two
boots; a set-up may reset it twice, and a test once more."""
MODE_S = 10.0
"""A mode transition: 2.2 s with boxes in the recorded logs, and as long again for a rollback."""
PLAY_S = 5.0
"""From the start of a short playback to its end."""
EVENT_S = 3.0
"""An event that immediately follows an action of the test."""
BOX_S = 3.0
"""From a request for a statistics box to its last line: a box takes 0.25 s at 115200 baud, and up to 8 queued boxes are
sent first."""
