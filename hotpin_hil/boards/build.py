"""Builds the firmware for a kind of board, with `idf.py` for hardware and QEMU, with cmake for the virtual board.

Each kind has three builds: one with the test console, for the suite, the release build that ships, and one with the
test console and the allocation profile.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from hotpin_hil.device.images import PROFILE, RELEASE
from hotpin_hil.errors import BuildError
from hotpin_hil.paths import (
    FIRMWARE_DIR,
    IDF_BUILD_DIR,
    IDF_PROFILE_BUILD_DIR,
    IDF_RELEASE_BUILD_DIR,
    NATIVE_BUILD_DIR,
    NATIVE_PROFILE_BUILD_DIR,
    NATIVE_RELEASE_BUILD_DIR,
    QEMU_BUILD_DIR,
    QEMU_PROFILE_BUILD_DIR,
    QEMU_RELEASE_BUILD_DIR,
)

try:
    import fcntl
except ImportError:  # Windows, where no virtual board runs
    fcntl = None  # type: ignore[assignment]

LOCK_NAME = ".hotpin-build.lock"

_HIL_DIRS = {"hardware": IDF_BUILD_DIR, "qemu": QEMU_BUILD_DIR, "virtual": NATIVE_BUILD_DIR}
_RELEASE_DIRS = {
    "hardware": IDF_RELEASE_BUILD_DIR,
    "qemu": QEMU_RELEASE_BUILD_DIR,
    "virtual": NATIVE_RELEASE_BUILD_DIR,
}
_PROFILE_DIRS = {
    "hardware": IDF_PROFILE_BUILD_DIR,
    "qemu": QEMU_PROFILE_BUILD_DIR,
    "virtual": NATIVE_PROFILE_BUILD_DIR,
}
# HOTPIN_BUILD in firmware/CMakeLists.txt.
_HIL_CONFIGURATIONS = {"hardware": "hil", "qemu": "qemu"}
_RELEASE_CONFIGURATIONS = {"hardware": "release", "qemu": "qemu-release"}
_PROFILE_CONFIGURATIONS = {"hardware": "profile", "qemu": "qemu-profile"}
# Files in firmware/ that a build for the virtual board applies after sdkconfig.defaults.
_NATIVE_HIL, _NATIVE_RELEASE = ("sdkconfig.hil",), ("sdkconfig.release",)
_NATIVE_PROFILE = ("sdkconfig.hil", "sdkconfig.profile")


def build_dir(kind: str) -> Path:
    """The build folder for boards of `kind` ("hardware", "qemu", "virtual")."""
    return _HIL_DIRS[kind]


def release_build_dir(kind: str) -> Path:
    """The folder of the release build for boards of `kind`."""
    return _RELEASE_DIRS[kind]


def profile_build_dir(kind: str) -> Path:
    """The folder of the build with the allocation profile for boards of `kind`."""
    return _PROFILE_DIRS[kind]


def build_firmware(kind: str, *, others: Collection[str] = (RELEASE, PROFILE)) -> Path:
    """Build the firmware for boards of `kind`. For hardware and QEMU without idf.py, use an earlier build.

    Args:
        kind: "hardware", "qemu" or "virtual".
        others: images to build besides the image with the test console: RELEASE, PROFILE.

    Returns:
        The folder of the build with the console.

    Raises:
        BuildError: the build failed (the message has the end of its output), its folder cannot be written, or there is
            neither idf.py nor an earlier build.
    """
    if kind == "virtual":
        _build_native(build_dir(kind), _NATIVE_HIL)
        if RELEASE in others:
            _build_native(release_build_dir(kind), _NATIVE_RELEASE)
        if PROFILE in others:
            _build_native(profile_build_dir(kind), _NATIVE_PROFILE)
    elif shutil.which("idf.py"):
        _build_with_idf(build_dir(kind), _HIL_CONFIGURATIONS[kind])
        if RELEASE in others:
            _build_with_idf(release_build_dir(kind), _RELEASE_CONFIGURATIONS[kind])
        if PROFILE in others:
            _build_with_idf(profile_build_dir(kind), _PROFILE_CONFIGURATIONS[kind])
    else:
        _use_existing_build(build_dir(kind))
    return build_dir(kind)


def _build_native(folder: Path, options: Sequence[str]) -> None:
    with _locked(folder):
        _run(_native_configure(folder, options), folder)
        _run(["cmake", "--build", str(folder)], folder)


def _native_configure(folder: Path, options: Sequence[str]) -> list[str]:
    defaults = [FIRMWARE_DIR / name for name in ("sdkconfig.defaults", *options)]
    command = [
        "cmake",
        "-S",
        str(FIRMWARE_DIR / "native"),
        "-B",
        str(folder),
        f"-DPython3_EXECUTABLE={sys.executable}",
        f"-DSDKCONFIG_DEFAULTS={';'.join(map(str, defaults))}",
    ]
    if shutil.which("ninja") and not (folder / "Makefile").exists():
        command += ["-G", "Ninja"]
    return command


def _build_with_idf(folder: Path, configuration: str) -> None:
    choice = f"-DHOTPIN_BUILD={configuration}"
    with _locked(folder):
        _run(["idf.py", "-C", str(FIRMWARE_DIR), "-B", str(folder), choice, "build"], folder)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Let only one process at a time build in a folder; the kernel releases the lock when the process ends.

    Raises:
        BuildError: the user may not write to the folder.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / LOCK_NAME).open("ab")
    except OSError as error:
        raise BuildError(
            f"can't build in {folder}: {error.strerror}",
            "build as the user who owns the checkout, or in your own clone; to only run tests, set HOTPIN_STATE_DIR",
        ) from error
    with file:
        if fcntl is not None:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                print(f"another process is building in {folder}: waiting for it ...", flush=True)
                fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _use_existing_build(folder: Path) -> None:
    """Use an earlier build, because ESP-IDF is missing. Tests that need a release build report a missing one."""
    if not (folder / "flasher_args.json").exists():
        raise BuildError(
            f"no firmware build in {folder}, and idf.py is not on the path",
            "run '. $IDF_PATH/export.sh' of ESP-IDF v5.4 or v5.5 first, or use --board virtual",
        )
    print(f"idf.py is not on the path: using the existing build in {folder}")


def _run(command: list[str], folder: Path) -> None:
    """Run a build step. If it fails, write its output to a log file and raise BuildError with the end of it."""
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if result.returncode == 0:
        return
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "build.log"
    log.write_text(result.stdout)
    tail = "\n".join(result.stdout.splitlines()[-30:])
    raise BuildError(
        f"building the firmware failed:\n{tail}\n'{command[0]}' exited with status {result.returncode}",
        f"see the whole log: {log}",
    )
