"""Decodes the addresses of a backtrace to function, file and line, with the toolchain's addr2line."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

XTENSA_TOOL = "xtensa-esp32-elf-addr2line"
HOST_TOOL = "addr2line"
"""The tool for firmware built for the host, whose code addresses are offsets into the ELF."""

TOOLS_PATH = "IDF_TOOLS_PATH"
_TOOLS_DEFAULT = "~/.espressif"
_IN_TOOLS = ("tools/xtensa-esp-elf/*/xtensa-esp-elf/bin", "tools/xtensa-esp32-elf/*/xtensa-esp32-elf/bin")
"""Where idf_tools.py puts the toolchain: IDF v5.2 and later, older versions."""

TIMEOUT_S = 20.0
"""A large ELF takes about 1 s."""

_ADDRESS = re.compile(r"(0x[0-9a-f]+): ")


def find_tool(is_host: bool, environment: Mapping[str, str] = os.environ) -> Path | None:
    """Find the addr2line for a backtrace: on the PATH, else the newest in ESP-IDF's tools.

    Args:
        is_host: whether the firmware was built for the host.
        environment: with PATH and IDF_TOOLS_PATH.

    Returns:
        Its path, None if it is not installed.
    """
    name = HOST_TOOL if is_host else XTENSA_TOOL
    found = shutil.which(name, path=environment.get("PATH"))
    if found or is_host:
        return Path(found) if found else None
    tools = Path(environment.get(TOOLS_PATH) or _TOOLS_DEFAULT).expanduser()
    installed = [path for folder in _IN_TOOLS for path in sorted(tools.glob(f"{folder}/{name}"))]
    return installed[-1] if installed else None


def decode(tool: Path, elf: Path, addresses: Sequence[int]) -> list[str]:
    """Decode addresses.

    Returns:
        One text per address, in order: `0x400d1234: app_main at main.c:12`, with inlined functions on further lines.
        Empty if the tool fails.
    """
    if not addresses:
        return []
    command = [str(tool), "-pfiaC", "-e", str(elf), *(f"0x{address:08x}" for address in addresses)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    calls: list[str] = []
    for line in done.stdout.splitlines():
        if found := _ADDRESS.match(line):
            calls.append(f"0x{int(found[1], 16):08x}: {line[found.end() :].strip()}")
        elif calls and line.strip():
            calls[-1] += f"\n{line.rstrip()}"
    return calls
