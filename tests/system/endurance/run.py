"""Endurance run: flashes, boots and kills many virtual boards of a single server, with a random fault in each round.

`python -m tests.system.endurance.run` (`make endurance`): each round erases the flash of a board, then twice flashes it
with esptool, boots it, uses its console and kills it. In the first pass a fault starts at one of these points, and the
pass may fail. In the second pass there is no fault, and the pass must succeed. At the end the server must not have more
processes, files or ports than before. The same seed gives the same boards, faults and seeds of faults. The exit status
is 1 after any error.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import os
import random
import signal
import socket
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import esptool
from esptool.logger import log
from esptool.targets import ESP32ROM

from hotpin_hil.device import Device
from hotpin_hil.errors import BenchError, FirmwareError, HilError, UsageError
from hotpin_hil.link.channel import Channel
from hotpin_hil.link.port import open_port
from hotpin_hil.link.port_reader import PortReader
from hotpin_hil.paths import NATIVE_BUILD_DIR, NATIVE_ELFS_FILE
from hotpin_hil.virtual.control import BoardControl, running
from hotpin_hil.virtual.faults import firmware
from hotpin_hil.virtual.faults.table import FAULTS
from tests.support.command import run_command
from tests.support.virtual_board import Boards

POINTS = FLASH, BOOT, CONSOLE = ("flash", "boot", "console")
CAN_ACT = {
    **dict.fromkeys(FAULTS, POINTS),
    # these act on writes to the flash, or on the reset before the writes
    **dict.fromkeys(("power-cut-flashing", "bad-flash", "no-download"), (FLASH,)),
    # these act when the port is opened or the firmware starts
    **dict.fromkeys(("port-busy", "no-psram", "boot-loop"), (FLASH, BOOT)),
    # these act on running firmware; a reset would end the fault before it has an effect
    **dict.fromkeys(("hang", "power-cut-step", *firmware.ONCE), (CONSOLE,)),
}
"""Fault → points at which it can act; at other points it is refused or ends without effect."""
ON_BYTES = ("noise", "drop", "insert", "duplicate", "cut-utf8", "foreign-line")
AT_ONCE = ("disconnect", "bridge-hang", "power-cut", "hang", *firmware.ONCE)
"""Faults that act as soon as they start."""
WHEN_OVER = ("power-cut-flashing", "power-cut-step")
"""Faults that end after they have acted. Other faults count as acted only if the round fails."""
ROUND_MAX_S = 180.0
"""Seconds after which a round counts as hung; on an idle machine the slowest takes about 10 s."""
LOOK_FOR_S, LOOK_EVERY_S = 2.0, 0.05
"""Duration and interval in seconds of repeated counts of the server's files and children; the lowest count is used."""
SETTLE_S = 30.0
"""Timeout in seconds for the server to release the resources of closed clients, normally milliseconds."""
TIME_SCALE = 5.0
NOTHING = "nothing"
PATIENT = 7
"""Factor for the timeouts of a board that must work, because the machine may be busy."""
BOOT_S = 6.0
REPLY_S = 0.5
FLASH_BAUD = 921_600
APP_OFFSET, APP_BYTES = 0x10000, 0x100000


@dataclass(frozen=True)
class Round:
    """A round to play on the board at `url`, whose state folder is `directory`."""

    number: int
    url: str
    directory: Path
    seed: str


@dataclass(frozen=True)
class Outcome:
    """Outcome of a round: whether the fault acted, its result, and an error, if any (no error is allowed)."""

    number: int
    fault: str
    point: str
    acted: bool
    led_to: str
    seconds: float
    problem: str = ""


@dataclass
class Totals:
    rounds: int = 0
    acted: Counter[str] = field(default_factory=Counter)
    led_to: dict[str, Counter[str]] = field(default_factory=dict)
    slowest: Outcome | None = None
    problems: list[str] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        self.rounds += 1
        self.acted[outcome.fault] += outcome.acted
        self.led_to.setdefault(outcome.fault, Counter())[outcome.led_to] += 1
        if self.slowest is None or outcome.seconds > self.slowest.seconds:
            self.slowest = outcome
        if outcome.problem:
            self.problems.append(
                f"round {outcome.number} ({outcome.fault} at {outcome.point}): {outcome.problem}"
            )

    def lines(self) -> Iterator[str]:
        """One line per fault: number of rounds, number of rounds in which it acted, and the results."""
        for fault, led_to in sorted(self.led_to.items()):
            ends = ", ".join(f"{what} {times}" for what, times in led_to.most_common())
            yield f"{fault:<20} acted in {self.acted[fault]:2d} of {led_to.total():2d} rounds; led to: {ends}"


