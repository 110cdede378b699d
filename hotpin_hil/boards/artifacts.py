"""Reads and checks firmware builds, before a board is touched."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hotpin_hil.boards.kind import BoardKind
from hotpin_hil.boards.origin import UNKNOWN_ORIGIN, Origin, find_origin
from hotpin_hil.errors import BuildError

CHIP = "esp32"
ESP32_CHIP_ID = 0
"""`chip_id` in the header of an app image: esp_chip_id_t in ESP-IDF's esp_app_format.h."""
NATIVE_IDF_VERSION = "native"
"""`idf_ver` in the app descriptor of a build for the virtual board."""

APP_DESCRIPTOR_OFFSET = 0x20
"""Offset of the descriptor in an app image, after the headers of the image and of its first segment."""
APP_DESCRIPTOR_SIZE = 256
_APP_DESCRIPTOR_MAGIC = (0xABCD5432).to_bytes(4, "little")
# Offset and length in esp_app_desc_t: ESP-IDF, esp_app_desc.h.
_APP_DESCRIPTOR_TEXTS = {"version": (16, 32), "project": (48, 32), "idf": (112, 32)}
_APP_DESCRIPTOR_SHA256 = (144, 32)
_PARTITION_TABLE_MAGIC = b"\xaa\x50"


@dataclass(frozen=True)
class AppDescriptor:
    """The app descriptor in an image (esp_app_desc_t)."""

    project: str
    version: str
    idf: str
    elf_sha256: str

    def as_json(self) -> dict[str, Any]:
        """The descriptor as in the results file."""
        return {
            "project": self.project,
            "version": self.version,
            "idf": self.idf,
            "elf_sha256": self.elf_sha256,
        }


@dataclass(frozen=True)
class FirmwareBuild(AppDescriptor):
    """A firmware build ready to flash, with its app descriptor."""

    folder: Path
    flash_files: tuple[tuple[int, Path], ...] = ()
    """Flash offset and file of each part."""
    origin: Origin = UNKNOWN_ORIGIN
    """Commits of the sources of the build."""

    @property
    def app_file(self) -> Path:
        """The app image. ESP-IDF names it, the ELF file and the linker's map file after the project."""
        return self.folder / f"{self.project}.bin"

    @property
    def elf_file(self) -> Path:
        """The ELF file."""
        return self.folder / f"{self.project}.elf"

    @property
    def map_file(self) -> Path:
        """The linker's map file; a build for the virtual board has none."""
        return self.folder / f"{self.project}.map"


def parse_app_descriptor(content: bytes) -> AppDescriptor:
    """Parse an esp_app_desc_t.

    Raises:
        BuildError: `content` does not start with an app descriptor.
    """
    if not content.startswith(_APP_DESCRIPTOR_MAGIC):
        raise BuildError("no app descriptor", "")

    def field(offset: int, length: int) -> bytes:
        return content[offset : offset + length]

    texts = {
        name: field(*place).split(b"\0")[0].decode("ascii", "replace")
        for name, place in _APP_DESCRIPTOR_TEXTS.items()
    }
    return AppDescriptor(elf_sha256=field(*_APP_DESCRIPTOR_SHA256).hex(), **texts)


def how_to_build(kind: BoardKind) -> str:
    """The remedy for a missing or wrong build."""
    if kind is BoardKind.VIRTUAL:
        return "build it: make native"
    return f"build it: hotpin-hil build --board {kind}, with ESP-IDF's export.sh sourced"


