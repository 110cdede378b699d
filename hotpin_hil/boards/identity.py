"""Compares what a board says of itself with the kind of board it was taken for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hotpin_hil.boards.kind import BoardKind
from hotpin_hil.errors import FirmwareError, WrongBoardError

_KIND_OF_BUILD = {"native": BoardKind.VIRTUAL, "qemu": BoardKind.QEMU}
"""`build` in sys.info of firmware that only runs on that kind of board; every other build means hardware."""


def check_identity(
    kind: BoardKind,
    said: Mapping[str, Any],
    mac: str | None = None,
    elf_sha256: str | None = None,
    is_flashed: bool = True,
) -> None:
    """WrongBoardError when evidence would be called something it is not.

    said: the fields of sys.info (PROTOCOL.md §3). mac: the board that was asked for or leased, if it is known.
    elf_sha256: of the firmware under test, if it must be that one. A board that was flashed with it and says
    otherwise lies (FirmwareError); one that was not flashed (is_flashed) just holds another firmware.
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
            "name the board's --port, or leave out --board-mac; in a bench.toml, mend its mac",
        )
    running = str(said.get("elf_sha256", ""))
    if elf_sha256 is not None and running != elf_sha256:
        text = (
            f"the board runs the firmware with ELF {running[:9] or '?'}, not {elf_sha256[:9]} of this build"
        )
        if is_flashed:
            raise FirmwareError(f"{text}, which was flashed", "")
        raise WrongBoardError(text, "have it flashed: leave out --skip-autoflash")


_ARTICLE = {
    BoardKind.HARDWARE: "a hardware board",
    BoardKind.QEMU: "QEMU",
    BoardKind.VIRTUAL: "a virtual board",
}