def flash_files() -> list[tuple[int, str]]:
    arguments = json.loads((NATIVE_BUILD_DIR / "flasher_args.json").read_text())
    return [(int(at, 0), str(NATIVE_BUILD_DIR / file)) for at, file in arguments["flash_files"].items()]


@functools.cache
def programmed() -> list[int]:
    """Offsets of the app's bytes that flashing must program; after an erase, a byte 0xFF needs no write."""
    app = Path(dict(flash_files())[APP_OFFSET]).read_bytes()
    return [APP_OFFSET + at for at, byte in enumerate(app) if byte != 0xFF]


@contextlib.contextmanager
def quiet_esptool() -> Iterator[None]:
    """Context manager: silences esptool. Its logger is global, so it is restored afterwards."""
    log.set_verbosity("silent")
    try:
        yield
    finally:
        log.set_verbosity("auto")


def flash(url: str, attempts: int) -> None:
    """Flashes the firmware with esptool's functions. Raises esptool's errors or a BenchError."""
    port = open_port(url, 115_200)
    try:
        loader = ESP32ROM(port, 115_200)
        loader.connect(attempts=attempts)
        stub = loader.run_stub()
        stub.change_baud(FLASH_BAUD)
        esptool.write_flash(stub, flash_files())
    finally:
        port.close()


@contextlib.contextmanager
def console(url: str) -> Iterator[tuple[Any, Device]]:
    """Context manager: resets a board and opens its console."""
    port = open_port(url, 115_200)
    channel = Channel(port.write, name=url)
    reader = PortReader(port, channel.feed, lambda error: channel.report_lost(BenchError(str(error))))  # type: ignore[arg-type]
    reader.start()
    try:
        port.dtr, port.rts = False, True
        port.rts = False
        yield port, Device(channel)
    finally:
        reader.terminate()
        port.close()


def go_through(round_: Round, before: Callable[[str], None], patience: int) -> None:
    """Flashes, boots, uses the console, and kills.

    Args:
        round_: Round with the board.
        before: Called before each point, with the point's name.
        patience: Factor for timeouts.
    """
    control = BoardControl(round_.directory)
    before("flash")
    flash(round_.url, patience)
    before("boot")
    with console(round_.url) as (_, device):
        device.wait_ready(BOOT_S * patience)
        before("console")
        for to in ("voice", "camera"):
            device.command("mode.set", timeout_s=REPLY_S * 4 * patience, to=to, wait=True)
        device.command("heap.probe", timeout_s=REPLY_S * patience, caps="DMA")
        kill(control)


def kill(control: BoardControl) -> None:
    """Kills the firmware process silently, as if the host had run out of memory."""
    pid = control.state()["firmware_pid"]
    if pid is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def empty_flash(control: BoardControl) -> None:
    control.ask("power", on=False)
    with (control.directory / "flash.bin").open("r+b") as file:
        file.seek(APP_OFFSET)
        file.write(b"\xff" * APP_BYTES)
    control.ask("power", on=True)


def some_fault(dice: random.Random) -> tuple[str, str, dict[str, Any]]:
    """A random fault, a point at which it can act, and random arguments."""
    name = dice.choice(list(FAULTS))
    point = dice.choice(CAN_ACT[name])
    return name, point, some_arguments(name, point, dice)


