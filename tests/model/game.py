"""A game plays a script of operations on a board and on its model.

`play("hold", caps="DMA", size=1000)` is the script line `hold caps=DMA size=1000`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from hotpin_hil.protocol.answers import merge_parts
from tests.model.board import POWER_ON, Board
from tests.model.memory import CAPS, Disagreement, expect
from tests.model.survival import Survival
from tests.model.watcher import Snapshot, Watcher

QUIET_US = 100_000
SETTLE_SLICE_US = 250_000
BOOT_SLICE_US = 1_000_000
SETTLE_BUDGET_US = 20_000_000
START_BUDGET_US = 20_000_000
GUARD_US = 700_000
"""No operation starts if a periodic sample is due within this time."""
BOOT_INTERVAL_MS = 15_000
MONITOR_TASK = 2408
"""Heap used by the monitor task, or by the task that writes logs while monitoring is off."""

Reply = dict[str, Any]
Operation = Callable[..., None]
OPERATIONS: dict[str, tuple[Operation, dict[str, Any]]] = {}
"""Every operation, with a Hypothesis strategy for each argument."""


def operation(**strategies: Any) -> Callable[[Operation], Operation]:
    """Decorator: registers a function as an operation that scripts can name."""

    def register(function: Operation) -> Operation:
        OPERATIONS[function.__name__] = (function, strategies)
        return function

    return register


class Game:
    """Plays a script on one board; raises Disagreement if board and model differ."""

    def __init__(self, board: Board) -> None:
        self.board = board
        self.script: list[str] = []
        self.survival = Survival(board.rtc_file)
        self.watcher = Watcher(0)
        self.boot_count = 0

    # --- Scripts ---

    def play(self, name: str, **args: Any) -> None:
        """Execute one operation and add it to the script."""
        self.script.append(" ".join([name, *(f"{key}={value}" for key, value in args.items())]))
        try:
            if name != "start":
                self.guard()
                self.watcher.since_us = self.board.now_us
            OPERATIONS[name][0](self, **args)
            self.settle()
        except (AssertionError, ValueError, KeyError) as error:
            text = "\n".join(["# pytest tests/model/test_replay.py --script FILE", *self.script])
            raise Disagreement(f"{type(error).__name__}: {error}\n{text}") from error

    def play_line(self, line: str) -> None:
        """Execute the operation of a script line."""
        name, *words = line.split()
        pairs = (word.split("=", 1) for word in words)
        self.play(name, **{key: int(value) if _is_number(value) else value for key, value in pairs})

    # --- A boot ---

    def begin(self, cause: int, reason: str, uptime_us: int = 0) -> None:
        """Start the board and a model of this boot, and check the data that survived from the last boot."""
        board = self.board
        board.start(cause, uptime_us)
        self.watcher = watcher = Watcher(board.now_us)
        self.holds: dict[int, Reply] = {}
        self.stream: Reply | None = None
        self.mode, self.previous = "camera", "init"
        self.transitions, self.cycles, self.failures = 1, 0, 0
        self.last_duration_ms: int | None = None
        self.settle_ms = (50, 50)
        self.baselines: dict[str, Reply] = {}
        self._sum: dict[str, int] | None = None
        watcher.memory.changes()
        watcher.logged.extend(
            map(Snapshot, ("System Boot", "Before Camera Transition", "After Camera Transition"))
        )
        watcher.schedule.set(board.now_us, BOOT_INTERVAL_MS, loose_us=START_BUDGET_US)
        while watcher.boot_event is None:
            expect(
                board.reset_code is None and self.run(BOOT_SLICE_US),
                f"the program ended in its start: {board.reset_code}",
            )
            expect(board.now_us < uptime_us + START_BUDGET_US, "no boot event within 20 s")
        boot = watcher.boot_event
        self.boot_count += 1
        expect(
            boot["boot_count"] == self.boot_count, f"boot count {boot['boot_count']}, not {self.boot_count}"
        )
        expect(boot["reset_reason"] == reason, f"reset reason {boot['reset_reason']}, was {reason}")
        self.settle()
        boot_row = watcher.history.rows()[-1]
        watcher.schedule.set(watcher.taken_us(boot_row["timestamp_ms"]), BOOT_INTERVAL_MS, loose_us=10_000)
        baseline = self.good("mem.baseline")
        figures = {memory: baseline[memory] for memory in CAPS}
        expect(
            figures == watcher.memory.baseline,
            f"baseline {figures}, deltas refer to {watcher.memory.baseline}",
        )
        taken = {memory: figures[memory] - boot_row[f"{memory}_free"] for memory in CAPS}
        own = {"internal": MONITOR_TASK, "dma": MONITOR_TASK, "psram": 0, "total": MONITOR_TASK}
        expect(
            taken == own,
            f"from baseline to System Boot memory shrank by {taken}, the monitor task takes {own}",
        )
        self.survival.check_last(self.good("sys.last"), reason, self.boot_count, watcher.boot_id or "")
        self.probe()

    def end_boot(self, power_lost: bool) -> None:
        """End the boot. RTC memory survives unless the power was lost."""
        assert self.watcher.boot_id is not None
        self.survival.boot_ended(self.watcher.history.rows(), power_lost)

    # --- Time ---

    def run(self, us: int) -> bool:
        """Let the clock run. Returns False if the program has ended."""
        alive = self.board.run(us)
        self.watcher.absorb(self.board.items, self.board.now_us)
        return alive

    def guard(self, within_us: int = GUARD_US) -> None:
        """If a periodic sample is due soon, wait until it has been taken, so that it cannot come during the next
        operation."""
        for _ in range(3):
            left_us = self.watcher.schedule.due_in_us(self.board.now_us)
            if left_us is None or left_us > within_us:
                return
            # A sample that is already due may have been taken although its record has not arrived.
            self.watcher.since_us = self.board.now_us + min(left_us, 0)
            expect(
                self.run(max(left_us, 0) + 2 * QUIET_US), f"the program ended with {self.board.reset_code}"
            )
            self.settle()

    def settle(self) -> None:
        """Let the clock run until all output has arrived."""
        end_us = self.board.now_us + SETTLE_BUDGET_US
        while not self.watcher.is_quiet():
            expect(self.run(SETTLE_SLICE_US), f"the program ended with {self.board.reset_code}")
            if self.board.now_us > end_us:
                raise Disagreement(f"never arrived: {self.watcher.outstanding()}")
        self.watcher.check_quiet()

    def idle(self) -> None:
        """Wait until the serial line has sent the last replies completely, so that the next request does not have to
        wait."""
        self.run(QUIET_US)

    # --- Requests ---

    def ask(self, command: str, **args: Any) -> Reply:
        """Send a request; returns its reply."""
        return self.ask_all([(command, args)])[0]

    def ask_all(self, commands: list[tuple[str, Mapping[str, Any]]]) -> list[Reply]:
        """Send requests without letting the clock run in between; returns their replies."""
        ids = [self.board.send(command, **args) for command, args in commands]
        alive = self.board.run_until_answered(ids)
        records = {head: [item.data for item in self.board.items if item.head == head] for head in ids}
        self.watcher.absorb(self.board.items, self.board.now_us)
        expect(alive, f"the program ended with {self.board.reset_code} in {commands}")
        return [merge_parts(records[head]) for head in ids]

    def good(self, command: str, **args: Any) -> Reply:
        """Send a request that must succeed; returns its reply."""
        reply = self.ask(command, **args)
        expect(reply["ok"], f"{command} {args}: {reply}")
        return reply

    def agree(self, good: bool, err: str, command: str, **args: Any) -> Reply:
        """Send a request that must succeed if `good`, and otherwise fail with `err`; returns its reply."""
        reply = self.ask(command, **args)
        wanted = "ok" if good else err
        expect((reply["ok"] and good) or (not good and reply.get("err") == err),
               f"{command} {args}: {reply} instead of {wanted}")  # fmt: skip
        return reply

    # --- Memory ---

    def probe(self) -> dict[str, int]:
        """Read the heap, mem.stats, and the heap again.

        Checks that mem.stats agrees with the heap and that no memory leaked.
        """
        self.guard()  # a sample meanwhile would restart the low-water marks after they were read
        sets = {"caps": ";".join(CAPS.values()), "around": "mem.stats"}
        reply, walked = self.ask_all([("heap.probe", sets), ("heap.regions", {})])
        figures = self.watcher.memory.read(reply["before"], reply["after"], reply["claim"], walked["regions"])
        taken = {"internal": MONITOR_TASK if self.watcher.schedule.interval_ms else 0, "psram": 0}
        for hold in self.holds.values():
            taken[hold["memory"]] += hold["bytes"]
        total = {name: figures[f"{name}_free"] + taken[name] for name in taken}
        expect(self._sum in (None, total), f"free and held memory add up to {total}, before to {self._sum}")
        self._sum = total
        return figures

    def known(self) -> dict[str, int]:
        """The current memory figures; reads them from the board if they are unknown."""
        return self.watcher.memory.known or self.probe()

    def forget_sum(self) -> None:
        """Note that drivers start or stop, so the sum of free and held memory may change until the next reading."""
        self._sum = None


def _is_number(text: str) -> bool:
    return text.lstrip("-").isdigit()


def power_on(game: Game, uptime_us: int) -> None:
    """Switch the power on; the board's uptime starts at this value."""
    game.begin(POWER_ON, "POWERON", uptime_us)


OPERATIONS["start"] = (power_on, {})
