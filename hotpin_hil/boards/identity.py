"""Checks the identities that boards report against the requested board, and stores them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hotpin_hil.boards.kind import BoardKind
from hotpin_hil.boards.origin import Origin, reported_origin
from hotpin_hil.errors import FirmwareError, WrongBoardError

_KIND_OF_BUILD = {"native": BoardKind.VIRTUAL, "qemu": BoardKind.QEMU}
"""Value of `build` in sys.info -> the kind of board that the firmware is built for; any other value means hardware."""

_ARTICLE = {
    BoardKind.HARDWARE: "a hardware board",
    BoardKind.QEMU: "QEMU",
    BoardKind.VIRTUAL: "a virtual board",
}


def check_identity(
    kind: BoardKind,
    info: Mapping[str, Any],
    mac: str | None = None,
    elf_sha256: str | None = None,
    is_flashed: bool = True,
    *,
    origin: Origin | None,
) -> None:
    """Check that a board is the board that the evidence will name.

    Args:
        kind: the kind of board that was chosen.
        info: the fields of sys.info (`protocol.answers.BoardInfo`).
        mac: MAC of the named or leased board, if known.
        elf_sha256: SHA-256 of the firmware's ELF file, if the board must run that firmware.
        is_flashed: whether the harness flashed it.
        origin: the commits of the firmware under test; None if its build cannot be read.

    Raises:
        WrongBoardError: another kind of board, another board, a board that was not flashed, firmware of another
            commit, or firmware that does not report its build.
        FirmwareError: the board was flashed but reports other firmware.
    """
    build = info.get("build")
    if not isinstance(build, str):
        raise WrongBoardError("the board does not report its build", "flash firmware of this checkout")
    actual = _KIND_OF_BUILD.get(build, BoardKind.HARDWARE)
    if actual is not kind:
        raise WrongBoardError(
            f"the board is running the build {build!r}, which makes it {_ARTICLE[actual]}, not {_ARTICLE[kind]}",
            f"run with --board {actual}",
        )
    if mac is not None and str(info.get("mac", "")).lower() != mac.lower():
        raise WrongBoardError(
            f"the board's MAC is {info.get('mac')}, not {mac}",
            "name the board's --port, or leave out --board-mac; in a bench.toml, correct its mac",
        )
    reported = reported_origin(info)
    if origin is not None and (reported.commit, reported.dirty) != (origin.commit, origin.dirty):
        raise WrongBoardError(
            f"the board reports firmware built from {reported}, but the flashed image was built from {origin}",
            "build and flash again; with --skip-autoflash, flash the build under test",
        )
    running = str(info.get("elf_sha256", ""))
    if elf_sha256 is not None and running != elf_sha256:
        text = f"the board is running the firmware with ELF {running[:9] or '?'}, not this build's {elf_sha256[:9]}"
        if is_flashed:
            raise FirmwareError(f"{text}, although the harness flashed this build", "")
        raise WrongBoardError(text, "let the harness flash it: leave out --skip-autoflash")


_LASTING = (
    "mac",
    "chip",
    "rev",
    "psram",
    "flash",
    "build",
    "idf",
    "project",
    "version",
    "elf_sha256",
    "commit",
    "dirty",
)
"""The fields of sys.info that stay the same from boot to boot."""


class Identities:
    """The identities that boards of this process have reported."""

    def __init__(self) -> None:
        self._known: list[dict[str, Any]] = []
        self.mac: str | None = None
        """The newest MAC."""

    def add(self, info: Mapping[str, Any], image: str) -> dict[str, Any] | None:
        """Store an identity.

        Args:
            info: the fields of sys.info.
            image: the image that the board is running.

        Returns:
            The fields that stay the same from boot to boot, and `image`; None if they are already known.
        """
        self.mac = info.get("mac", self.mac)
        identity = {name: info[name] for name in _LASTING if info.get(name, "") != ""} | {"image": image}
        if identity in self._known:
            return None
        self._known.append(identity)
        return identity
