"""Finds and runs the toolchain's addr2line."""

from __future__ import annotations

import os
import posixpath
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from hotpin_hil.errors import UsageError
from hotpin_hil.symbols.machine import Machine
from hotpin_hil.symbols.places import DecodedAddress, SourcePlace

TOOL = "addr2line"
PREFIXES = {
    Machine.XTENSA: ("xtensa-esp32-elf-", "xtensa-esp-elf-", "xtensa-esp32s3-elf-", "xtensa-esp32s2-elf-"),
    Machine.RISCV: ("riscv32-esp-elf-",),
    Machine.HOST: ("",),
}
"""Prefixes of the toolchains that read ELF files of each architecture, the most common first."""

TOOLS_PATH = "IDF_TOOLS_PATH"
_TOOLS_DEFAULT = "~/.espressif"
_IN_TOOLS = {
    Machine.XTENSA: (
        "tools/xtensa-esp-elf/*/xtensa-esp-elf/bin",
        "tools/xtensa-esp32-elf/*/xtensa-esp32-elf/bin",
    ),
    Machine.RISCV: ("tools/riscv32-esp-elf/*/riscv32-esp-elf/bin",),
    Machine.HOST: (),
}
"""Folders where idf_tools.py installs the toolchains: ESP-IDF v5.2 and later, older versions."""

TIMEOUT_S = 20.0
"""Time limit of one call; a large ELF takes about 1 s."""
BATCH = 500
"""Maximum number of addresses in one command line."""

_ADDRESS = re.compile(r"0x[0-9a-f]+$")
_PLACE = re.compile(r"(.*):(\d+|\?)(?: \(discriminator \d+\))?$")
_UNKNOWN = "??"


def find_tool(machine: Machine, name: str = TOOL, environment: Mapping[str, str] = os.environ) -> Path | None:
    """Find a tool for an architecture: on the PATH, else the newest in ESP-IDF's tools.

    Args:
        machine: the architecture.
        name: name of the tool, without the toolchain's prefix.
        environment: variables, with PATH and IDF_TOOLS_PATH.

    Returns:
        Its path, None if it is not installed.
    """
    for prefix in PREFIXES[machine]:
        found = shutil.which(prefix + name, path=environment.get("PATH"))
        if found:
            return Path(found)
    tools = Path(environment.get(TOOLS_PATH) or _TOOLS_DEFAULT).expanduser()
    for folder in _IN_TOOLS[machine]:
        for prefix in PREFIXES[machine]:
            installed = sorted(tools.glob(f"{folder}/{prefix}{name}"))
            if installed:
                return installed[-1]
    return None


def named_tool(prefix: str, name: str) -> Path | None:
    """A tool of the toolchain that the user names; None if that toolchain does not have it."""
    found = shutil.which(os.path.expanduser(prefix) + name)
    return Path(found) if found is not None else None


def tool_with_prefix(prefix: str, name: str = TOOL) -> Path:
    """The tool of the toolchain that the user names.

    Args:
        prefix: the start of the toolchain's file names, with or without their folder: "xtensa-esp32-elf-".
        name: name of the tool, without the prefix.

    Raises:
        UsageError: it does not exist.
    """
    found = named_tool(prefix, name)
    if found is None:
        raise UsageError(
            f"--toolchain: {prefix}{name} does not exist or is not on the PATH",
            "give the start of the tools' paths, such as /opt/esp/bin/xtensa-esp32-elf-, or leave the option out",
        )
    return found


class Addr2lineError(Exception):
    """addr2line cannot be started, or cannot read the ELF file."""


def run_addr2line(tool: Path, elf: Path, addresses: Sequence[int]) -> list[DecodedAddress]:
    """Decode addresses.

    Returns:
        One entry per address, in order.

    Raises:
        Addr2lineError: the tool failed, or printed nothing for an address.
    """
    found: dict[int, DecodedAddress] = {}
    for start in range(0, len(addresses), BATCH):
        found |= _run(tool, elf, addresses[start : start + BATCH])
    missing = [address for address in addresses if address not in found]
    if missing:
        raise Addr2lineError(f"{tool.name} printed nothing for 0x{missing[0]:08x}")
    return [found[address] for address in addresses]


def _run(tool: Path, elf: Path, addresses: Sequence[int]) -> dict[int, DecodedAddress]:
    command = [str(tool), "-fiaC", "-e", str(elf), *(f"0x{address:x}" for address in addresses)]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=TIMEOUT_S, check=True
        )
    except subprocess.CalledProcessError as error:
        text = str(error.stderr).strip().partition("\n")[0]
        raise Addr2lineError(text or f"{tool.name} exited with status {error.returncode}") from error
    except (OSError, subprocess.SubprocessError) as error:
        raise Addr2lineError(str(error)) from error
    return parse(done.stdout)


def parse(output: str) -> dict[int, DecodedAddress]:
    """Parse the output of `addr2line -fiaC`: per address its line, then pairs of lines with function and place."""
    found: dict[int, DecodedAddress] = {}
    address = None
    function: str | None = None
    places: list[SourcePlace] = []
    for line in [*output.splitlines(), "0x0"]:
        if function is not None:
            places.append(_place(function, line))
            function = None
        elif _ADDRESS.match(line):
            if address is not None:
                known = tuple(place for place in places if place.function or place.file)
                found[address] = DecodedAddress(address, known)
            address, places = int(line, 16), []
        else:
            function = line
    return found


def _place(function: str, where: str) -> SourcePlace:
    name = "" if function == _UNKNOWN else function
    found = _PLACE.match(where)
    if found is None or found[1] == _UNKNOWN:
        return SourcePlace(name)
    line = int(found[2]) if found[2].isdigit() else 0
    return SourcePlace(name, posixpath.normpath(found[1]), line or None)
