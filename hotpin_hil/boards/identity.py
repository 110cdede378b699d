"""Compares what a board says of itself with the kind of board it was taken for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hotpin_hil.boards.kind import BoardKind
from hotpin_hil.errors import WrongBoardError

_KIND_OF_BUILD = {"native": BoardKind.VIRTUAL, "qemu": BoardKind.QEMU}
"""`build` in sys.info of firmware that only runs on that kind of board; every other build means hardware."""


def check_identity(kind: BoardKind, said: Mapping[str, Any], mac: str | None = None) -> None:
    """WrongBoardError when evidence would be called something it is not.

    said: the fields of sys.info (PROTOCOL.md §3). mac: the board that was asked for (--board-mac), if any.
    """
    build = said.get("build")
    if not isinstance(build, str):
        raise WrongBoardError("the board does not say which build it runs", "flash firmware of this checkout")
    actual = _KIND_OF_BUILD.get(build, BoardKind.HARDWARE)
    if actual is not kind:
        raise WrongBoardError(
            f"the board runs the build {build!r}, which makes it {_ARTICLE[actual]}, not {_ARTICLE[kind]}",
            f"run with --board {actual}",
        )
    if mac is not None and str(said.get("mac", "")).lower() != mac.lower():
        raise WrongBoardError(
            f"the board's MAC is {said.get('mac')}, not {mac}",
            "name the board's --port, or leave out --board-mac",
        )


_ARTICLE = {
    BoardKind.HARDWARE: "a hardware board",
    BoardKind.QEMU: "QEMU",
    BoardKind.VIRTUAL: "a virtual board",
}
