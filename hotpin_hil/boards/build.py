"""Builds the firmware for a kind of board: `idf.py` for hardware and QEMU, cmake for the virtual board."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from hotpin_hil.errors import BuildError
from hotpin_hil.paths import FIRMWARE_DIR, IDF_BUILD_DIR, NATIVE_BUILD_DIR, QEMU_BUILD_DIR

HOTPIN_BUILD = {"hardware": "hil", "qemu": "qemu"}
"""The configuration for a kind of board: HOTPIN_BUILD in firmware/CMakeLists.txt."""


def build_dir(kind: str) -> Path:
    """The folder in which the build for boards of `kind` ("hardware", "qemu", "virtual") lies."""
    return {"hardware": IDF_BUILD_DIR, "qemu": QEMU_BUILD_DIR, "virtual": NATIVE_BUILD_DIR}[kind]


def build_firmware(kind: str) -> Path:
    """Builds for boards of `kind` and returns the build folder; BuildError says what the build said."""
    folder = build_dir(kind)
    if kind == "virtual":
        _run(_native_configure(folder), folder)
        _run(["cmake", "--build", str(folder)], folder)
    else:
        _build_with_idf(kind, folder)
    return folder


def _native_configure(folder: Path) -> list[str]:
    command = [
        "cmake",
        "-S",
        str(FIRMWARE_DIR / "native"),
        "-B",
        str(folder),
        f"-DPython3_EXECUTABLE={sys.executable}",
    ]
    if shutil.which("ninja") and not (folder / "Makefile").exists():
        command += ["-G", "Ninja"]
    return command


def _build_with_idf(kind: str, folder: Path) -> None:
    if shutil.which("idf.py") is None:
        if (folder / "flasher_args.json").exists():
            print(f"idf.py is not on the path: using the build that is in {folder}")
            return
        raise BuildError(
            f"no firmware build in {folder}, and idf.py is not on the path",
            "run '. $IDF_PATH/export.sh' of ESP-IDF v5.4 or v5.5 first, or use --board virtual",
        )
    configuration = f"-DHOTPIN_BUILD={HOTPIN_BUILD[kind]}"
    _run(["idf.py", "-C", str(FIRMWARE_DIR), "-B", str(folder), configuration, "build"], folder)


def _run(command: list[str], folder: Path) -> None:
    """Runs a build step, quietly when it works; all that a failed build said is in its log file."""
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if result.returncode == 0:
        return
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "build.log"
    log.write_text(result.stdout)
    tail = "\n".join(result.stdout.splitlines()[-30:])
    raise BuildError(
        f"building the firmware failed:\n{tail}\n'{command[0]}' ended with {result.returncode}",
        f"whole log: {log}",
    )
