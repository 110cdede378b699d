"""Core dumps of ESP-IDF, read by esp-coredump and gdb: the crashed task, and all tasks with their calls."""

from __future__ import annotations

import base64
import importlib.util
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from hotpin_hil.errors import UsageError
from hotpin_hil.protocol.core_dump import find_core_dump
from hotpin_hil.symbols.addr2line import find_tool, named_tool
from hotpin_hil.symbols.firmware_elf import FirmwareElf
from hotpin_hil.symbols.machine import Machine

ESP_COREDUMP = "esp_coredump"
TIMEOUT_S = 120.0
EXTRA = "pip install 'hotpin-hil[decode]'"
_CHIPS = {Machine.XTENSA: "esp32", Machine.RISCV: "esp32c3"}
"""A chip of each architecture, for a dump that does not name its chip; otherwise esp-coredump would look for a
board."""
_GDB = {Machine.XTENSA: "xtensa-esp32-elf-gdb", Machine.RISCV: "riscv32-esp-elf-gdb"}
_REPORT = re.compile(r"=+ ESP32 CORE DUMP START =+\n(.*)\n=+ ESP32 CORE DUMP END =+", re.DOTALL)
_MARK = " CORE DUMP "
_ELF = b"\x7fELF"
_REMEDY = "name a core dump as it is in flash, as ELF, or as printed on the console in base64"


def report_core_dump(core: bytes, elf: FirmwareElf, toolchain: str | None = None) -> str:
    """The report of esp-coredump on a core dump.

    Args:
        core: the core dump as it is in flash, or as ELF.
        elf: the firmware.
        toolchain: prefix of the toolchain's tools, None for the installed one.

    Returns:
        The report, or one line that starts with "not decoded" and gives the reason.
    """
    chip = _CHIPS.get(elf.machine)
    if chip is None:
        return f"not decoded: {elf.path} is for {elf.machine}; esp-coredump reads core dumps of chips"
    if importlib.util.find_spec(ESP_COREDUMP) is None:
        return f"not decoded: esp-coredump is not installed ({EXTRA})"
    gdb = find_tool(elf.machine, "gdb") if toolchain is None else named_tool(toolchain, "gdb")
    if gdb is None:
        return f"not decoded: {_GDB[elf.machine]} is not installed (idf_tools.py install, or name it by --toolchain)"
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "core"
        file.write_bytes(core)
        command = [sys.executable, "-m", ESP_COREDUMP, "--chip", chip, "info_corefile", "--gdb", str(gdb)]
        command += [
            "--core",
            str(file),
            "--core-format",
            "elf" if core.startswith(_ELF) else "raw",
            str(elf.path),
        ]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, errors="replace", timeout=TIMEOUT_S, check=False
            )
        except (OSError, subprocess.SubprocessError) as error:
            return f"not decoded: {error}"
    return _report(done.stdout) or f"not decoded: esp-coredump: {_complaint(done)}"


def _report(output: str) -> str:
    """The report in the output of esp-coredump; empty if the report is incomplete."""
    found = _REPORT.search(output)
    return found[1].strip() if found is not None else ""


def _complaint(done: subprocess.CompletedProcess[str]) -> str:
    said = [line.strip() for line in f"{done.stdout}\n{done.stderr}".splitlines() if line.strip()]
    return said[-1] if said else f"status {done.returncode}"


def decode_base64(lines: Iterable[str]) -> bytes:
    """The core dump that a console printed in base64; each line has its own padding.

    Raises:
        UsageError: a line is not base64.
    """
    try:
        return b"".join(base64.b64decode(line, validate=True) for line in lines)
    except ValueError as error:
        raise UsageError(f"the core dump has a line that is not base64: {error}") from None


def read_core_dump(path: Path) -> bytes:
    """Read a core dump from a file: as it is in flash, as ELF, or as printed on the console, in base64.

    Raises:
        UsageError: the file cannot be read, or is not a core dump.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}") from None
    if not content:
        raise UsageError(f"{path} is empty", _REMEDY)
    if content.startswith(_ELF) or find_core_dump(content) is not None:
        return content
    lines = [line.strip() for line in content.decode("ascii", errors="replace").splitlines()]
    try:
        core = decode_base64(line for line in lines if line and _MARK not in line)
    except UsageError:
        core = b""
    if find_core_dump(core) is None:
        raise UsageError(f"{path} is not a core dump", _REMEDY)
    return core
