"""`hotpin-hil coredump`: the memory before a crash, and esp-coredump's report."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hotpin_hil.cli.flash_source import read_source
from hotpin_hil.errors import UsageError

if TYPE_CHECKING:
    from hotpin_hil.report.memory_story import Place
    from hotpin_hil.symbols.firmware_elf import FirmwareElf


def add_command(commands: Any) -> None:
    """Add the command to the subparsers of `hotpin-hil`."""
    coredump = commands.add_parser(
        "coredump", help="show the memory before a crash, from the board's core dump in flash"
    )
    coredump.add_argument(
        "file",
        metavar="FILE",
        type=Path,
        nargs="?",
        help="file with a core dump or the content of its partition, instead of --port",
    )
    coredump.add_argument("--port", help="port of the board, which is reset")
    coredump.add_argument(
        "--elf",
        type=Path,
        metavar="ELF",
        help="the firmware's ELF: names callers, and adds esp-coredump's report",
    )
    coredump.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from hotpin_hil.protocol.core_dump import find_core_dump
    from hotpin_hil.protocol.memory_story import read_story
    from hotpin_hil.report.memory_story import story_lines

    core, source = read_source(options, "coredump", "coredump")
    dump = find_core_dump(core)
    if dump is None and not core.startswith(b"\x7fELF"):
        raise UsageError(f"no core dump in {source}", "a panic writes one; flashing the partition erases it")
    if dump is not None and dump.is_sound is False:
        print("the checksum of the core dump is WRONG: the following may be damaged")
    elf = _elf(options)
    story = read_story(core)
    if story is None:
        print(
            "no memory story in the core dump: the firmware was built without CONFIG_HOTPIN_MEM_CRASH, "
            "or records it in another format"
        )
    else:
        print(*story_lines(story, _places(elf)), sep="\n")
    if elf is not None:
        from hotpin_hil.symbols.esp_coredump import report_core_dump

        print("", report_core_dump(dump.content if dump else core, elf), sep="\n")
    return 0


def _elf(options: argparse.Namespace) -> FirmwareElf | None:
    if options.elf is None:
        return None
    from hotpin_hil.symbols.firmware_elf import read_elf

    return read_elf(options.elf)


def _places(elf: FirmwareElf | None) -> Place | None:
    if elf is None:
        return None
    from hotpin_hil.symbols.decoder import AddressDecoder
    from hotpin_hil.symbols.machine import call_address

    decoder = AddressDecoder(elf)
    machine = elf.machine

    def place(frame: int) -> str:
        (found,) = decoder.decode([call_address(frame, machine)])
        return found.places[0].short if found.places else ""

    return place
