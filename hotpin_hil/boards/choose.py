"""Chooses the kind of board, and the boards that a run may lease."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hotpin_hil.boards.bench import Bench, BoardEntry, normal_mac
from hotpin_hil.boards.kind import AUTO, CHOICES, ENV_BOARD, BoardKind, is_loopback
from hotpin_hil.boards.labgrid_settings import OPTION, LabgridSettings, checked_address
from hotpin_hil.boards.lease import port_name
from hotpin_hil.errors import UsageError

ENV_PORT = "ESPPORT"
"""Environment variable with the default port of esptool and pytest-embedded."""

PORT_SEPARATOR = "|"
"""Separator between the ports of a test with several boards, as in pytest-embedded."""

_NAMES = ", ".join(kind.value for kind in BoardKind)


@dataclass(frozen=True)
class Choice:
    """The kind of board, the boards to lease from, and why they were chosen.

    `boards` is empty if the harness starts the board, or if labgrid assigns one.
    """

    kind: BoardKind
    boards: tuple[BoardEntry, ...] = ()
    why: str = ""
    is_pool: bool = False
    """Whether the run may use any of these boards, as in a bench. Attached boards are not interchangeable."""
    labgrid: LabgridSettings | None = None
    """Where the boards come from, if they are only known after labgrid has assigned them."""

    @property
    def is_started_here(self) -> bool:
        """Whether the harness starts the board, instead of leasing one."""
        return not self.boards and self.labgrid is None


@dataclass(frozen=True)
class Wish:
    """The user's request: the kind (--board), the port, the MAC or name of a board, and labgrid's coordinator."""

    kind: str | None = None
    port: str | None = None
    mac: str | None = None
    name: str | None = None
    labgrid: str | None = None

    @classmethod
    def of(cls, options: Any) -> Wish:
        """The request in pytest's options."""
        return cls(
            options.board, options.port, options.board_mac, options.board_name, options.labgrid_coordinator
        )


def choose_board(
    wish: Wish,
    environment: Mapping[str, str],
    attached: Callable[[], Sequence[str]],
    bench: Bench | None = None,
) -> Choice:
    """Choose the kind of board. A port on loopback counts as a virtual board unless the user names hardware.

    Args:
        wish: the user's request.
        environment: HOTPIN_BOARD, ESPPORT and CI of the process.
        attached: lists the ports of attached boards; called only if needed.
        bench: the bench file, if there is one.

    Raises:
        UsageError: the request is contradictory, or no board matches.
    """
    requested = wish.kind or environment.get(ENV_BOARD) or AUTO
    if requested not in CHOICES:
        raise UsageError(
            f"{ENV_BOARD} is {requested!r}, which is not a kind of board",
            f"set it to one of {', '.join(CHOICES)}",
        )
    if requested == AUTO and _is_ci(environment):
        raise UsageError(
            "CI is set, so the kind of board must be named: evidence must not depend on the attached boards",
            f"give --board ({_NAMES}) or set {ENV_BOARD}",
        )
    if wish.mac is not None and normal_mac(wish.mac) is None:
        raise UsageError(f"--board-mac {wish.mac} is not a MAC", "write it as 24:0a:c4:00:00:01")
    named_otherwise = bench is not None or requested in (BoardKind.VIRTUAL, BoardKind.QEMU)
    if wish.port == "":
        raise UsageError("--port is empty", "name the port, or leave --port out")
    port = wish.port or (None if named_otherwise else environment.get(ENV_PORT))
    if port:
        found = [_on_port(requested, each, bench) for each in port.split(PORT_SEPARATOR)]
        kinds = {choice.kind for choice in found}
        if len(kinds) > 1:
            raise UsageError(
                f"the boards on {port} are not all of the same kind", "name their kind with --board"
            )
        return Choice(kinds.pop(), tuple(board for choice in found for board in choice.boards), found[0].why)
    labgrid = _labgrid(wish, bench)
    if labgrid is not None and requested != BoardKind.QEMU:
        kind = BoardKind.HARDWARE if requested == AUTO else BoardKind(requested)
        return Choice(kind, why=f"from labgrid at {labgrid.coordinator}", is_pool=True, labgrid=labgrid)
    if wish.name and bench is None:
        raise UsageError(f"--board-name {wish.name} names a board of a bench", "also give --bench FILE")
    if bench is not None and requested != BoardKind.QEMU:
        return _of_bench(requested, wish, bench)
    if requested in (BoardKind.VIRTUAL, BoardKind.QEMU):
        return Choice(BoardKind(requested))
    ports = tuple(attached())
    if ports:
        boards = tuple(BoardEntry(port, BoardKind.HARDWARE, port) for port in ports)
        return Choice(BoardKind.HARDWARE, boards, f"found on {', '.join(ports)}")
    if requested == BoardKind.HARDWARE or wish.mac:
        raise UsageError(
            "no attached board was found",
            "plug one in (hotpin-hil boards lists the detected boards), or name its --port",
        )
    return Choice(BoardKind.VIRTUAL, (), "no board is attached")


