"""Decodes the backtraces of a failed test's panics, reads the core dump, and stores both with the results."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from hotpin_hil.errors import HilError, UsageError
from hotpin_hil.evidence.lines import CoreDumpFile, PanicLog, ResultsLine
from hotpin_hil.link.channel import Channel
from hotpin_hil.link.emulator_start import known_defect
from hotpin_hil.link.line import line_of
from hotpin_hil.printable import printable
from hotpin_hil.protocol.core_dump import find_core_dump, find_partition
from hotpin_hil.protocol.panic import Panic, find_panics
from hotpin_hil.symbols.decoder import AddressDecoder
from hotpin_hil.symbols.esp_coredump import report_core_dump
from hotpin_hil.symbols.firmware_elf import read_elf

FOLDER = "panics"
PANICS_MAX = 3
"""Maximum number of panics kept; a boot loop repeats the same panic."""


def keep_panics(
    test: str,
    board: str | None,
    channel: Channel,
    dut: Any,
    *,
    folder: Path,
    take: Callable[[ResultsLine], None],
) -> list[str]:
    """Record the panics of a failed test.

    Args:
        test: node id.
        board: MAC.
        channel: the console of the test.
        dut: the test's `dut`.
        folder: the run's output folder.
        take: receives the lines for the results file.

    Returns:
        A readable text for each panic.
    """
    panics = find_panics(channel.text())[:PANICS_MAX]
    newest = max((number for number, panic in enumerate(panics, start=1) if panic.dump_saved), default=0)
    texts = []
    for number, panic in enumerate(panics, start=1):
        name = f"{re.sub(r'[^A-Za-z0-9_.-]+', '-', test.rpartition('/')[2])}-{number}"
        calls, remark = _calls(panic, dut)
        dump = _core_dump(dut, folder, name) if number == newest else None
        text = _text(panic, channel, calls, remark, dump, is_emulated=hasattr(line_of(dut), "faults"))
        path = folder / FOLDER / f"{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        take(
            PanicLog(
                test,
                board,
                file=path.relative_to(folder).as_posix(),
                headline=panic.headline,
                cause=panic.cause,
                core=panic.core,
                details=panic.details,
                backtrace=tuple(str(frame) for frame in panic.backtrace),
                calls=tuple(calls),
                is_host=panic.is_host,
                text=text,
                core_dump=dump,
            )
        )
        texts.append(text)
    return texts


def _calls(panic: Panic, dut: Any) -> tuple[list[str], str]:
    """The decoded backtrace, or the reason why it is not decoded."""
    elf = getattr(getattr(dut, "app", None), "elf_file", None)
    if not panic.backtrace:
        return [], "there is no backtrace"
    if not elf or not Path(elf).is_file():
        return [], "the build has no ELF file"
    try:
        firmware = read_elf(Path(elf))
    except UsageError as error:
        return [], f"not decoded: {error}"
    if panic.elf_sha256 and not firmware.matches(panic.elf_sha256):
        return [], f"the build's ELF file does not match the firmware that panicked ({panic.elf_sha256})"
    return [str(call) for call in AddressDecoder(firmware).decode(frame.pc for frame in panic.backtrace)], ""


def _text(
    panic: Panic,
    channel: Channel,
    calls: list[str],
    remark: str,
    dump: CoreDumpFile | None,
    *,
    is_emulated: bool,
) -> str:
    output = channel.text()[panic.offset : panic.end].decode("utf-8", errors="replace").replace("\r\n", "\n")
    parts = [printable(output).rstrip()]
    if panic.is_host:
        parts.append("(registers and stack pointers are the host's, not an ESP32's)")
    defect = known_defect(output) if is_emulated else ""
    if defect:
        parts.append(
            f"(a known defect of QEMU can also cause this: {defect}. Run the test again; if the panic recurs, use "
            "the single-core build)"
        )
    parts.append("\n".join(["backtrace, innermost call first:", *calls]) if calls else f"backtrace: {remark}")
    if dump is not None:
        sound = {True: "correct", False: "WRONG", None: "not checked"}[dump.sound]
        parts.append(f"core dump: {dump.file}, {dump.size} bytes, checksum {sound}\n{dump.text}".rstrip())
    return "\n\n".join(parts) + "\n"


def _core_dump(dut: Any, folder: Path, name: str) -> CoreDumpFile | None:
    """Read the core dump partition, which resets the board; None if there is no core dump."""
    serial = line_of(dut)
    app: Any = getattr(dut, "app", None)
    table = getattr(app, "flash_args", {}).get("partition-table", {}).get("file")
    if table is None or not hasattr(serial, "read_flash"):
        return None
    place = find_partition((Path(app.binary_path) / table).read_bytes())
    if place is None:
        return None
    path = folder / FOLDER / f"{name}.core-dump.bin"
    path.parent.mkdir(parents=True, exist_ok=True)
    with suppress(HilError):  # the test has already failed
        serial.read_flash(*place, path)
        dump = find_core_dump(path.read_bytes())
        if dump is not None:
            path.write_bytes(dump.content)
            return CoreDumpFile(
                file=path.relative_to(folder).as_posix(),
                size=len(dump.content),
                sha256=hashlib.sha256(dump.content).hexdigest(),
                sound=dump.is_sound,
                text=_decode_dump(dump.content, app.elf_file),
            )
    path.unlink(missing_ok=True)
    return None


def _decode_dump(content: bytes, elf: str | None) -> str:
    """The output of esp-coredump, or the reason why there is none."""
    try:
        return printable(report_core_dump(content, read_elf(Path(str(elf)))))
    except UsageError as error:
        return f"not decoded: {error}"