def read_build(folder: Path, kind: BoardKind, target: str | None = None) -> FirmwareBuild:
    """Read and check the build in `folder`.

    Args:
        folder: the build folder.
        kind: the kind of board that the build is for.
        target: the chip that the user named (--target), if any.

    Raises:
        BuildError: the build is missing, damaged, or for another board.
    """
    remedy = how_to_build(kind)
    arguments = _flasher_args(folder, remedy)
    chip = arguments["extra_esptool_args"].get("chip", CHIP)
    if chip != CHIP:
        raise BuildError(f"the firmware build in {folder} is for {chip}, this harness is for {CHIP}", remedy)
    if target is not None and target != chip:
        raise BuildError(
            f"the firmware build in {folder} is for {chip}, not for --target {target}", "use --target esp32"
        )
    try:
        files = {int(offset, 0): folder / name for offset, name in arguments["flash_files"].items()}
        app = folder / arguments["app"]["file"]
        boot_loader = folder / arguments["bootloader"]["file"]
        table = folder / arguments["partition-table"]["file"]
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise BuildError(
            f"{folder / 'flasher_args.json'} does not name the files to flash: {error}", remedy
        ) from error
    for file in (*files.values(), boot_loader, table, app):
        if not file.is_file():
            raise BuildError(f"the firmware build has no {file}", remedy)
    _check_image(boot_loader, remedy)
    _check_image(app, remedy)
    if not table.read_bytes().startswith(_PARTITION_TABLE_MAGIC):
        raise BuildError(f"{table} is not a partition table: it is damaged", remedy)
    build = FirmwareBuild(
        folder=folder,
        flash_files=tuple(sorted(files.items())),
        origin=find_origin(app.read_bytes()),
        **asdict(_describe(app, remedy)),
    )
    _check_kind(build, kind)
    return build


def check_registered(build: FirmwareBuild) -> None:
    """Check that the virtual board would run this build; it refuses programs built by other checkouts.

    Raises:
        BuildError: another checkout built it.
    """
    from hotpin_hil.virtual.package import is_registered  # importable only where the virtual board runs

    if not is_registered(build.elf_sha256):
        raise BuildError(
            f"the firmware in {build.folder} was not built by this checkout, so the virtual board will not run it",
            how_to_build(BoardKind.VIRTUAL),
        )


def _flasher_args(folder: Path, remedy: str) -> dict[str, Any]:
    path = folder / "flasher_args.json"
    if not path.is_file():
        raise BuildError(f"there is no firmware build in {folder}", remedy)
    try:
        arguments = json.loads(path.read_text())
    except ValueError as error:
        raise BuildError(f"{path} is damaged: {error}", remedy) from error
    if not isinstance(arguments, dict):
        raise BuildError(f"{path} is damaged: it is not a JSON object", remedy)
    if not isinstance(arguments.setdefault("extra_esptool_args", {}), dict):
        raise BuildError(f"{path} is damaged: extra_esptool_args is not a JSON object", remedy)
    return arguments


def _check_image(path: Path, remedy: str) -> None:
    """Raise BuildError unless `path` is a complete image for this chip with a valid checksum and SHA-256."""
    from esptool.bin_image import LoadFirmwareImage

    try:
        image = LoadFirmwareImage(CHIP, path.read_bytes())
    except Exception as error:  # a damaged image: FatalError, struct.error, …
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BuildError(f"{path} is not a firmware image: {reason}", remedy) from error
    if image.chip_id != ESP32_CHIP_ID:
        raise BuildError(
            f"{path} is for another chip (chip id {image.chip_id}, {CHIP} is {ESP32_CHIP_ID})", remedy
        )
    if image.checksum != image.calculate_checksum():
        raise BuildError(f"{path} is damaged: its checksum does not match", remedy)
    if image.append_digest and image.stored_digest != image.calc_digest:
        raise BuildError(f"{path} is damaged: its SHA-256 does not match", remedy)


def _describe(app: Path, remedy: str) -> AppDescriptor:
    try:
        return parse_app_descriptor(app.read_bytes()[APP_DESCRIPTOR_OFFSET:])
    except BuildError as error:
        raise BuildError(f"{app} is a firmware image but not an ESP-IDF application", remedy) from error


def _check_kind(build: FirmwareBuild, kind: BoardKind) -> None:
    native = build.idf == NATIVE_IDF_VERSION
    if native and kind is not BoardKind.VIRTUAL:
        raise BuildError(
            f"{build.folder} is a build for the virtual board, not for {kind}", how_to_build(kind)
        )
    if not native and kind is BoardKind.VIRTUAL:
        raise BuildError(
            f"{build.folder} is a build for the ESP32 (ESP-IDF {build.idf}), not for the virtual board",
            how_to_build(kind),
        )
