"""Espressif's QEMU as a board: whether it is there, and how pytest-embedded is told to start it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from hotpin_hil.errors import UsageError

PROGRAM = "qemu-system-xtensa"


def check_program(path: str | None) -> None:
    """UsageError if there is no such program. path: what --qemu-prog-path says, if anything."""
    program = path or PROGRAM
    if shutil.which(program) is None:
        where = "as --qemu-prog-path says" if path else "on the path"
        raise UsageError(
            f"there is no {program} {where}",
            "install Espressif's: python $IDF_PATH/tools/idf_tools.py install qemu-xtensa, then "
            ". $IDF_PATH/export.sh",
        )


def prepare(option: Any, folder: Path, worker: str) -> None:
    """Sets pytest-embedded's options: a flash image for each worker, 4 MB of PSRAM, and the harness's reader."""
    from hotpin_hil.link import idf_qemu

    idf_qemu.install()
    option.embedded_services = "idf,qemu"
    if not option.qemu_image_path:
        option.qemu_image_path = str(folder / f"qemu-{worker}.bin")
    option.qemu_extra_args = idf_qemu.extra_arguments(option.qemu_extra_args)
