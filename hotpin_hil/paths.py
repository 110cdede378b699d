"""Paths in a checkout; the only module that knows the layout."""

from __future__ import annotations

from pathlib import Path

PROJECT_ROOT = Path(__file__).resolve().parent.parent
FIRMWARE_DIR = PROJECT_ROOT / "firmware"
IDF_BUILD_DIR = FIRMWARE_DIR / "build"
QEMU_BUILD_DIR = FIRMWARE_DIR / "build-qemu"
NATIVE_BUILD_DIR = FIRMWARE_DIR / "build-native"
IDF_RELEASE_BUILD_DIR = FIRMWARE_DIR / "build-release"
QEMU_RELEASE_BUILD_DIR = FIRMWARE_DIR / "build-qemu-release"
NATIVE_RELEASE_BUILD_DIR = FIRMWARE_DIR / "build-native-release"
BUILD_DIR = PROJECT_ROOT / "build"
RUNS_DIR = Path("build", "qualification")
"""Folder of all runs of the suite, relative to a checkout; each run has a folder of its own in it."""
REQUIREMENTS_FILE = PROJECT_ROOT / "hil_tests" / "requirements.toml"
NATIVE_ELFS_FILE = BUILD_DIR / "native-elfs.txt"
"""SHA-256 (hex, one per line) of the host-built firmware ELFs of this checkout; a virtual board only runs these."""
