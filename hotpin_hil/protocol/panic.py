"""Parses the text of ESP-IDF's panic handler: cause, core, registers and backtrace.

The formats come from esp_system/panic.c and its Xtensa port in ESP-IDF v5.4 and v5.5. On a serial line, the headline
may follow an unfinished log line, `idf.py monitor` may print lines in between, and any part may be missing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from hotpin_hil.protocol.log import ConsoleLine, LineSplitter
from hotpin_hil.protocol.reset import shows_start

LINES_MAX = 120
"""Maximum number of lines. A panic of both cores prints about 45 lines, and `idf.py monitor` adds about as many."""

CORRUPTED = "CORRUPTED"

STACK_WORDS_MAX = 1024
"""Maximum number of stack words kept; ESP-IDF prints 256."""
CORE_DUMP_CHARS_MAX = 2 << 20
"""Maximum number of base64 characters; of a longer core dump, only the lines are counted."""

# Texts with which a panic starts.
_GURU = re.compile(
    r"Guru Meditation Error: Core {1,3}(?:(\S{1,3}) )?panic'ed \((.{0,120}?)\)\.?|"
    r"Guru Meditation Error of type (.{1,60}?) occurred on core {1,3}(\d)"
)
_ABORT = re.compile(r"abort\(\) was called(?: at PC 0x([0-9a-fA-F]{1,8}) on core (\d{1,3}))?")
_ASSERT = re.compile(r"assert failed: |assertion \".{1,200}?\" failed: file ")
_OUT_OF_MEMORY = re.compile(r"Mem alloc fail\. size 0x")
_SMASHED = re.compile(r"Stack smashing protect failure!")
_STACK = re.compile(r"\*\*\*ERROR\*\*\* A stack overflow in task (.{0,60}) has been detected")
_WATCHDOG = re.compile(r"task_wdt: Aborting\.")
_TWICE = re.compile(r"Panic handler entered multiple times")
_STACK_DETAIL = re.compile(r"Stack canary watchpoint triggered \((.{0,60}?)\)")
_STACK_TASK = re.compile(r'Detected in task "(.{1,60}?)" at 0x')

_BEFORE = re.compile(
    r"CORRUPT HEAP: .|ESP_ERROR_CHECK failed: .|terminate called after|was called but failed|"
    r"assertion failed|ASSERT_(?:PARAM|ERR)\("
)
"""Lines that explain an `abort` or `assert` within the next few lines."""
_BEFORE_LINES_MAX = 12
_CHECK = re.compile(r"ESP_ERROR_CHECK failed: .")
"""A check that failed; older versions of ESP-IDF print no `abort()` after it."""

_DUMP = re.compile(r"Core {1,3}(\d{1,3}) register dump:")
_REGISTER = re.compile(
    r"\b(PC|PS|A\d{1,2}|SAR|EXCCAUSE|EXCVADDR|LBEG|LEND|LCOUNT|EPC\d|"
    r"MEPC|RA|SP|GP|TP|T\d|S0/FP|S\d{1,2}|MSTATUS|MTVEC|MCAUSE|MTVAL|MHARTID) {0,8}: 0x([0-9a-fA-F]{8})\b"
)
_BACKTRACE = re.compile(
    r"Backtrace:((?: {0,2}0x[0-9a-fA-F]{1,8}:0x[0-9a-fA-F]{1,8}){0,200})\s{0,4}(?:\|<-(CORRUPTED|CONTINUES))?"
)
_FRAME = re.compile(r"0x([0-9a-fA-F]{1,8}):0x([0-9a-fA-F]{1,8})")
_SHA256 = re.compile(r"ELF file SHA256: {1,4}([0-9a-fA-F]{1,64})")
_CORE_DUMP = re.compile(r"=+ CORE DUMP (START|END) =+")
_STACK_MEMORY = re.compile(r"Stack memory:")
_STACK_ROW = re.compile(r"\s{0,4}([0-9a-f]{8}):((?: {1,2}0x[0-9a-f]{8}){1,8})\s{0,4}$")
_BASE64 = re.compile(r"[A-Za-z0-9+/]{4,400}={0,2}")
_DUMP_SAVED = re.compile(r"esp_core_dump_flash: Core dump has been saved to flash")
_HOST = re.compile(r"\(host process\b")
_END = re.compile(r"Rebooting\.\.\.|Rebooting in {1,3}\d{1,6} seconds|CPU halted\.|Entering gdb stub now\.")
_APP_MAIN = "Calling app_main()"
_MONITOR = re.compile(r"--- ")

TRACES = (
    b"Guru Meditation Error",
    b"abort() was called",
    b"assert failed: ",
    b"***ERROR*** A stack",
    b"Panic handler entered",
    b'assertion "',
    b"Mem alloc fail.",
    b"Stack smashing protect",
)
OTHER_TRACES = (
    b"Aborting.", b"CORRUPT HEAP: ", b"ESP_ERROR_CHECK failed", b"terminate called after", b"was called but failed",
    b"assertion failed", b"ASSERT_",
)  # fmt: skip
"""Every line that starts or explains a panic contains one of these. TRACES may follow another task's unfinished line;
OTHER_TRACES are on separate lines, or in errors."""


@dataclass(frozen=True)
class StackFrame:
    """One call of a backtrace: `pc` is within the call instruction, because ESP-IDF adjusts the return address."""

    pc: int
    sp: int

    def __str__(self) -> str:
        return f"0x{self.pc:08x}:0x{self.sp:08x}"


@dataclass(frozen=True)
class StackMemory:
    """The words on the stack, starting at the stack pointer, as RISC-V chips print them."""

    start: int
    """Address of the first word."""
    words: tuple[int, ...]


@dataclass(frozen=True)
class CoreState:
    """The state of one core. `core` is None if the handler prints no registers (abort)."""

    core: int | None = None
    registers: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    """By ESP-IDF's names: PC, PS, A0 … A15, SAR, EXCCAUSE, EXCVADDR, LBEG, LEND, LCOUNT, EPC1 …"""
    backtrace: tuple[StackFrame, ...] = ()
    """Innermost call first."""
    mark: str = ""
    """`CORRUPTED` (the chain of stack frames is broken), `CONTINUES` (there are more calls than printed), or empty."""
    stack: StackMemory | None = None
    """None if the handler prints a backtrace instead."""

    @property
    def is_corrupted(self) -> bool:
        """Whether the backtrace is marked as corrupted."""
        return self.mark == CORRUPTED


