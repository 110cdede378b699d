"""The text of ESP-IDF's panic handler → what happened, on which core, registers and backtrace.

Pure and incremental. Shapes: esp_system/panic.c and its Xtensa port in ESP-IDF v5.4 and v5.5, as a serial line
brings them: headlines behind an unfinished log line, `idf.py monitor`'s own lines in between, any part missing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from hotpin_hil.telemetry.log import Line, LineSplitter

LINES_MAX = 120
"""A panic of two cores takes some 45 lines, `idf.py monitor` adds as many; what comes later is no part of it."""

CORRUPTED = "CORRUPTED"

# What a line says that starts a panic, and the cause that follows from it.
_GURU = re.compile(r"Guru Meditation Error: Core\s+(\d+) panic'ed \((.*?)\)\.?")
_ABORT = re.compile(r"abort\(\) was called(?: at PC 0x([0-9a-fA-F]+) on core (\d+))?")
_ASSERT = re.compile(r"assert failed: ")
_STACK = re.compile(r"\*\*\*ERROR\*\*\* A stack overflow in task (.*) has been detected")
_WATCHDOG = re.compile(r"task_wdt: Aborting\.")
_TWICE = re.compile(r"Panic handler entered multiple times")
_STACK_DETAIL = re.compile(r"Stack canary watchpoint triggered \((.*?)\)")

_BEFORE = re.compile(r"CORRUPT HEAP: .*|ESP_ERROR_CHECK failed: .*")
"""Lines that tell why `abort` or `assert` comes within the next few lines."""
_BEFORE_LINES_MAX = 8

_DUMP = re.compile(r"Core\s+(\d+) register dump:")
_REGISTER = re.compile(
    r"\b(PC|PS|A\d{1,2}|SAR|EXCCAUSE|EXCVADDR|LBEG|LEND|LCOUNT|EPC\d)\s*: 0x([0-9a-fA-F]{8})\b"
)
_BACKTRACE = re.compile(r"Backtrace:((?: ?0x[0-9a-fA-F]+:0x[0-9a-fA-F]+)*)\s*(?:\|<-(CORRUPTED|CONTINUES))?")
_FRAME = re.compile(r"0x([0-9a-fA-F]+):0x([0-9a-fA-F]+)")
_SHA256 = re.compile(r"ELF file SHA256:\s+([0-9a-fA-F]+)")
_DUMP_SAVED = re.compile(r"esp_core_dump_flash: Core dump has been saved to flash")
_HOST = re.compile(r"\(host process\b")
_END = re.compile(r"Rebooting\.\.\.|Rebooting in\s+\d+ seconds|CPU halted\.|Entering gdb stub now\.")
_RESET = re.compile(r"rst:0x[0-9a-f]+ \(|ets \w{3} +\d+ \d{4} |Calling app_main\(\)")
_MONITOR = re.compile(r"--- ")

TRACES = (
    b"Guru Meditation Error",
    b"abort() was called",
    b"assert failed: ",
    b"***ERROR*** A stack",
    b"Panic handler entered",
)
OTHER_TRACES = (b"Aborting.", b"CORRUPT HEAP: ", b"ESP_ERROR_CHECK failed")
"""A line without any of these neither starts a panic nor tells of one to come. The first may stand behind an unfinished
line of another task, the others are lines of their own, or errors."""


@dataclass(frozen=True)
class Frame:
    """One call of a backtrace: `pc` within the calling instruction (IDF has subtracted already), `sp`."""

    pc: int
    sp: int

    def __str__(self) -> str:
        return f"0x{self.pc:08x}:0x{self.sp:08x}"


@dataclass(frozen=True)
class CoreState:
    """What was printed of one core. `core` is None where the handler leaves out the registers (abort)."""

    core: int | None = None
    registers: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    """By IDF's names: PC, PS, A0 … A15, SAR, EXCCAUSE, EXCVADDR, LBEG, LEND, LCOUNT, EPC1 …"""
    backtrace: tuple[Frame, ...] = ()
    """Innermost call first."""
    mark: str = ""
    """`CORRUPTED` (the chain of stack frames is broken), `CONTINUES` (deeper than printed), or empty."""

    @property
    def is_corrupted(self) -> bool:
        return self.mark == CORRUPTED


@dataclass(frozen=True)
class Panic:
    """One panic, as far as it was printed."""

    cause: str
    """IDF's reason ("LoadProhibited", "Interrupt wdt timeout on CPU0"), or "abort", "assert", "stack overflow",
    "task watchdog", "panic in the panic handler"."""
    headline: str
    """The line that says so, from where it starts."""
    core: int | None
    """The core that panicked, None where the text does not say."""
    details: tuple[str, ...] = ()
    """Further lines that explain it, in order: heap corruption, ESP_ERROR_CHECK's, the stack's task, …"""
    states: tuple[CoreState, ...] = ()
    """The core that panicked first, then the other one if it was printed too."""
    elf_sha256: str = ""
    """The first hex digits of the ELF's SHA-256 (9 by default)."""
    is_host: bool = False
    """A virtual board's process says: registers and stack pointers are the host's, code addresses are offsets
    into its ELF."""
    dump_saved: bool = False
    """The core dump was written to flash."""
    is_complete: bool = False
    """The handler came to its end: it rebooted, or stopped on purpose."""
    offset: int = 0
    """Of the first byte of the line it starts in, in the stream."""
    end: int = 0
    """Offset behind the text of its last line."""
    number: int = 0
    """Of the line with the headline, where lines are counted."""

    @property
    def registers(self) -> Mapping[str, int]:
        """Of the core that panicked."""
        return self.states[0].registers if self.states else MappingProxyType({})

    @property
    def backtrace(self) -> tuple[Frame, ...]:
        """Of the core that panicked."""
        return self.states[0].backtrace if self.states else ()

    @property
    def is_corrupted(self) -> bool:
        """Whether the backtrace of the core that panicked is marked as corrupted."""
        return bool(self.states) and self.states[0].is_corrupted

    @property
    def task(self) -> str | None:
        """The task whose stack overflowed, where the text says it."""
        for text in (self.headline, *self.details):
            if found := _STACK.search(text) or _STACK_DETAIL.search(text):
                return found[1]
        return None

    @property
    def excvaddr(self) -> int | None:
        return self.registers.get("EXCVADDR")


