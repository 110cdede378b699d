"""Package a host build of the firmware as the flashable files of an IDF build.

    python -m hotpin_hil.virtual.package --elf BUILD/hotpin.elf --sdkconfig BUILD/config/sdkconfig.json \
        --partitions firmware/partitions.csv --project hotpin --version 1.0 --out BUILD

writes the bootloader, partition table and app images, `flasher_args.json`, `flash_args` and
`project_description.json`, and adds the ELF's SHA-256 to the list of ELFs that this checkout's virtual boards
may run.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

from hotpin_hil.errors import BuildError, HilError, UsageError
from hotpin_hil.paths import NATIVE_ELFS_FILE
from hotpin_hil.virtual import image, partition

BOOTLOADER_OFFSET = 0x1000
BOOTLOADER_FILE = "bootloader/bootloader.bin"
TABLE_FILE = "partition_table/partition-table.bin"


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="hotpin_hil.virtual.package", description=__doc__.split("\n")[0])
    parser.add_argument("--elf", type=Path, required=True, help="the host-built firmware")
    parser.add_argument(
        "--program",
        type=Path,
        help="the same firmware without debug information, which is flashed in its place",
    )
    parser.add_argument("--sdkconfig", type=Path, required=True, help="sdkconfig.json of that build")
    parser.add_argument("--partitions", type=Path, required=True, help="partition table, CSV")
    parser.add_argument("--project", required=True, help="project name, also the app image's file name")
    parser.add_argument("--version", required=True, help="version of the app")
    parser.add_argument("--out", type=Path, required=True, help="build directory to fill")
    parser.add_argument("--registry", type=Path, default=NATIVE_ELFS_FILE, help="list of ELFs that may run")
    args = parser.parse_args(argv)
    try:
        package(
            args.elf,
            args.sdkconfig,
            args.partitions,
            project=args.project,
            version=args.version,
            out=args.out,
            program_file=args.program,
            registry=args.registry,
        )
    except HilError as error:
        print(f"package: {error}", file=sys.stderr)
        return 1
    return 0


def package(
    elf_file: Path,
    sdkconfig_file: Path,
    partitions_file: Path,
    *,
    project: str,
    version: str,
    out: Path,
    program_file: Path | None = None,
    registry: Path = NATIVE_ELFS_FILE,
) -> None:
    """Write everything into `out` and register the ELF and the program. Raises BuildError or UsageError.

    Args:
        elf_file: the host-built firmware; its hash identifies the app.
        sdkconfig_file: `sdkconfig.json` of that build.
        partitions_file: partition table, CSV.
        project: project name, also the app image's file name.
        version: version of the app.
        out: build directory.
        program_file: the ELF without debug information, which is flashed in its place to save time.
        registry: list of the ELFs and programs that may run.
    """
    digest = hashlib.sha256(_read(elf_file)).hexdigest()
    program = _read(program_file or elf_file)
    sdkconfig = _read_json(sdkconfig_file)
    partitions = partition.parse_csv(_read(partitions_file).decode(), partitions_file.name)
    settings = image.FlashSettings(
        sdkconfig.get("ESPTOOLPY_FLASHMODE", "dio"),
        sdkconfig.get("ESPTOOLPY_FLASHSIZE", "4MB"),
        sdkconfig.get("ESPTOOLPY_FLASHFREQ", "40m"),
    )
    info = image.BuildInfo(project, version)
    app = image.pack_app(program, info, settings, elf_sha256=digest)
    app_partition = _app_partition(partitions, partitions_file.name)
    if len(app) > app_partition.size:
        raise BuildError(
            f"the app image is {len(app)} bytes long, but partition {app_partition.name!r} only {app_partition.size}",
            f"enlarge it in {partitions_file.name}",
        )
    flash_bytes = int(settings.size.removesuffix("MB")) * 0x100000
    if partition.flash_needed(partitions) > flash_bytes:
        raise UsageError(
            f"{partitions_file.name} needs {partition.flash_needed(partitions)} bytes of flash, "
            f"but there are {flash_bytes}",
            "shrink a partition",
        )
    app_file = f"{project}.bin"
    _write(out / BOOTLOADER_FILE, image.pack_bootloader(info, settings))
    _write(out / TABLE_FILE, partition.to_binary(partitions))
    _write(out / app_file, app)
    arguments = flasher_args(settings, app_file, app_partition.offset)
    _write_json(out / "flasher_args.json", arguments)
    _write(out / "flash_args", flash_args(arguments).encode())
    description = {
        "version": "1.2",
        "project_name": project,
        "project_version": version,
        "target": "esp32",
        "idf_version": image.HOST_IDF_VERSION,
        "build": image.HOST_IDF_VERSION,
        "app_elf": elf_file.name,
        "app_bin": app_file,
        "app_elf_sha256": digest,
        # `idf.py monitor` reads these.
        "monitor_baud": "115200",
        "monitor_toolprefix": "",
        "config_file": str(sdkconfig_file),
    }
    _write_json(out / "project_description.json", description)
    for sha256 in (digest, hashlib.sha256(program).hexdigest()):
        register_elf(sha256, registry)


def flasher_args(settings: image.FlashSettings, app_file: str, app_offset: int) -> dict[str, Any]:
    """`flasher_args.json` with the keys `idf.py build` writes."""
    parts = {
        "bootloader": (BOOTLOADER_OFFSET, BOOTLOADER_FILE),
        "app": (app_offset, app_file),
        "partition-table": (partition.TABLE_OFFSET, TABLE_FILE),
    }
    return {
        "write_flash_args": [
            *("--flash_mode", settings.mode),
            *("--flash_size", settings.size),
            *("--flash_freq", settings.speed),
        ],
        "flash_settings": {
            "flash_mode": settings.mode,
            "flash_size": settings.size,
            "flash_freq": settings.speed,
        },
        "flash_files": {f"{offset:#x}": file for offset, file in parts.values()},
        **{
            name: {"offset": f"{offset:#x}", "file": file, "encrypted": "false"}
            for name, (offset, file) in parts.items()
        },
        "extra_esptool_args": {
            "after": "hard_reset",
            "before": "default_reset",
            "stub": True,
            "chip": "esp32",
        },
    }


def flash_args(arguments: dict[str, Any]) -> str:
    """`flash_args` as `idf.py build` writes it, for `esptool write-flash @flash_args`, from `flasher_args.json`."""
    files = [f"{offset} {file}" for offset, file in arguments["flash_files"].items()]
    return "\n".join([" ".join(arguments["write_flash_args"]), *files]) + "\n"


def register_elf(sha256: str, registry: Path = NATIVE_ELFS_FILE) -> None:
    """Record that this checkout built the ELF with this hash; safe with concurrent builds."""
    registry.parent.mkdir(parents=True, exist_ok=True)
    with open(registry, "a+", encoding="ascii") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        if sha256 not in file.read().split():
            file.write(f"{sha256}\n")


def is_registered(sha256: str, registry: Path = NATIVE_ELFS_FILE) -> bool:
    """Whether this checkout has built the ELF with this hash."""
    try:
        return sha256 in registry.read_text(encoding="ascii").split()
    except FileNotFoundError:
        return False


def _app_partition(partitions: list[partition.Partition], source: str) -> partition.Partition:
    apps = [p for p in partitions if p.type == partition.APP]
    if not apps:
        raise UsageError(f"{source} has no app partition", "add one of type app, subtype factory")
    return min(apps, key=lambda p: p.subtype)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BuildError(f"can't read {path}: {error.strerror}", "run make native first") from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(_read(path))
    except ValueError as error:
        raise BuildError(f"{path} is not JSON: {error}", "run make native again") from error
    if not isinstance(content, dict):
        raise BuildError(f"{path} is not a JSON object", "run make native again")
    return content


def _write(path: Path, data: bytes) -> None:
    """Replace a file atomically; a file that already has this content keeps its timestamp."""
    try:
        if path.exists() and path.read_bytes() == data:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
        temporary.write_bytes(data)
        temporary.replace(path)
    except OSError as error:
        raise BuildError(f"can't write {path}: {error.strerror}", "check the build directory") from error


def _write_json(path: Path, content: dict[str, Any]) -> None:
    _write(path, (json.dumps(content, indent=4) + "\n").encode())


if __name__ == "__main__":
    sys.exit(main())