@dataclass(frozen=True)
class Panic:
    """One panic; the log may contain only part of it."""

    cause: str
    """IDF's reason ("LoadProhibited", "Interrupt wdt timeout on CPU0"), or "abort", "assert", "stack overflow",
    "task watchdog", "panic in the panic handler"."""
    headline: str
    """The text that reports the panic, from where it starts in its line."""
    core: int | None
    """The core that panicked; None if the text does not name it."""
    details: tuple[str, ...] = ()
    """Other lines that explain the panic, in order: heap corruption, ESP_ERROR_CHECK, task of an overflowed stack, …"""
    states: tuple[CoreState, ...] = ()
    """The core that panicked, then the other core if it was printed."""
    elf_sha256: str = ""
    """The first hex digits of the ELF's SHA-256 (9 by default)."""
    is_host: bool = False
    """The panic comes from a virtual board: registers and stack pointers are the host's, code addresses are offsets
    into its ELF."""
    dump_saved: bool = False
    """The core dump was written to flash."""
    is_complete: bool = False
    """The handler finished: it rebooted or halted as configured."""
    offset: int = 0
    """Stream offset of the line in which it starts."""
    core_dump_lines: int = 0
    """Lines of a core dump that was printed in base64, without its first and last line."""
    is_core_dump_whole: bool = False
    core_dump: tuple[str, ...] = ()
    """The lines in base64; empty if the dump is incomplete or longer than CORE_DUMP_CHARS_MAX."""
    end: int = 0
    """Stream offset after the text of its last line."""
    number: int = 0
    """Number of the line with the headline; 0 if lines are not counted."""

    @property
    def registers(self) -> Mapping[str, int]:
        """Registers of the core that panicked."""
        return self.states[0].registers if self.states else MappingProxyType({})

    @property
    def backtrace(self) -> tuple[StackFrame, ...]:
        """Backtrace of the core that panicked."""
        return self.states[0].backtrace if self.states else ()

    @property
    def is_corrupted(self) -> bool:
        """Whether the backtrace of the core that panicked is marked as corrupted."""
        return bool(self.states) and self.states[0].is_corrupted

    @property
    def task(self) -> str | None:
        """The task with the overflowed stack; None if the text does not name it."""
        for text in (self.headline, *self.details):
            if found := _STACK.search(text) or _STACK_DETAIL.search(text) or _STACK_TASK.search(text):
                return found[1]
        return None

    @property
    def excvaddr(self) -> int | None:
        """The accessed address that caused the exception; None if it was not printed."""
        return self.registers.get("EXCVADDR", self.registers.get("MTVAL"))

    @property
    def pc(self) -> int | None:
        """The program counter, None if it was not printed."""
        return self.registers.get("PC", self.registers.get("MEPC"))