def find_panics(text: bytes, offset: int = 0) -> list[Panic]:
    """All panics in a recording; the last one may be cut off by its end."""
    finder = PanicFinder()
    splitter = LineSplitter(offset)
    found = []
    for line in (*splitter.feed(text), *splitter.flush()):
        found += finder.feed(line)
    return [*found, *finder.flush()]


class PanicFinder:
    """Finds panics in a stream of lines. A panic is returned once what follows shows that it is over."""

    def __init__(self) -> None:
        self._before: list[Line] = []
        self._lines: list[Line] = []
        """Of the panic at hand, its precursors included; empty when there is none."""
        self._end = 0

    @property
    def is_waiting(self) -> bool:
        """Whether the next line matters whatever it says."""
        return bool(self._lines or self._before)

    def feed(self, line: Line) -> list[Panic]:
        """The panics that this line shows to be over: none, one, or two (its end and a panic in one line)."""
        found: list[Panic] = []
        if self._lines:
            if _RESET.search(line.text) or self._is_next(line.text) or len(self._lines) >= LINES_MAX:
                found += self.flush()
            else:
                self._lines.append(line)
                return self.flush() if _END.search(line.text) else []
        if _headline(line.text) is not None:
            self._lines = [*self._before, line]
            self._before = []
            return [*found, *self.flush()] if _TWICE.search(line.text) else found
        if self._before or _BEFORE.search(line.text):
            self._before = [*self._before, line] if len(self._before) < _BEFORE_LINES_MAX else []
        return found

    def _is_next(self, text: str) -> bool:
        """Whether a headline begins another panic: the one at hand has printed its state already."""
        if _headline(text) is None:
            return False
        return any(_BACKTRACE.search(line.text) or _DUMP.search(line.text) for line in self._lines)

    def flush(self) -> list[Panic]:
        """The panic at hand, at the end of a recording as far as it goes."""
        lines, self._lines = self._lines, []
        return [_parse(lines)] if lines else []


def _headline(text: str) -> tuple[str, int | None, str] | None:
    """Cause, core and text from where the headline starts; None if the line starts no panic."""
    if _MONITOR.match(text):
        return None
    if found := _GURU.search(text):
        return found[2], int(found[1]), text[found.start() :]
    if found := _ABORT.search(text):
        return "abort", int(found[2]) if found[2] else None, text[found.start() :]
    for pattern, cause in (
        (_ASSERT, "assert"),
        (_STACK, "stack overflow"),
        (_WATCHDOG, "task watchdog"),
        (_TWICE, "panic in the panic handler"),
    ):
        if found := pattern.search(text):
            return cause, None, text[found.start() :]
    return None


def _parse(lines: Iterable[Line]) -> Panic:
    cause = headline = sha = ""
    number = 0
    core: int | None = None
    details: list[str] = []
    states: list[_State] = []
    host = saved = complete = False
    lines = [line for line in lines if not _MONITOR.match(line.text)]
    for line in lines:
        text = line.text.rstrip()
        head = _headline(text)
        if head is not None:
            if not headline:
                cause, core, headline = head[0], head[1], head[2].rstrip()
                number = line.number
            else:  # the task watchdog says why, then aborts
                core = head[1] if core is None else core
                details.append(head[2].rstrip())
            complete |= bool(_TWICE.search(text))
        elif found := _DUMP.search(text):
            states.append(_State(int(found[1])))
        elif found := _BACKTRACE.search(text):
            if not states or states[-1].has_backtrace:
                states.append(_State(None))
            states[-1].has_backtrace = True
            states[-1].frames = [Frame(int(pc, 16), int(sp, 16)) for pc, sp in _FRAME.findall(found[1])]
            states[-1].mark = found[2] or ""
        elif registers := _REGISTER.findall(text):
            if not states:  # the heading was lost
                states.append(_State(None))
            states[-1].registers.update({name: int(value, 16) for name, value in registers})
        elif found := _SHA256.search(text):
            sha = sha or found[1].lower()
        elif _HOST.search(text):
            host = True
        elif _DUMP_SAVED.search(text):
            saved = True
        elif _END.search(text):
            complete = True
        elif text.strip() and not states and not sha:
            details.append(text.strip())
            if found := _STACK_DETAIL.search(text):
                details[-1] = found[0]
    return Panic(
        cause=cause,
        headline=headline,
        core=core if core is not None else next((one.core for one in states if one.core is not None), None),
        details=tuple(details),
        states=tuple(one.frozen() for one in states),
        elf_sha256=sha,
        is_host=host,
        dump_saved=saved,
        is_complete=complete,
        offset=lines[0].offset,
        end=lines[-1].offset + len(lines[-1].text.encode()),
        number=number,
    )


@dataclass
class _State:
    """A CoreState while it is read."""

    core: int | None
    registers: dict[str, int] = field(default_factory=dict)
    frames: list[Frame] = field(default_factory=list)
    mark: str = ""
    has_backtrace: bool = False

    def frozen(self) -> CoreState:
        return CoreState(self.core, MappingProxyType(self.registers), tuple(self.frames), self.mark)