def _on_port(requested: str, port: str, bench: Bench | None) -> Choice:
    if requested == BoardKind.QEMU:
        raise UsageError(f"QEMU has no port, but --port {port} was given", "leave --port out")
    if "://" not in port and not Path(port).exists():
        raise UsageError(f"there is no port {port}", "hotpin-hil boards lists the attached boards")
    for board in bench.boards if bench else ():
        if board.port is not None and port_name(board.port) == port_name(port):
            _check_kind(requested, board)
            return Choice(board.kind, (board,), f"{board.name} on {port}")
    why = f"on {port}"
    if requested != AUTO:
        kind = BoardKind(requested)
    elif is_loopback(port):
        kind = BoardKind.VIRTUAL
        why = f"{port} is on loopback; for a real board there, give --board hardware"
    else:
        kind = BoardKind.HARDWARE
    return Choice(kind, (BoardEntry(port, kind, port),), why)


def _labgrid(wish: Wish, bench: Bench | None) -> LabgridSettings | None:
    settings = bench.labgrid if bench else None
    if wish.labgrid is not None:
        if bench is not None and bench.boards:
            raise UsageError(f"{OPTION} was given, but {bench.path} lists boards", "leave one of the two out")
        coordinator = checked_address(OPTION, wish.labgrid)
        settings = replace(settings, coordinator=coordinator) if settings else LabgridSettings(coordinator)
    if settings is not None and wish.name:
        if settings.places and wish.name not in settings.places:
            raise UsageError(
                f"[labgrid] has no place {wish.name}", f"its places are {', '.join(settings.places)}"
            )
        settings = replace(settings, places=(wish.name,))
    return settings


def _of_bench(requested: str, wish: Wish, bench: Bench) -> Choice:
    boards = bench.boards
    if wish.name:
        boards = tuple(board for board in boards if board.name == wish.name)
    if wish.mac:
        boards = tuple(board for board in boards if board.mac in (normal_mac(wish.mac), None))
    if not boards:
        named = f" named {wish.name}" if wish.name else ""
        with_mac = f" with MAC {wish.mac}" if wish.mac else ""
        raise UsageError(
            f"{bench.path} has no board{named}{with_mac}", f"it has {', '.join(map(str, bench.boards))}"
        )
    if wish.name:
        _check_kind(requested, boards[0])
    kinds = {board.kind for board in boards}
    if requested == AUTO:
        requested = (BoardKind.HARDWARE if BoardKind.HARDWARE in kinds else BoardKind.VIRTUAL).value
    if BoardKind(requested) not in kinds:
        if requested == BoardKind.VIRTUAL and not wish.mac:
            return Choice(BoardKind.VIRTUAL)
        raise UsageError(
            f"{bench.path} has no {requested} board{f' with the MAC {wish.mac}' if wish.mac else ''}",
            f"it has {', '.join(map(str, bench.boards))}",
        )
    chosen = tuple(board for board in boards if board.kind == requested)
    return Choice(BoardKind(requested), chosen, f"from {bench.path.name}", is_pool=True)


def _check_kind(requested: str, board: BoardEntry) -> None:
    if requested not in (AUTO, board.kind):
        raise UsageError(
            f"board {board.name} of the bench is a {board.kind} board, but --board {requested} was given",
            f"run with --board {board.kind}",
        )


def _is_ci(environment: Mapping[str, str]) -> bool:
    return environment.get("CI", "").lower() not in ("", "0", "false", "no")
