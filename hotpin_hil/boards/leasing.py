"""The leases of one run, shared with its pytest-xdist workers."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import replace

from hotpin_hil.boards import ports
from hotpin_hil.boards.bench import BoardEntry, normal_mac
from hotpin_hil.boards.choose import Choice
from hotpin_hil.boards.labgrid import LabgridPlaces
from hotpin_hil.boards.labgrid_watch import PlaceWatch
from hotpin_hil.boards.lease import Lease, TakenError, lease_folder, mac_name, port_name
from hotpin_hil.boards.pool import BoardPool, LeasedBoard
from hotpin_hil.errors import PortError, UsageError
from hotpin_hil.printable import printable


class RunLeases:
    """The boards that this run leased, and their assignment to workers.

    The pytest-xdist controller leases a board for each worker and passes it on as JSON; the worker joins that lease.
    Boards that the harness starts itself need no lease.
    """

    def __init__(self, environment: Mapping[str, str], worker: str) -> None:
        """Start with no leases.

        Args:
            environment: environment that may name the lease folder.
            worker: id of this pytest-xdist worker, empty in the main process.
        """
        self._environment = environment
        self._worker = worker
        self._leased: list[LeasedBoard] = []
        self._workers: dict[str, int] = {}
        self._places: LabgridPlaces | None = None
        self._watches: list[tuple[LeasedBoard, PlaceWatch]] = []
        self.mine: LeasedBoard | None = None
        """The board of this process, or the first of several."""

    def accept(self, given: str) -> BoardEntry:
        """Use the board, given as JSON, that the controller leased for this worker."""
        entry = BoardEntry.from_json(given)
        self.mine = LeasedBoard(entry, Lease(lease_folder(self._environment), str(entry)))
        return entry

    def lease(
        self,
        choice: Choice,
        *,
        workers: int,
        count: int,
        mac: str | None,
        timeout_s: float,
        tell: Callable[[str], object],
    ) -> None:
        """Lease a board for each worker, or the boards of one test.

        Does nothing if the run starts its own boards or already has a lease.

        Args:
            choice: the boards to choose from.
            workers: number of processes that run tests.
            count: number of boards per test.
            mac: lease only the board with this MAC; None: any.
            timeout_s: time to wait for boards that other runs use, s.
            tell: receives a line whenever the run has to wait.

        Raises:
            UsageError: -n with --count, an ambiguous choice, too few boards, or all in use until the timeout.
            LabgridError: a labgrid command failed, or the coordinator does not answer.
        """
        if choice.is_started_here or self._leased or self.mine:
            return
        if workers > 1 and count > 1:
            raise UsageError(
                f"-n gives each of {workers} workers one board, but --count {count} was given", "leave -n out"
            )
        wanted = max(workers, count)
        if wanted == 1 and len(choice.boards) > 1 and not choice.is_pool and not mac:
            raise UsageError(
                f"several boards are attached: {', '.join(map(str, choice.boards))}",
                "choose one with --port or --board-mac",
            )
        try:
            self._lease(
                choice,
                wanted,
                is_shared=workers > 1 and not self._worker,
                mac=mac,
                timeout_s=timeout_s,
                tell=tell,
            )
        except BaseException:
            self.release()
            raise

    def _lease(
        self,
        choice: Choice,
        wanted: int,
        *,
        is_shared: bool,
        mac: str | None,
        timeout_s: float,
        tell: Callable[[str], object],
    ) -> None:
        folder = lease_folder(self._environment)
        boards = choice.boards
        if choice.labgrid is not None:
            self._places = LabgridPlaces.connect(choice.labgrid, choice.kind, self._environment, tell)
            boards = tuple(self._places.acquire(wanted, timeout_s))
        pool = BoardPool(
            boards=boards,
            folder=folder,
            attached=attached_ports,
            ask_mac=ask_mac,
            mac=mac and normal_mac(mac),
            shared=is_shared,
        )
        self._leased = pool.lease(wanted, timeout_s, tell)
        if self._places is not None:
            for port in self.leased_ports:
                self._places.guard.wait_for_lock(folder, port_name(port))

    def hand_over(self, worker: str) -> str | None:
        """Return a leased board for a worker process, as JSON; None if each worker starts its own board."""
        if not self._leased:
            return None
        number = min(set(range(len(self._leased))) - set(self._workers.values()))
        self._workers[worker] = number
        return self._leased[number].entry.as_json()

    def take_back(self, worker: str) -> None:
        """Free the board of a worker that has ended, so that the replacement worker gets it."""
        self._workers.pop(worker, None)

    def join(self) -> None:
        """Assign a leased board to this process; a worker joins the controller's lease.

        Raises:
            BenchError: the board is not on any attached port.
            TakenError: in a worker, another run has locked the board.
        """
        if self._leased:
            self.mine = self._leased[0]
        if self.mine is None:
            return
        entry = self.mine.entry
        if entry.port is None:
            raise self.mine.problem or PortError(f"board {entry} is not on any port", "see hotpin-hil boards")
        if self._worker:
            for name in (port_name(entry.port), *((mac_name(entry.mac),) if entry.mac else ())):
                self.mine.lease.join(name)
        for board in self._leased or [self.mine]:
            if board.entry.place is not None:
                self._watches.append((board, PlaceWatch(board.entry.place)))

    def check_places(self) -> None:
        """Check from time to time that labgrid's places still belong to this run, and follow a port that moved.

        Raises:
            LabgridError: a place was lost, or its exporter is not connected.
        """
        for board, watch in self._watches:
            port = watch.check()
            if port is not None and port != board.entry.port:
                board.entry = replace(board.entry, port=port)

    def is_place_away(self) -> bool:
        """Whether the exporter of one of labgrid's places is not connected now."""
        return any(watch.is_away() for _, watch in self._watches)

    def confirm_mac(self, mac: str | None) -> None:
        """Also lease the MAC, if it could not be read before.

        Raises:
            PortError: another run has leased this MAC.
        """
        if self.mine is None or self.mine.problem is None or mac is None:
            return
        try:
            self.mine.lease.add(mac_name(mac))
        except TakenError as error:
            raise PortError(error.message, error.remedy) from error
        self.mine.problem = None

    @property
    def leased_ports(self) -> list[str]:
        """The ports of all boards that this process leased."""
        return [board.entry.port for board in self._leased if board.entry.port]

    @property
    def ports(self) -> list[str]:
        """The ports that tests of this process may use."""
        boards = self._leased or ([self.mine] if self.mine else [])
        return [str(board.entry.port) for board in boards]

    def release(self) -> None:
        """Release all leases. Safe to call twice."""
        for board in (*self._leased, *((self.mine,) if self.mine else ())):
            board.lease.release()
        problems = [problem for _, watch in self._watches for problem in watch.release()]
        if self._places is not None:
            problems += self._places.release()
        for problem in problems:
            print(printable(problem), file=sys.stderr)


def attached_ports() -> list[str]:
    """Device names of the attached serial bridges."""
    return [port.device for port in ports.find_ports()]


def ask_mac(port: str) -> str:
    """Read the MAC of the chip on `port`, which resets it.

    Raises:
        BenchError: the chip does not answer.
    """
    from hotpin_hil.boards import probe  # imported here, because it imports esptool, which takes a while

    return probe.read_mac(port)
