"""Operations that end a boot: resets, crashes, loss of power."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from tests.model.board import POWER_ON, SOFTWARE
from tests.model.game import Game, operation
from tests.model.memory import expect
from tests.model.operations_monitor import task_fits
from tests.model.survival import HEADER_BYTES, SLOT_BYTES

END_BUDGET_US = 60_000_000
CRASHES = {"abort": "PANIC", "store": "PANIC", "null": "PANIC"}
"""Kind of `sys.panic` → reset reason. The watchdog kinds are left out, because each takes seconds of host time; the
suite tests them."""
BANK_BITS = 8 * (HEADER_BYTES + 16 * SLOT_BYTES)
USED_BITS = 8 * (HEADER_BYTES + 4 * SLOT_BYTES)
"""Number of bits in the header and in the slots that every boot fills."""
WRAP_US, WRAP_MS, DAY_US = 1 << 32, 1 << 32, 86_400_000_000

UPTIMES = st.sampled_from([0, 0, WRAP_US - 8_000_000, (WRAP_MS - 8_000) * 1000, 30 * DAY_US])
FLIPS = st.lists(
    st.integers(0, 8 * HEADER_BYTES - 1) | st.integers(0, USED_BITS) | st.integers(0, 2 * BANK_BITS),
    max_size=3,
).map(lambda bits: "+".join(map(str, bits)))
"""Strategy: bits of RTC memory, counted from the start of this boot's bank."""


def _await_end(game: Game) -> int:
    end_us = game.board.now_us + END_BUDGET_US
    while game.board.run(500_000):
        expect(game.board.now_us < end_us, "the board does not reset")
    game.board.items.clear()
    code = game.board.reset_code
    assert code is not None
    expect(code > 0, f"the program ended with {code}")
    return code


def _flip(game: Game, flips: Any) -> None:
    bits = [int(bit) for bit in str(flips).split("+") if bit]
    if bits:
        game.survival.flip(bits)


@operation(flips=FLIPS)
def reboot(game: Game, flips: str) -> None:
    """Restart with `sys.reboot`, and flip bits of RTC memory during the reset."""
    game.board.send("sys.reboot")
    code = _await_end(game)
    expect(code == SOFTWARE, f"sys.reboot reset the chip with code {code}")
    game.end_boot(power_lost=False)
    _flip(game, flips)
    game.begin(code, "SW")


@operation(kind=st.sampled_from(sorted(CRASHES)), logs=st.integers(0, 20), flips=FLIPS)
def crash(game: Game, kind: str, logs: int, flips: str) -> None:
    """Log, then crash immediately. The snapshots must survive although nothing has yet been sent over the serial
    line."""
    if not task_fits(game):
        logs = 0
    figures = game.known()
    newest = game.watcher.history.newest
    for number in range(logs):
        game.board.send("mem.log", context=f"c{number}")
    game.board.send("sys.panic", kind=kind)
    code = _await_end(game)
    rows = game.watcher.history.rows()
    for number in range(logs):
        row: dict[str, Any] = {"sequence": newest + number + 1, "context": f"c{number}"}
        rows.insert(0, {**row, **figures} if number == 0 or game.watcher.schedule.interval_ms else row)
    game.survival.boot_ended(rows, power_lost=False)
    _flip(game, flips)
    game.begin(code, CRASHES[kind])


@operation(flips=FLIPS)
def brown_out(game: Game, flips: str) -> None:
    """Cause a brown-out: the detector must reset the chip."""
    game.board.fault("brown_out")
    code = _await_end(game)
    game.end_boot(power_lost=False)
    _flip(game, flips)
    game.begin(code, "BROWNOUT")


@operation(during=st.sampled_from(["", "camera", "voice"]), after_ms=st.integers(0, 600), uptime_us=UPTIMES)
def power_cut(game: Game, during: str, after_ms: int, uptime_us: int) -> None:
    """Cut the power, in some games during a mode change, and boot with an uptime near a counter's wrap. Only flash may
    survive."""
    if during:
        game.board.send("mode.set", to=during)
    game.board.run(after_ms * 1000 + 1)
    game.board.cut_power()
    game.end_boot(power_lost=True)
    game.begin(POWER_ON, "POWERON", uptime_us)
