"""Paths in a checkout. No other module contains the layout of the checkout."""

from __future__ import annotations

import os
from pathlib import Path

PROJECT_ROOT = Path(__file__).resolve().parent.parent
FIRMWARE_DIR = PROJECT_ROOT / "firmware"
IDF_BUILD_DIR = FIRMWARE_DIR / "build"
QEMU_BUILD_DIR = FIRMWARE_DIR / "build-qemu"
NATIVE_BUILD_DIR = FIRMWARE_DIR / "build-native"
IDF_RELEASE_BUILD_DIR = FIRMWARE_DIR / "build-release"
QEMU_RELEASE_BUILD_DIR = FIRMWARE_DIR / "build-qemu-release"
NATIVE_RELEASE_BUILD_DIR = FIRMWARE_DIR / "build-native-release"
IDF_PROFILE_BUILD_DIR = FIRMWARE_DIR / "build-profile"
QEMU_PROFILE_BUILD_DIR = FIRMWARE_DIR / "build-qemu-profile"
NATIVE_PROFILE_BUILD_DIR = FIRMWARE_DIR / "build-native-profile"
BUILD_DIR = PROJECT_ROOT / "build"
LABGRID_ENV_DIR = PROJECT_ROOT / ".venv-labgrid"
"""Environment of labgrid's programs, made by `make labgrid`."""
ENV_STATE_DIR = "HOTPIN_STATE_DIR"
"""Environment variable with the folder for runs and virtual boards, instead of a checkout's build/."""
RUNS_NAME = "qualification"
RUNS_DIR = Path("build", RUNS_NAME)
"""Folder of all runs of the suite, relative to a checkout; each run has its own folder in it."""
REQUIREMENTS_FILE = PROJECT_ROOT / "hil_tests" / "requirements.toml"
NATIVE_ELFS_FILE = BUILD_DIR / "native-elfs.txt"
"""SHA-256 (hex, one per line) of the host-built firmware ELFs of this checkout; a virtual board only runs these."""


def state_dir() -> Path | None:
    """The folder that the user chose for runs and virtual boards; None for a checkout's build/."""
    given = os.environ.get(ENV_STATE_DIR)
    return Path(given).absolute() if given else None


def runs_dir() -> Path:
    """Folder of all runs of the suite, as a path relative to a checkout or as the user's path."""
    given = state_dir()
    return given / RUNS_NAME if given else RUNS_DIR
