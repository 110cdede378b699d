"""Boards from labgrid: reserves places by their tags, waits for them in labgrid's queue, and acquires them."""

from __future__ import annotations

import random
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from hotpin_hil.boards.bench import BoardEntry, normal_mac
from hotpin_hil.boards.kind import BoardKind
from hotpin_hil.boards.labgrid_client import (
    CoordinatorError,
    LabgridClient,
    LabgridError,
    LabgridPlace,
    LabgridReservation,
    LabgridResource,
    find_client,
)
from hotpin_hil.boards.labgrid_guard import ReleaseGuard
from hotpin_hil.boards.labgrid_place import AcquiredPlace, port_of, power_of
from hotpin_hil.boards.labgrid_settings import NAME, LabgridSettings
from hotpin_hil.boards.lease_wait import LeaseWait
from hotpin_hil.boards.pool import boards_are
from hotpin_hil.errors import UsageError
from hotpin_hil.printable import printable

TAG_MAC = "mac"
"""Tag of a place with the MAC of its board, in any usual spelling; the board is checked against it."""

PROGRESS_S = 10.0
"""Time between two checks of who uses the places."""
HOLD_S = 30.0
"""Time, multiplied by a random factor from 1 to 2, that a run keeps some of its boards while it waits for the others.
Then it releases them; otherwise two runs that both need two boards could keep one each."""
_POLL_S = 0.2


@dataclass
class _Waiting:
    """A reservation in labgrid's queue; it expires 60 s after `process` has ended."""

    token: str
    filters: Mapping[str, str]
    process: subprocess.Popen[bytes]


