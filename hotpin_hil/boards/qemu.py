"""Finds and checks Espressif's QEMU, and configures pytest-embedded to start it as the board."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hotpin_hil.boards.artifacts import FirmwareBuild
from hotpin_hil.boards.board import BoardSettings
from hotpin_hil.boards.kind import BoardKind
from hotpin_hil.errors import HostError, UsageError

PROGRAM = "qemu-system-xtensa"
MACHINE = "esp32"
OLDEST = (8, 0)
"""Oldest supported version; older versions cannot emulate 4 MB of PSRAM."""
PSRAM_ARGUMENTS = ("-m", "4M")
"""QEMU's memory size is the PSRAM size; the real board maps 4 MB."""
CLOCK_ARGUMENTS = ("-icount", "shift=6,sleep=off")
"""Counts the board's time in instructions, 2 ** 6 ns each, and advances it to the next timer while all tasks wait. A
loaded host then delays a test, but does not trigger a watchdog of the board.

Before its bootloader the board spins for 0.6 s to read its fuses; longer instructions make that loop shorter."""
CHIP_SPEED_ARGUMENTS = ("-icount", "shift=3,sleep=off")
"""The same with 8 ns per instruction, about the chip's speed. A boot then takes the host four times as long."""
WATCHDOG_ARGUMENT = "property=wdt_disable,value=true"
"""Part of a user's `-global driver=timer.esp32.timg,...` that disables the board's watchdogs."""
_ASK_TIMEOUT_S = 30.0
_VERSION = re.compile(r"version (\d+)\.(\d+)")
_REMEDY = (
    "install Espressif's: python $IDF_PATH/tools/idf_tools.py install qemu-xtensa, then . $IDF_PATH/export.sh"
)


@dataclass(frozen=True)
class Emulator:
    """A QEMU that has the ESP32 machine. `version` is QEMU's own text, such as "9.2.2 (esp_develop_9.2.2_20250817)"."""

    program: str
    version: str


def find_emulator(path: str | None) -> Emulator:
    """Find the emulator.

    Args:
        path: value of --qemu-prog-path, if given.

    Raises:
        UsageError: QEMU is missing, cannot be run, is too old, or has no machine `esp32`.
    """
    program = path or PROGRAM
    if shutil.which(program) is None:
        where = "(from --qemu-prog-path)" if path else "on the path"
        raise UsageError(f"there is no {program} {where}", _REMEDY)
    output = _ask(program, "--version")
    found = _VERSION.search(output)
    if found is None:
        raise UsageError(f"{program} --version does not print a QEMU version: {_first_line(output)}", _REMEDY)
    version = output[found.start(1) :].splitlines()[0].strip()
    if (int(found[1]), int(found[2])) < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        raise UsageError(f"{program} is QEMU {version}, but {oldest} or newer is needed", _REMEDY)
    machines = {line.split()[0] for line in _ask(program, "-machine", "help").splitlines() if line.strip()}
    if MACHINE not in machines:
        raise UsageError(f"{program} (QEMU {version}) has no machine {MACHINE!r}", _REMEDY)
    return Emulator(program, version)


def _ask(program: str, *arguments: str) -> str:
    """Run a command and return its output. Raises UsageError if it does not run."""
    command = [program, *arguments]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_ASK_TIMEOUT_S, check=True, errors="replace"
        )
    except subprocess.CalledProcessError as error:
        reason = f"status {error.returncode}: {_first_line(error.stderr or error.stdout)}"
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = str(error)
    else:
        return done.stdout
    raise UsageError(f"'{shlex.join(command)}' failed: {reason}", _REMEDY)


def _first_line(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "no output")


def extra_arguments(given: str | None) -> str:
    """Add 4 MB of PSRAM and `-icount` to --qemu-extra-args, unless the user has set the memory or the clock."""
    words = shlex.split(given or "")
    for ours in (PSRAM_ARGUMENTS, CLOCK_ARGUMENTS):
        if ours[0] not in words:
            words += ours
    return shlex.join(words)


def without_psram(arguments: str) -> str:
    """The same arguments, for a board without PSRAM."""
    words = shlex.split(arguments)
    if PSRAM_ARGUMENTS[0] in words:
        at = words.index(PSRAM_ARGUMENTS[0])
        del words[at : at + len(PSRAM_ARGUMENTS)]
    return shlex.join(words)


def at_chip_speed(arguments: str) -> str:
    """The same arguments, with a clock at about the chip's speed, unless the user has chosen the clock."""
    return arguments.replace(shlex.join(CLOCK_ARGUMENTS), shlex.join(CHIP_SPEED_ARGUMENTS))


def describe(emulator: Emulator, arguments: str) -> dict[str, str]:
    """The emulator's data for the results file. Patches of the emulator cannot be detected."""
    words = shlex.split(arguments)
    known = {"emulator": f"QEMU {emulator.version}", "emulator_clock": "the host's"}
    if "-icount" in words:
        known["emulator_clock"] = f"counts instructions: -icount {words[words.index('-icount') + 1]}"
    if any(WATCHDOG_ARGUMENT in word for word in words):
        known["emulator_watchdogs"] = "off"
    return known


class QemuBoard:
    """The firmware in Espressif's QEMU; each test starts its own emulator."""

    kind = BoardKind.QEMU
    is_modelled = False
    is_real_chip = False
    runs_chip_code = True
    memory_is_exact = False
    outlives_a_test = False
    can_fail_on_purpose = False
    control = None
    profile = None
    mac = None

    def __init__(self, settings: BoardSettings) -> None:
        self._settings = settings
        self._emulator: Emulator | None = None

    def check_tools(self) -> None:
        """Find the emulator.

        Raises:
            UsageError: QEMU is missing, cannot be run, is too old, or has no machine `esp32`.
        """
        self._emulator = find_emulator(getattr(self._settings.options, "qemu_prog_path", None))

    def check_build(self, build: FirmwareBuild) -> None:
        """Do nothing: every build for the chip runs in it."""

    def prepare(self, worker: str, power_cycle: Callable[[], bool] | None) -> None:
        """Register the harness's QEMU service; each worker has its own flash image."""
        from hotpin_hil.link.embedded import install_qemu

        install_qemu()
        options = self._settings.options
        options.embedded_services = "idf,qemu"
        if not options.qemu_image_path:
            options.qemu_image_path = str(self._settings.folder / f"qemu-{worker}.bin")
        options.qemu_extra_args = extra_arguments(options.qemu_extra_args)

    def start(self, count: int) -> list[str] | None:
        """Do nothing: QEMU has no ports, and pytest-embedded starts one emulator for each `dut`."""
        return None

    def check_alive(self) -> None:
        """Do nothing: no emulator is running between two tests."""

    def host_fault(self) -> HostError | None:
        """None: an emulator that has ended is reported through its channel."""
        return None

    def describe(self) -> dict[str, Any]:
        """The emulator and its clock."""
        assert self._emulator is not None, "check_tools() has not run"
        options = self._settings.options
        return dict(describe(self._emulator, extra_arguments(getattr(options, "qemu_extra_args", None))))

    def stop(self) -> None:
        """Do nothing: no emulator is running after the last test."""