def parse_backtrace(text: str) -> tuple[tuple[StackFrame, ...], str] | None:
    """Parse a `Backtrace:` line: its frames, and the mark at its end, such as CORRUPTED; None for any other line."""
    found = _BACKTRACE.search(text)
    if found is None:
        return None
    frames = tuple(StackFrame(int(pc, 16), int(sp, 16)) for pc, sp in _FRAME.findall(found[1]))
    return frames, found[2] or ""


def find_panics(text: bytes, offset: int = 0) -> list[Panic]:
    """All panics in a recording; the last panic may be cut off."""
    finder = PanicFinder()
    splitter = LineSplitter(offset)
    found = []
    for line in (*splitter.feed(text), *splitter.flush()):
        found += finder.feed(line)
    return [*found, *finder.flush()]


class CoreDumpLines:
    """Collects the lines of a core dump that is printed in base64."""

    def __init__(self) -> None:
        self.count = 0
        self.lines: list[str] = []
        self.is_whole = False
        self._chars = 0

    @property
    def is_too_long(self) -> bool:
        """Whether the dump is longer than CORE_DUMP_CHARS_MAX, so that its lines are not kept."""
        return self._chars > CORE_DUMP_CHARS_MAX

    def add(self, text: str) -> None:
        """Add a line; a line that is not base64 is only counted."""
        self.count += 1
        line = text.strip()
        if not _BASE64.fullmatch(line):
            return
        self._chars += len(line)
        if self.is_too_long:
            self.lines.clear()
        else:
            self.lines.append(line)


class PanicFinder:
    """Finds panics in a stream of lines; returns each once it is complete."""

    def __init__(self) -> None:
        self._before: list[ConsoleLine] = []
        self._lines: list[ConsoleLine] = []
        """Lines of the current panic, with those that explain it; empty outside a panic."""
        self._core_dump: CoreDumpLines | None = None
        """The printed core dump; None if none was printed."""

    @property
    def has_headline(self) -> bool:
        """Whether a panic is being printed."""
        return bool(self._lines)

    @property
    def is_waiting(self) -> bool:
        """Whether the next line matters regardless of its text."""
        return bool(self._lines or self._before)

    def feed(self, line: ConsoleLine) -> list[Panic]:
        """Parse the next line; returns the panics that it completes: none, one, or two."""
        found: list[Panic] = []
        if self._lines:
            if (
                shows_start(line.text)
                or _APP_MAIN in line.text
                or self._is_next(line.text)
                or len(self._lines) >= LINES_MAX
            ):
                found += self.flush()
            elif self._is_core_dump(line.text):
                return []
            else:
                self._lines.append(line)
                return self.flush() if _END.search(line.text) else []
        if _headline(line.text) is not None:
            self._lines = [*self._before, line]
            self._before = []
            return [*found, *self.flush()] if _TWICE.search(line.text) else found
        if self._before and _is_aborted(self._before, line.text):
            self._lines, self._before = [*self._before, line], []
            return found
        if self._before or _BEFORE.search(line.text):
            self._before = [*self._before, line] if len(self._before) < _BEFORE_LINES_MAX else []
        return found

    def _is_core_dump(self, text: str) -> bool:
        """Collect the lines of a core dump in base64; there may be thousands."""
        mark = _CORE_DUMP.search(text)
        if mark is not None:
            if mark[1] == "START" or self._core_dump is None:
                self._core_dump = CoreDumpLines()
            self._core_dump.is_whole = mark[1] == "END"
            return True
        if self._core_dump is None or self._core_dump.is_whole:
            return False
        self._core_dump.add(text)
        return True

    def _is_next(self, text: str) -> bool:
        """Whether this headline starts another panic, because the current one has already printed its state."""
        if _headline(text) is None:
            return False
        return any(_BACKTRACE.search(line.text) or _DUMP.search(line.text) for line in self._lines)

    def flush(self) -> list[Panic]:
        """End the stream; returns the incomplete panic, if any."""
        lines, self._lines = self._lines, []
        dump, self._core_dump = self._core_dump, None
        if not lines:
            return []
        panic = _parse(lines)
        if dump is None:
            return [panic]
        return [
            replace(
                panic,
                core_dump_lines=dump.count,
                is_core_dump_whole=dump.is_whole,
                core_dump=tuple(dump.lines) if dump.is_whole and not dump.is_too_long else (),
            )
        ]