@dataclass
class LabgridPlaces:
    """The places of one run."""

    settings: LabgridSettings
    kind: BoardKind
    """Kind of the boards; the firmware's identity is checked against it."""
    client: LabgridClient
    guard: ReleaseGuard
    tell: Callable[[str], object]
    """Receives a line when the wait starts, when a place gets another user, and for a place with a problem."""
    boards: list[BoardEntry] = field(default_factory=list)
    _waiting: list[_Waiting] = field(default_factory=list)
    _unused: list[str] = field(default_factory=list)
    """Reservations of places with a problem. They are kept for now, so that labgrid assigns other places."""
    _problems: dict[str, LabgridError] = field(default_factory=dict)

    @classmethod
    def connect(
        cls,
        settings: LabgridSettings,
        kind: BoardKind,
        environment: Mapping[str, str],
        tell: Callable[[str], object],
    ) -> LabgridPlaces:
        """Connect to the coordinator.

        Raises:
            UsageError: labgrid-client is missing, or the harness does not support its version.
            LabgridError: a labgrid command failed, or the coordinator does not answer.
        """
        client = LabgridClient(find_client(environment), settings.coordinator)
        client.check_version()
        return cls(settings, kind, client, ReleaseGuard(client), tell)

    def acquire(self, count: int, timeout_s: float) -> list[BoardEntry]:
        """Acquire the places for a run.

        Args:
            count: number of boards.
            timeout_s: time to wait for places that others use.

        Raises:
            UsageError: there are too few places, or they are in use until the timeout.
            LabgridError: a labgrid command failed, or the coordinator does not answer.
        """
        wait = LeaseWait(timeout_s, lambda line: self.tell(printable(line)))
        look_at = keep_until = 0.0
        while True:
            self._fill(count)
            if len(self.boards) == count:
                self._give_back_unused()
                return self.boards
            now = time.monotonic()
            if now >= min(look_at, wait.deadline):
                wait.report(self._needed(count), len(self.boards), self._who_holds(count))
                look_at = time.monotonic() + PROGRESS_S
            if not self.boards:
                keep_until = now + HOLD_S * (1 + random.random())
            elif now >= keep_until:
                self._give_back_boards()
            time.sleep(_POLL_S)
            self._take_assigned()

    def release(self) -> list[str]:
        """Release all places; returns a line for each that could not be released. Safe to call twice."""
        problems = self.guard.close()
        while self._waiting:
            _end(self._waiting.pop().process)
        return problems

    def _fill(self, count: int) -> None:
        """Reserve until there is a board, or a reservation in the queue, for each board that is needed."""
        for filters in self._filters(count):
            if len(self.boards) == count:
                return
            reservation = self.client.reserve(filters)
            self.guard.hold(reservation.token)
            self._use(reservation, filters)

    def _filters(self, count: int) -> Iterator[dict[str, str]]:
        match = dict(self.settings.match)
        if not self.settings.places:
            while len(self.boards) + len(self._waiting) < count:
                yield match
            return
        # A reservation cannot name several places, so each place has a reservation until there are enough boards.
        known = {board.name for board in self.boards} | self._problems.keys()
        known |= {waiting.filters[NAME] for waiting in self._waiting}
        yield from ({**match, NAME: name} for name in self.settings.places if name not in known)

    def _use(self, reservation: LabgridReservation, filters: Mapping[str, str]) -> None:
        """Acquire the place that a reservation was assigned, or keep waiting for one."""
        token = reservation.token
        if reservation.state == "waiting":
            self._waiting.append(_Waiting(token, filters, self.client.start("wait", token)))
        elif reservation.state == "allocated":
            self._take(reservation)
        else:  # expired or invalid; `_fill` reserves again
            self.guard.drop(token)

    def _take(self, reservation: LabgridReservation) -> None:
        name, token = reservation.place, reservation.token
        try:
            self.client.acquire(token)
            shown, resources = self.client.show(f"+{token}")
            self.boards.append(self._board(shown, token, resources))
        except CoordinatorError:
            raise
        except LabgridError as error:
            self._problems[name] = error
            self._unused.append(token)
            self.tell(printable(f"place {name} is not used: {error}"))

    def _board(self, shown: LabgridPlace, token: str, resources: list[LabgridResource]) -> BoardEntry:
        if not shown.name.isprintable():
            raise LabgridError(
                f"place {shown.name!r} has control characters in its name", "give it another name"
            )
        mac = normal_mac(shown.tags[TAG_MAC]) if TAG_MAC in shown.tags else None
        if mac is None and TAG_MAC in shown.tags:
            raise LabgridError(
                f"place {shown.name} has the tag {TAG_MAC}={shown.tags[TAG_MAC]}, which is not a MAC",
                f"write it as {TAG_MAC}=24:0a:c4:00:00:01",
            )
        place = AcquiredPlace(self.client.program, self.client.coordinator, shown.name, token)
        return BoardEntry(
            name=shown.name,
            kind=self.kind,
            port=port_of(place, resources),
            mac=mac,
            power=power_of(place, resources),
            place=place,
        )

    def _take_assigned(self) -> None:
        """Acquire the places that labgrid has assigned to waiting reservations."""
        ended = [waiting for waiting in self._waiting if waiting.process.poll() is not None]
        for waiting in ended:
            self._waiting.remove(waiting)
            self._use(self.client.reservation(waiting.token), waiting.filters)

    def _give_back_boards(self) -> None:
        """Release the boards, so that the first run in the queue gets them. This run queues again."""
        while self.boards:
            place = self.boards.pop().place
            assert place is not None
            self._give_back(place.token)

    def _give_back_unused(self) -> None:
        while self._waiting:
            waiting = self._waiting.pop()
            _end(waiting.process)
            self._unused.append(waiting.token)
        while self._unused:
            self._give_back(self._unused.pop())

    def _give_back(self, token: str) -> None:
        self.client.give_back(token)
        self.guard.drop(token)

    def _needed(self, count: int) -> str:
        return f"{boards_are(count)} needed ({self.settings}, labgrid at {self.client.coordinator})"

    def _who_holds(self, count: int) -> str:
        """Describe the matching places that this run does not have, and who uses them.

        Raises:
            UsageError: labgrid has too few places, even if all were free.
        """
        matching = [
            place for place in self.client.places() if self.settings.is_met_by(place.name, place.tags)
        ]
        usable = [place for place in matching if place.name not in self._problems]
        if len(usable) < count:
            names = ", ".join(place.name for place in usable) or "none"
            problems = "".join(f"; {name}: {error}" for name, error in self._problems.items())
            such = "such place" if len(usable) == 1 else "such places"
            raise UsageError(
                f"{self._needed(count)}, but labgrid has {len(usable) or 'no'} {such}: {names}{problems}",
                f"tag places ({self.client.by_hand('-p', 'PLACE', 'set-tags', 'KEY=VALUE')}), or use a smaller -n",
            )
        mine = {board.name for board in self.boards}
        return "; ".join(_use_of(place) for place in usable if place.name not in mine)


def _use_of(place: LabgridPlace) -> str:
    if place.acquired:
        host, _, user = place.acquired.partition("/")
        return f"{place.name} by {user}@{host} since {place.changed.partition('.')[0]}"
    return f"{place.name} {'reserved' if place.reservation else 'free'}"


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    process.wait()
