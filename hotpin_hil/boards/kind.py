"""The kinds of board."""

from __future__ import annotations

from urllib.parse import urlsplit

from hotpin_hil.compat import StrEnum

AUTO = "auto"
ENV_BOARD = "HOTPIN_BOARD"


class BoardKind(StrEnum):
    """A kind of board, by its name on the command line and in results."""

    HARDWARE = "hardware"
    QEMU = "qemu"
    VIRTUAL = "virtual"


CHOICES = (AUTO, *(kind.value for kind in BoardKind))


def is_loopback(port: str) -> bool:
    """Whether the port is a URL (rfc2217://, socket://) that points to the host itself."""
    host = urlsplit(port).hostname if "://" in port else None
    return host is not None and (host in ("localhost", "::1") or host.startswith("127."))