def _is_aborted(before: list[ConsoleLine], text: str) -> bool:
    """Whether a failed check ended the firmware: a backtrace or the ELF's digest follows without a headline."""
    is_end = _BACKTRACE.search(text) is not None or _SHA256.search(text) is not None
    return is_end and any(_CHECK.match(line.text) for line in before)


def _headline(text: str) -> tuple[str, int | None, str] | None:
    """Cause, core and the text of a headline; None if the line does not start a panic."""
    if _MONITOR.match(text):
        return None
    if found := _GURU.search(text):
        core = found[1] or found[4] or ""
        return found[2] or found[3] or "", int(core) if core.isdecimal() else None, text[found.start() :]
    if found := _ABORT.search(text):
        return "abort", int(found[2]) if found[2] else None, text[found.start() :]
    for pattern, cause in (
        (_ASSERT, "assert"),
        (_STACK, "stack overflow"),
        (_SMASHED, "stack smashing"),
        (_OUT_OF_MEMORY, "failed allocation"),
        (_WATCHDOG, "task watchdog"),
        (_TWICE, "panic in the panic handler"),
    ):
        if found := pattern.search(text):
            return cause, None, text[found.start() :]
    return None


def _parse(lines: Iterable[ConsoleLine]) -> Panic:
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
            else:  # the task watchdog prints the reason, then aborts
                core = head[1] if core is None else core
                details.append(head[2].rstrip())
            complete |= bool(_TWICE.search(text))
        elif found := _DUMP.search(text):
            states.append(_State(int(found[1])))
        elif backtrace := parse_backtrace(text):
            if not states or states[-1].has_backtrace:
                states.append(_State(None))
            states[-1].has_backtrace = True
            states[-1].frames, states[-1].mark = backtrace
        elif registers := _REGISTER.findall(text):
            if not states:  # the line with the core's number was lost
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
        elif found := _STACK_ROW.match(text):
            if states:
                states[-1].add_stack(int(found[1], 16), [int(word, 16) for word in found[2].split()])
        elif _STACK_MEMORY.match(text):
            continue
        elif text.strip() and not states and not sha:
            details.append(text.strip())
            if found := _STACK_DETAIL.search(text):
                details[-1] = found[0]
    if not headline:
        number, cause = next((line.number for line in lines if _CHECK.match(line.text)), 0), "abort"
        headline = next((text for text in details if _CHECK.match(text)), "")
    return Panic(
        cause=cause,
        headline=headline,
        core=core
        if core is not None
        else next((state.core for state in states if state.core is not None), None),
        details=tuple(details),
        states=tuple(state.frozen() for state in states),
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
    """A CoreState while it is parsed."""

    core: int | None
    registers: dict[str, int] = field(default_factory=dict)
    frames: tuple[StackFrame, ...] = ()
    mark: str = ""
    has_backtrace: bool = False
    stack_start: int = 0
    stack: list[int] = field(default_factory=list)

    def add_stack(self, address: int, words: list[int]) -> None:
        """Add a row of the stack, unless a row before it is missing."""
        if not self.stack:
            self.stack_start = address
        if address == self.stack_start + 4 * len(self.stack) and len(self.stack) < STACK_WORDS_MAX:
            self.stack += words

    def frozen(self) -> CoreState:
        stack = StackMemory(self.stack_start, tuple(self.stack)) if self.stack else None
        return CoreState(self.core, MappingProxyType(self.registers), self.frames, self.mark, stack)
