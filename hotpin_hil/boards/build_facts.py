"""Facts about a firmware build that its app descriptor does not have: compiler and configuration."""

from __future__ import annotations

import json
from pathlib import Path

from hotpin_hil.boards.artifacts import FirmwareBuild

DESCRIPTION_FILE = "project_description.json"
"""File that describes a build; both ESP-IDF's build and the host build write it."""


def compiler_of(build: FirmwareBuild) -> str:
    """The compilers that the ELF file names in its section `.comment`; empty if it names none or cannot be read."""
    from elftools.common.exceptions import ELFError
    from elftools.elf.elffile import ELFFile

    try:
        with build.elf_file.open("rb") as file:
            section = ELFFile(file).get_section_by_name(".comment")
            content: bytes = section.data() if section else b""
    except (OSError, ELFError):
        return ""
    names = (name.decode("utf-8", "replace").strip() for name in content.split(b"\0"))
    return ", ".join(dict.fromkeys(filter(None, names)))


def sdkconfig_of(build: FirmwareBuild) -> Path | None:
    """Path of the build's sdkconfig; None if the build does not name one, or if it does not exist."""
    try:
        description = json.loads((build.folder / DESCRIPTION_FILE).read_text(encoding="utf-8"))
        path = build.folder / str(description["config_file"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return path if path.is_file() else None
