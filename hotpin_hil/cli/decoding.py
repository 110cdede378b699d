"""Options of commands that decode code addresses with ELF files."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hotpin_hil.errors import UsageError
from hotpin_hil.printable import printable

if TYPE_CHECKING:
    from hotpin_hil.analysis.decoding import TraceDecoder


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add --elf, --toolchain and --core."""
    add_elf_options(parser)
    parser.add_argument(
        "--core",
        metavar="FILE",
        type=Path,
        action="append",
        default=[],
        help="also decode this core dump (raw, ELF or base64) with esp-coredump; needs --elf (repeatable)",
    )


def add_elf_options(parser: argparse.ArgumentParser) -> None:
    """Add --elf and --toolchain."""
    parser.add_argument(
        "--elf",
        metavar="PATH",
        type=Path,
        action="append",
        default=[],
        help="decode backtraces with this ELF file, or with the matching one in this folder (repeatable)",
    )
    parser.add_argument(
        "--toolchain",
        metavar="PREFIX",
        help="prefix of addr2line and gdb, such as xtensa-esp32-elf- (default: the installed ones)",
    )


def print_core_dumps(paths: Sequence[Path], decoder: TraceDecoder | None, as_json: bool) -> None:
    """Print esp-coredump's report on each core dump.

    Raises:
        UsageError: there is no ELF, or a file is not a core dump.
    """
    from hotpin_hil.symbols.esp_coredump import read_core_dump

    if paths and decoder is None:
        raise UsageError("--core needs an ELF file", "name the firmware's ELF with --elf")
    for path in paths:
        assert decoder is not None
        report = decoder.report_core_dump(read_core_dump(path))
        if as_json:
            print(json.dumps({"core_dump": str(path), "report": report}))
        else:
            print(f"core dump {printable(str(path))}", *map(printable, report.splitlines()), "", sep="\n")


def make_decoder(options: argparse.Namespace) -> TraceDecoder | None:
    """Make the decoder for the files and tools in the options; None without --elf.

    Raises:
        UsageError: an ELF file or the toolchain cannot be used.
    """
    if not options.elf:
        if options.toolchain is not None:
            raise UsageError("--toolchain needs an ELF file", "name the firmware's ELF with --elf")
        return None
    from hotpin_hil.analysis.decoding import TraceDecoder
    from hotpin_hil.symbols.addr2line import tool_with_prefix
    from hotpin_hil.symbols.elf_set import ElfSet

    if options.toolchain is not None:
        tool_with_prefix(options.toolchain)
    return TraceDecoder(ElfSet(options.elf, options.toolchain), options.toolchain)
