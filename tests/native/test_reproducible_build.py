"""Checks that the firmware's host build creates identical files in every folder and at any time."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hotpin_hil.boards.build import build_firmware
from hotpin_hil.paths import PROJECT_ROOT

BUILT_FROM = ("firmware", "hotpin_hil")
FILES = (
    "hotpin.elf",
    "hotpin.bin",
    "bootloader/bootloader.bin",
    "partition_table/partition-table.bin",
    "config/sdkconfig.json",
)


def git(*arguments: str) -> str:
    command = ["git", "-C", str(PROJECT_ROOT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def clone(folder: Path) -> None:
    """Clone the checkout, with its uncommitted changes."""
    git("clone", "-q", "--shared", "--no-checkout", ".", str(folder))
    shutil.copy(PROJECT_ROOT / git("rev-parse", "--git-path", "index").strip(), folder / ".git" / "index")
    for name in git("ls-files", "-z", "--cached", "--others", "--exclude-standard", *BUILT_FROM).split("\0"):
        if name and (PROJECT_ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(PROJECT_ROOT / name, folder / name)


def build_elsewhere(root: Path, generator: str) -> Path:
    """Build the firmware of a checkout like `hotpin-hil build`, but in a folder with another name."""
    firmware, folder = root / "firmware", root / "out put"
    defaults = ";".join(str(firmware / f"sdkconfig.{name}") for name in ("defaults", "hil"))
    options = [f"-DPython3_EXECUTABLE={sys.executable}", f"-DSDKCONFIG_DEFAULTS={defaults}"]
    for command in (
        ["cmake", "-S", str(firmware / "native"), "-B", str(folder), "-G", generator, *options],
        ["cmake", "--build", str(folder), "-j", "2"],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    return folder


@pytest.mark.skipif(not (PROJECT_ROOT / ".git").exists(), reason="needs a git checkout, to clone it")
def test_two_clones_of_one_commit_give_the_same_files(tmp_path: Path) -> None:
    first = build_firmware("virtual", others=())
    clone(tmp_path / "the clone")
    cache = (first / "CMakeCache.txt").read_text()
    generator = re.search(r"^CMAKE_GENERATOR:INTERNAL=(.*)$", cache, re.M)
    assert generator is not None
    second = build_elsewhere(tmp_path / "the clone", generator[1])
    hashes = [
        {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in FILES}
        for folder in (first, second)
    ]
    assert hashes[0] == hashes[1]