def some_arguments(name: str, point: str, dice: random.Random) -> dict[str, Any]:
    """Random arguments with which the round can still finish."""
    draw: dict[str, Callable[[], Any]] = {
        # Flashing sends 700 KB to the board and 10 KB back, the console a few hundred bytes and a few KB back.
        "rate": lambda: dice.choice([0.001, 0.01] if point == FLASH else [0.03, 0.1]),
        "count": lambda: dice.choice([1, 10, 1000]),
        "direction": lambda: dice.choice(["to-host", "to-board", "both"]),
        "inside": lambda: dice.choice(["line", "character"]),
        # The harness's client waits 0.5 s for a port that is busy.
        "seconds": lambda: dice.choice([0, 2.0] if name == "port-busy" else [0, 0.1, 0.3]),
        "off_s": lambda: dice.choice([0, 0.01, 0.2]),
        "bytes": lambda: dice.randrange(700_000),
        "by": lambda: dice.choice(["interrupt", "hardware"]),
        "step": lambda: dice.choice(["lock", "camera.stop", "audio.start", "settle.up"]),
        "at": lambda: dice.choice(programmed()),
    }
    return {
        argument.name: draw[argument.name]() for argument in FAULTS[name].arguments if argument.name in draw
    }


def play(round_: Round) -> Outcome:
    """Plays one round, in a process of the pool."""
    dice = random.Random(round_.seed)
    (name, point, arguments), seed = some_fault(dice), dice.getrandbits(32)
    control = BoardControl(round_.directory)
    started = time.monotonic()
    acted, led_to, problem = False, NOTHING, ""
    begun: list[dict[str, Any]] = []

    def cause(now: str) -> None:
        if now == point:
            begun.append(control.state())
            control.ask("fault", fault=name, arguments=arguments, seed=seed)

    signal.signal(signal.SIGALRM, hangs)
    signal.alarm(int(ROUND_MAX_S))
    try:
        empty_flash(control)
        try:
            go_through(round_, cause, 1)
        except (HilError, FirmwareError, esptool.FatalError, OSError) as error:
            led_to = type(error).__name__
            if isinstance(error, UsageError):
                problem = f"refused: {error}"
        acted = bool(begun) and has_acted(name, led_to, begun[0], control.state())
        control.ask("clear")
        empty_flash(control)
        go_through(round_, lambda point: None, PATIENT)
    except Exception as error:  # any error is reported, and the other rounds continue
        problem = problem or f"{type(error).__name__}: {error}"
    finally:
        signal.alarm(0)
    return Outcome(round_.number, name, point, acted, led_to, time.monotonic() - started, problem)


def has_acted(name: str, led_to: str, before: dict[str, Any], after: dict[str, Any]) -> bool:
    """Whether a fault had an effect, from the board's state before it and after the round."""
    if name in ON_BYTES:
        return bool(after["line_changes"] > before["line_changes"])
    if name in WHEN_OVER:
        return not any(text.split()[0] == name for text in after["faults"])
    return name in AT_ONCE or led_to != NOTHING


class Hang(Exception):
    """A round that did not finish."""


def hangs(*_: object) -> None:
    raise Hang(f"still running after {ROUND_MAX_S:g} s")


@dataclass(frozen=True)
class Held:
    """Resources of the server process while all its boards are off."""

    files: int
    children: int
    listening: int
    kb: int

    @classmethod
    def by(cls, boards: Boards, before: Held | None = None) -> Held:
        """Counts the server's resources. With `before`, first waits until the counts have fallen to these values, or
        until a timeout."""
        controls = running(boards.state_dir)
        for control in controls:
            control.ask("clear")
            control.ask("power", on=False)
        listening = sum(map(accepts, boards.found))
        # Do not count while a board has neither a client nor a listening socket, as for a moment after a client has
        # left.
        wait_until(lambda: not any(control.state()["client"] for control in controls))
        proc = Path(f"/proc/{boards.process.pid}")
        status = (proc / "status").read_text().splitlines()
        kb = next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
        files: list[int] = []
        children: list[int] = []
        started = time.monotonic()

        # repeated, because a control connection stays open for a moment after its client has closed it
        def enough() -> bool:
            files.append(len(list((proc / "fd").iterdir())))
            children.append(len(boards.children()))
            if before is None:
                return time.monotonic() - started > LOOK_FOR_S
            return min(files) <= before.files and min(children) <= before.children

        wait_until(enough)
        return cls(min(files), min(children), listening, kb)


