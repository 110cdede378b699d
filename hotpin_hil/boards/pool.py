"""Leases the boards that a run needs, and waits while other runs use them."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from hotpin_hil.boards.bench import BoardEntry
from hotpin_hil.boards.kind import BoardKind
from hotpin_hil.boards.lease import Lease, TakenError, mac_name, port_name
from hotpin_hil.boards.power import PowerSwitch, wait_for_port
from hotpin_hil.errors import BenchError, PortError, UsageError

RETRY_S = 0.2
"""Pause between two attempts. It is randomised, or two runs that need two boards may each keep one."""


@dataclass
class LeasedBoard:
    """A board that this run may use until the lease is released."""

    entry: BoardEntry
    """With port, and with MAC if the chip answered."""
    lease: Lease
    problem: BenchError | None = None
    """Why its MAC could not be read. The first test that uses the board reports it."""


@dataclass
class BoardPool:
    """The boards that a run may use."""

    boards: Sequence[BoardEntry]
    folder: Path
    attached: Callable[[], Sequence[str]]
    """Lists the attached ports, where a board may be that is known only by its MAC."""
    ask_mac: Callable[[str], str]
    """Reads the MAC of the chip on a port, which resets it. Raises BenchError."""
    mac: str | None = None
    """The only board to lease."""
    shared: bool = False
    """Whether worker processes will join the leases."""
    _macs: dict[str, str | BenchError] = field(default_factory=dict)

    def lease(self, count: int, timeout_s: float, tell: Callable[[str], object]) -> list[LeasedBoard]:
        """Leases `count` boards, in the order of `boards`, or none.

        Args:
            count: number of boards.
            timeout_s: how long to wait for boards that other runs use.
            tell: takes a line when waiting begins, and when a board in use has changed hands.

        Raises:
            UsageError: there are not enough boards, or they stay in use.
        """
        deadline = time.monotonic() + timeout_s
        told = ""
        while True:
            leased, taken = self._try(count)
            if len(leased) == count:
                return leased
            for board in leased:
                board.lease.release()
            if len(leased) + len(taken) < count:
                raise self._too_few(count, len(leased) + len(taken))
            said = "; ".join(f"{one.board} by {one.holder}" for one in taken)
            if time.monotonic() >= deadline:
                waited = f", also after {timeout_s:g} s" if timeout_s else ""
                raise UsageError(
                    f"{_boards(count)} wanted, {len(leased) or 'none'} free{waited}; in use: {said}",
                    "wait for their end with --lease-timeout S",
                )
            if said != told:
                told = said
                tell(f"waiting up to {timeout_s:g} s: {_boards(count)} wanted; in use: {said}")
            time.sleep(RETRY_S * (1 + random.random()))

    def _too_few(self, count: int, there: int) -> UsageError:
        names = ", ".join(map(str, self.boards))
        if self.mac and not there:
            return UsageError(f"none of {names} has the MAC {self.mac}", "check --board-mac")
        return UsageError(
            f"{_boards(count)} wanted, but there {'is' if there == 1 else 'are'} only {there}: {names}",
            "use a smaller -n or --count",
        )

    def _try(self, count: int) -> tuple[list[LeasedBoard], list[TakenError]]:
        """Leases up to `count` boards, those that answer first; returns boards in use by others, too."""
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
        """Leases the port first: reading the MAC resets the board. None if another MAC is wanted."""
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
            # It has one port, and boards of different servers may have equal MACs.
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
        """Finds a board by its MAC on the attached ports that no other entry names."""
        assert entry.mac is not None
        lease.add(mac_name(entry.mac))
        named = {port_name(one.port) for one in self.boards if one.port}
        for port in self.attached():
            if port_name(port) in named:
                continue
            with Lease(self.folder, str(entry), shared=self.shared) as other:
                try:
                    other.add(port_name(port))
                    found = self._mac_on(port, None) == entry.mac
                except (TakenError, BenchError):
                    continue  # in use, or it does not answer
                if found:
                    lease.adopt(other)
                    return LeasedBoard(replace(entry, port=port), lease)
        problem = PortError(
            f"board {entry} is on none of the attached ports",
            "plug it in; hotpin-hil boards lists what is seen",
        )
        return LeasedBoard(entry, lease, problem)

    def _mac_on(self, port: str, power: PowerSwitch | None) -> str:
        """Reads a MAC once in a run; a chip that does not answer gets one power cycle if there is a switch."""
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


def _boards(count: int) -> str:
    return "1 board is" if count == 1 else f"{count} boards are"
