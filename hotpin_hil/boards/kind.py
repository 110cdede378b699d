"""The kinds of board, and which of them a run uses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from urllib.parse import urlsplit

from hotpin_hil.errors import UsageError

AUTO = "auto"
ENV_BOARD = "HOTPIN_BOARD"


class BoardKind(str, Enum):
    HARDWARE = "hardware"
    QEMU = "qemu"
    VIRTUAL = "virtual"

    def __str__(self) -> str:
        return self.value


CHOICES = (AUTO, *(kind.value for kind in BoardKind))
_NAMES = ", ".join(kind.value for kind in BoardKind)


@dataclass(frozen=True)
class Choice:
    """The kind of board, the ports it is on (none: the harness starts the board), and why in a few words."""

    kind: BoardKind
    ports: tuple[str, ...] = ()
    why: str = ""


def choose_board(
    asked: str | None, port: str | None, environment: Mapping[str, str], attached: Callable[[], Sequence[str]]
) -> Choice:
    """Decides which board to use; UsageError when that can't be known.

    asked: --board. port: --port. attached: finds the ports of attached boards, called only if it matters.
    A port on loopback that nobody named hardware is taken for a virtual board: that claims the least.
    """
    asked = asked or environment.get(ENV_BOARD) or AUTO
    if asked not in CHOICES:
        raise UsageError(f"{ENV_BOARD} is {asked!r}", f"set it to one of {', '.join(CHOICES)}")
    if asked == AUTO and _is_ci(environment):
        raise UsageError(
            "CI is set, so the kind of board must be named: evidence may not depend on what is plugged in",
            f"give --board ({_NAMES}) or set {ENV_BOARD}",
        )
    if port:
        return _on_port(asked, port)
    if asked in (BoardKind.VIRTUAL, BoardKind.QEMU):
        return Choice(BoardKind(asked))
    ports = tuple(attached())
    if asked == BoardKind.HARDWARE and not ports:
        raise UsageError(
            "no attached board was found",
            "plug one in (hotpin-hil boards lists what is seen), or name its --port",
        )
    if ports:
        return Choice(BoardKind.HARDWARE, ports, f"found on {', '.join(ports)}")
    return Choice(BoardKind.VIRTUAL, (), "no board is attached")


def _on_port(asked: str, port: str) -> Choice:
    if asked == BoardKind.QEMU:
        raise UsageError(f"QEMU has no port, but --port {port} was given", "leave --port out")
    if asked != AUTO:
        return Choice(BoardKind(asked), (port,), f"on {port}")
    if is_loopback(port):
        return Choice(
            BoardKind.VIRTUAL,
            (port,),
            f"{port} is on loopback; for a real board behind it say --board hardware",
        )
    return Choice(BoardKind.HARDWARE, (port,), f"on {port}")


def is_loopback(port: str) -> bool:
    """Whether the port is a URL (rfc2217://, socket://) on this machine."""
    host = urlsplit(port).hostname if "://" in port else None
    return host is not None and (host in ("localhost", "::1") or host.startswith("127."))


def _is_ci(environment: Mapping[str, str]) -> bool:
    return environment.get("CI", "").lower() not in ("", "0", "false", "no")
