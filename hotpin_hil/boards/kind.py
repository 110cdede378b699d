"""The kinds of board."""

from __future__ import annotations

from enum import Enum
from urllib.parse import urlsplit

AUTO = "auto"
ENV_BOARD = "HOTPIN_BOARD"


class BoardKind(str, Enum):
    """A kind of board, by its name on the command line and in results."""

    HARDWARE = "hardware"
    QEMU = "qemu"
    VIRTUAL = "virtual"

    def __str__(self) -> str:
        return self.value


CHOICES = (AUTO, *(kind.value for kind in BoardKind))


def is_loopback(port: str) -> bool:
    """Whether the port is a URL (rfc2217://, socket://) on this machine."""
    host = urlsplit(port).hostname if "://" in port else None
    return host is not None and (host in ("localhost", "::1") or host.startswith("127."))
