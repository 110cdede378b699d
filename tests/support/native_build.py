"""Builds the test programs of the firmware's host build incrementally."""

from __future__ import annotations

import fcntl
import subprocess
import sys
from pathlib import Path

from hotpin_hil.paths import BUILD_DIR, FIRMWARE_DIR

NATIVE = FIRMWARE_DIR / "native"


def build_native(folder: str, target: str, *options: str) -> Path:
    """Builds the program `target` in build/`folder` with these cmake options; returns its path."""
    directory = BUILD_DIR / folder
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        python = f"-DPython3_EXECUTABLE={sys.executable}"
        configure = ["cmake", "-S", str(NATIVE), "-B", str(directory), python, *options]
        make = ["cmake", "--build", str(directory), "--target", target, "-j", "2"]
        for command in (configure, make):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    return directory / target