def wait_until(is_so: Callable[[], bool]) -> None:
    """Waits until `is_so()` is true or the deadline passes; the caller's count then reveals the error."""
    deadline = time.monotonic() + SETTLE_S
    while not is_so() and time.monotonic() < deadline:
        time.sleep(LOOK_EVERY_S)


def open_files(boards: Boards) -> str:
    """Open files and sockets of the server, in one line."""
    folder = Path(f"/proc/{boards.process.pid}/fd")
    return ", ".join(f"{path.name} {os.readlink(path)}" for path in folder.iterdir())


def accepts(board: dict[str, str]) -> bool:
    """Whether the board's port accepts a client."""
    number = int(board["port"].rsplit(":", 1)[1])
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", number), timeout=5).close()
            return True
        time.sleep(0.02)  # a board listens again only a moment after its last client has left
    return False


def endure(
    count: int, rounds: int, seed: int, *, workers: int, say: Callable[[str], None] = lambda text: None
) -> Totals:
    """Plays `rounds` rounds on `count` boards of one server; returns the totals with all errors."""
    totals = Totals()
    with quiet_esptool(), tempfile.TemporaryDirectory() as folder:
        boards = Boards(Path(folder), NATIVE_ELFS_FILE, count=count, time_scale=TIME_SCALE, seed=seed)
        try:
            first = [Round(0, board["port"], Path(board["directory"]), "") for board in boards.found[:1]]
            for warm_up in first:  # a first round, in which the server allocates its permanent resources
                empty_flash(BoardControl(warm_up.directory))
                go_through(warm_up, lambda point: None, PATIENT)
            before = Held.by(boards)
            queues = queues_of(boards, rounds, seed)
            work(queues, workers, totals, say)
            after = Held.by(boards, before)
            say(f"before: {before}")
            say(f"after:  {after}")
            if after.files > before.files:
                totals.problems.append(
                    f"{before.files} files before, {after.files} after: {open_files(boards)}"
                )
            for what in ("children", "listening"):
                if getattr(after, what) != getattr(before, what):
                    totals.problems.append(
                        f"{what}: {getattr(before, what)} before, {getattr(after, what)} after"
                    )
            if boards.process.poll() is not None:
                totals.problems.append("the server has ended")
        finally:
            boards.stop()
        if boards.process.returncode != 0:
            totals.problems.append(f"the server ended with {boards.process.returncode}")
    return totals


def queues_of(boards: Boards, rounds: int, seed: int) -> list[list[Round]]:
    """Rounds of each board, to be played in order."""
    queues: list[list[Round]] = [[] for _ in boards.found]
    for number in range(1, rounds + 1):
        at = number % len(boards.found)
        board = boards.found[at]
        queues[at].append(Round(number, board["port"], Path(board["directory"]), f"{seed}/{number}"))
    return queues


def work(queues: list[list[Round]], workers: int, totals: Totals, say: Callable[[str], None]) -> None:
    """Plays all rounds, on `workers` boards at a time."""
    with ProcessPoolExecutor(workers) as pool:
        for job in as_completed([pool.submit(play_all, queue) for queue in queues]):
            for outcome in job.result():
                totals.add(outcome)
                if outcome.problem:
                    say(totals.problems[-1])
            say(f"{totals.rounds} of {sum(map(len, queues))} rounds")


def play_all(queue: list[Round]) -> list[Outcome]:
    return [play(round_) for round_ in queue]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--boards", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=4, help="rounds played at the same time")
    options = parser.parse_args()
    started = time.monotonic()
    totals = endure(
        options.boards,
        options.rounds,
        options.seed,
        workers=options.workers,
        say=lambda text: print(f"{time.monotonic() - started:6.1f} s  {text}", flush=True),
    )
    print()
    print(*totals.lines(), sep="\n")
    print(
        f"\n{options.boards} boards, {totals.rounds} rounds, seed {options.seed}: {time.monotonic() - started:.0f} s"
    )
    if totals.slowest is not None:
        print(f"slowest: {totals.slowest}")
    for problem in totals.problems:
        print(f"wrong: {problem}")
    print("no errors" if not totals.problems else f"errors: {len(totals.problems)}")
    return 1 if totals.problems else 0


if __name__ == "__main__":
    run_command(main)
