"""Leases the boards for a run, and waits while other runs use them."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from hotpin_hil.boards.bench import BoardEntry
from hotpin_hil.boards.kind import BoardKind
from hotpin_hil.boards.lease import Lease, TakenError, mac_name, port_name
from hotpin_hil.boards.lease_wait import LeaseWait
from hotpin_hil.boards.power import PowerSwitch, wait_for_port
from hotpin_hil.errors import BenchError, PortError, UsageError

RETRY_S = 0.2
"""Pause between two attempts; randomised, so that two runs that both need two boards do not keep one each."""


@dataclass
class LeasedBoard:
    """A board that this run may use until the lease is released."""

    entry: BoardEntry
    """The entry with its port, and with its MAC if the chip answered."""
    lease: Lease
    problem: BenchError | None = None
    """Why the MAC of the board could not be read. The first test on the board reports this."""


@dataclass
class BoardPool:
    """The boards that a run may use."""

    boards: Sequence[BoardEntry]
    folder: Path
    attached: Callable[[], Sequence[str]]
    """Lists the attached ports, to find boards that are known only by their MAC."""
    ask_mac: Callable[[str], str]
    """Reads the MAC of the chip on a port, which resets it; raises BenchError."""
    mac: str | None = None
    """MAC of the only board to lease; None: any board."""
    shared: bool = False
    """Whether worker processes will join the leases."""
    _macs: dict[str, str | BenchError] = field(default_factory=dict)

    def lease(self, count: int, timeout_s: float, tell: Callable[[str], object]) -> list[LeasedBoard]:
        """Lease `count` boards in the order of `boards`; lease none if there are too few.

        Args:
            count: number of boards.
            timeout_s: time to wait for boards that other runs use.
            tell: receives a line when the wait starts, and whenever the users of the boards change.

        Raises:
            UsageError: there are too few boards, or they remain in use.
        """
        wait = LeaseWait(timeout_s, tell)
        while True:
            leased, taken = self._try(count)
            if len(leased) == count:
                return leased
            for board in leased:
                board.lease.release()
            if len(leased) + len(taken) < count:
                raise self._too_few(count, len(leased) + len(taken))
            in_use = "; ".join(f"{error.board} by {error.holder}" for error in taken)
            wait.report(f"{boards_are(count)} needed", len(leased), in_use)
            time.sleep(RETRY_S * (1 + random.random()))

    def _too_few(self, count: int, available: int) -> UsageError:
        names = ", ".join(map(str, self.boards))
        if self.mac and not available:
            return UsageError(f"none of {names} has the MAC {self.mac}", "check --board-mac")
        return UsageError(
            f"{boards_are(count)} needed, but only {available} available: {names}",
            "use a smaller -n or --count",
        )

    def _try(self, count: int) -> tuple[list[LeasedBoard], list[TakenError]]:
        """Lease up to `count` boards, preferring those that answer; also return the boards in use by others."""
        sound: list[LeasedBoard] = []
        troubled: list[LeasedBoard] = []
        taken: list[TakenError] = []
        try:
            for entry in self.boards:
                if len(sound) == count:
                    break
                try:
                    board = self._lease(entry)
                except TakenError as error:
                    taken.append(error)
                    continue
                if board is not None:
                    (troubled if board.problem else sound).append(board)
        except BaseException:
            for board in (*sound, *troubled):
                board.lease.release()
            raise
        wanted = count - len(sound)
        for board in troubled[wanted:]:
            board.lease.release()
        return sound + troubled[:wanted], taken

    def _lease(self, entry: BoardEntry) -> LeasedBoard | None:
        """Lease a board, its port first because reading the MAC resets it. None if its MAC is not the wanted one."""
        lease = Lease(self.folder, str(entry), shared=self.shared)
        try:
            board = self._find(entry, lease) if entry.port is None else self._take(entry, entry.port, lease)
        except BaseException:
            lease.release()
            raise
        if board is None:
            lease.release()
        return board

    def _take(self, entry: BoardEntry, port: str, lease: Lease) -> LeasedBoard | None:
        lease.add(port_name(port))
        if entry.kind is BoardKind.VIRTUAL:
            # Its MAC is not leased: it has only one port, and virtual boards of two servers may have the same MAC.
            return LeasedBoard(entry, lease)
        problem = None
        if entry.mac is None:
            try:
                entry = replace(entry, mac=self._mac_on(port, entry.power))
            except BenchError as error:
                problem = error
        if self.mac not in (None, entry.mac) and not (problem and len(self.boards) == 1):
            return None
        if entry.mac is not None:
            lease.add(mac_name(entry.mac))
        return LeasedBoard(entry, lease, problem)

    def _find(self, entry: BoardEntry, lease: Lease) -> LeasedBoard:
        """Find a board by its MAC, on the attached ports that belong to no other entry."""
        assert entry.mac is not None
        lease.add(mac_name(entry.mac))
        named = {port_name(board.port) for board in self.boards if board.port}
        for port in self.attached():
            if port_name(port) in named:
                continue
            with Lease(self.folder, str(entry), shared=self.shared) as other:
                try:
                    other.add(port_name(port))
                    found = self._mac_on(port, None) == entry.mac
                except (TakenError, BenchError):
                    continue  # in use, or the chip does not answer
                if found:
                    lease.adopt(other)
                    return LeasedBoard(replace(entry, port=port), lease)
        problem = PortError(
            f"board {entry} is on none of the attached ports",
            "plug it in; hotpin-hil boards lists the detected boards",
        )
        return LeasedBoard(entry, lease, problem)

    def _mac_on(self, port: str, power: PowerSwitch | None) -> str:
        """Read the MAC on a port, once per run. A silent chip is power-cycled once, if it has a switch."""
        if port not in self._macs:
            try:
                try:
                    self._macs[port] = self.ask_mac(port)
                except BenchError:
                    if power is None:
                        raise
                    power.cycle()
                    wait_for_port(port)
                    self._macs[port] = self.ask_mac(port)
            except BenchError as error:
                self._macs[port] = error
        known = self._macs[port]
        if isinstance(known, BenchError):
            raise known
        return known


def boards_are(count: int) -> str:
    """The beginning of a message: "1 board is" or "2 boards are"."""
    return "1 board is" if count == 1 else f"{count} boards are"
