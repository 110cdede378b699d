"""Identities that boards report: checked against the board that was asked for, and kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hotpin_hil.boards.kind import BoardKind
from hotpin_hil.errors import FirmwareError, WrongBoardError

_KIND_OF_BUILD = {"native": BoardKind.VIRTUAL, "qemu": BoardKind.QEMU}
"""`build` in sys.info of firmware that only runs on that kind of board; every other build means hardware."""

_ARTICLE = {
    BoardKind.HARDWARE: "a hardware board",
    BoardKind.QEMU: "QEMU",
    BoardKind.VIRTUAL: "a virtual board",
}


def check_identity(
    kind: BoardKind,
    said: Mapping[str, Any],
    mac: str | None = None,
    elf_sha256: str | None = None,
    is_flashed: bool = True,
) -> None:
    """Checks that a board is what its evidence will be called.

    Args:
        kind: the kind of board that was chosen.
        said: the fields of sys.info (PROTOCOL.md §3).
        mac: the board that was named or leased, if its MAC is known.
        elf_sha256: ELF file of the firmware under test, if the board must run that one.
        is_flashed: whether the board was flashed with it.

    Raises:
        WrongBoardError: it is another kind of board, another board, or one that was not flashed.
        FirmwareError: it was flashed and reports another firmware.
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


_LASTING = ("mac", "chip", "rev", "psram", "flash", "build", "idf", "project", "version", "elf_sha256")
"""The fields of sys.info that stay the same from boot to boot."""


class Identities:
    """The identities that boards of this process have reported."""

    def __init__(self) -> None:
        """Nothing has been reported yet."""
        self._known: list[dict[str, Any]] = []
        self.mac: str | None = None
        """The newest MAC."""

    def add(self, said: Mapping[str, Any], image: str) -> dict[str, Any] | None:
        """Keeps an identity.

        Args:
            said: the fields of sys.info.
            image: the image that the board runs.

        Returns:
            The fields that stay the same from boot to boot, and `image`; None if they are known already.
        """
        self.mac = said.get("mac", self.mac)
        identity = {name: said[name] for name in _LASTING if name in said} | {"image": image}
        if identity in self._known:
            return None
        self._known.append(identity)
        return identity
