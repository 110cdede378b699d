"""Espressif's QEMU as a board: finding it, checking it, and how pytest-embedded starts it."""

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
from hotpin_hil.errors import UsageError

PROGRAM = "qemu-system-xtensa"
MACHINE = "esp32"
OLDEST = (8, 0)
"""Before 8.0 the machine has no PSRAM of 4 MB."""
PSRAM_ARGUMENTS = ("-m", "4M")
"""The machine has as much PSRAM as QEMU is given memory: 4 MB are mapped on the real board."""
CLOCK_ARGUMENTS = ("-icount", "shift=6,sleep=off")
"""The board's time is counted in instructions, 2 ** 6 ns each, and while all its tasks wait it is put forward to the
next timer: a loaded host then delays a test, but no watchdog of the board can notice.

Before its boot loader the board waits 0.6 s in a loop, for its fuses: the longer an instruction, the fewer of them."""
CHIP_SPEED_ARGUMENTS = ("-icount", "shift=3,sleep=off")
"""The same with 8 ns for an instruction, about what the chip takes: a start then keeps the host busy four times as
long."""
WATCHDOG_ARGUMENT = "property=wdt_disable,value=true"
"""In a user's `-global driver=timer.esp32.timg,...`: no watchdog of the board ever bites."""
_ASK_TIMEOUT_S = 30.0
_VERSION = re.compile(r"version (\d+)\.(\d+)")
_REMEDY = (
    "install Espressif's: python $IDF_PATH/tools/idf_tools.py install qemu-xtensa, then . $IDF_PATH/export.sh"
)


@dataclass(frozen=True)
class Emulator:
    """A QEMU that has the machine. `version`: its own words, as "9.2.2 (esp_develop_9.2.2_20250817)"."""

    program: str
    version: str


def find_emulator(path: str | None) -> Emulator:
    """The emulator to use. Raises UsageError if there is none, or one that is too old or has no ESP32.

    path: what --qemu-prog-path says, if anything.
    """
    program = path or PROGRAM
    if shutil.which(program) is None:
        where = "as --qemu-prog-path says" if path else "on the path"
        raise UsageError(f"there is no {program} {where}", _REMEDY)
    said = _ask(program, "--version")
    found = _VERSION.search(said)
    if found is None:
        raise UsageError(f"{program} --version does not name a version of QEMU: {_first_line(said)}", _REMEDY)
    version = said[found.start(1) :].splitlines()[0].strip()
    if (int(found[1]), int(found[2])) < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        raise UsageError(f"{program} is QEMU {version}, but {oldest} or newer is needed", _REMEDY)
    machines = {line.split()[0] for line in _ask(program, "-machine", "help").splitlines() if line.strip()}
    if MACHINE not in machines:
        raise UsageError(f"{program} (QEMU {version}) has no machine {MACHINE!r}", _REMEDY)
    return Emulator(program, version)


def _ask(program: str, *arguments: str) -> str:
    """The output of a command. Raises UsageError if it does not run."""
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
    return next((line.strip() for line in text.splitlines() if line.strip()), "it said nothing")


def extra_arguments(given: str | None) -> str:
    """The value of --qemu-extra-args, with 4 MB of PSRAM and counted time unless it sets memory or clock."""
    words = shlex.split(given or "")
    for ours in (PSRAM_ARGUMENTS, CLOCK_ARGUMENTS):
        if ours[0] not in words:
            words += ours
    return shlex.join(words)


def without_psram(arguments: str) -> str:
    """The same arguments for a board whose PSRAM is missing."""
    words = shlex.split(arguments)
    if PSRAM_ARGUMENTS[0] in words:
        at = words.index(PSRAM_ARGUMENTS[0])
        del words[at : at + len(PSRAM_ARGUMENTS)]
    return shlex.join(words)


def at_chip_speed(arguments: str) -> str:
    """The same arguments with instructions about as fast as the chip's, unless the user chose the clock."""
    return arguments.replace(shlex.join(CLOCK_ARGUMENTS), shlex.join(CHIP_SPEED_ARGUMENTS))


def describe(emulator: Emulator, arguments: str) -> dict[str, str]:
    """The emulator as the results file has it. Whether it was patched cannot be known."""
    words = shlex.split(arguments)
    known = {"emulator": f"QEMU {emulator.version}", "emulator_clock": "the host's"}
    if "-icount" in words:
        known["emulator_clock"] = f"counts instructions: -icount {words[words.index('-icount') + 1]}"
    if any(WATCHDOG_ARGUMENT in word for word in words):
        known["emulator_watchdogs"] = "off: no watchdog of the board can bite"
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
        """Finds the emulator.

        Raises:
            UsageError: there is none, or it is too old or has no ESP32.
        """
        self._emulator = find_emulator(getattr(self._settings.options, "qemu_prog_path", None))

    def check_build(self, build: FirmwareBuild) -> None:
        """Every build for the chip runs in it."""

    def prepare(self, worker: str, power_cycle: Callable[[], bool] | None) -> None:
        """Registers the harness's QEMU service; each worker has a flash image of its own."""
        from hotpin_hil.link.embedded import install_qemu

        install_qemu()
        options = self._settings.options
        options.embedded_services = "idf,qemu"
        if not options.qemu_image_path:
            options.qemu_image_path = str(self._settings.folder / f"qemu-{worker}.bin")
        options.qemu_extra_args = extra_arguments(options.qemu_extra_args)

    def start(self, count: int) -> list[str] | None:
        """QEMU has no ports: pytest-embedded starts one for each `dut`."""
        return None

    def check_alive(self) -> None:
        """Nothing runs between two tests."""

    def describe(self) -> dict[str, Any]:
        """The emulator and its clock."""
        assert self._emulator is not None, "check_tools() finds the emulator"
        options = self._settings.options
        return dict(describe(self._emulator, extra_arguments(getattr(options, "qemu_extra_args", None))))

    def stop(self) -> None:
        """Nothing runs after the last test."""
