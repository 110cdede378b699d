"""Collects the code addresses of a log: backtraces, registers, callers of allocations, places of resets."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from types import MappingProxyType
from typing import Any

from hotpin_hil.protocol import events as ev
from hotpin_hil.protocol.panic import CoreState, Panic, StackFrame, StackMemory
from hotpin_hil.symbols.elf_set import ElfRemark
from hotpin_hil.symbols.machine import Machine, call_address
from hotpin_hil.symbols.places import DecodedAddress

TRACES_KEPT = 100
"""Maximum number of traces of one kind."""
CORE_DUMPS_KEPT = 3
"""Maximum number of core dumps, which take up to 2 MB each."""
CHAINS_KEPT = 20
"""Maximum number of call chains per heap trace; the largest are kept."""

_CALLED_AT = re.compile(
    r"(?:called at PC|\([A-Z_0-9]{1,40}\) at|Detected in task \".{1,60}?\" at) 0x([0-9a-fA-F]{8})"
)
_CALLER = re.compile(r"\bcaller[ =:]{1,3}0x([0-9a-fA-F]{8})\b")
_RESET_PC = re.compile(r"PC[ =:]{1,3}0x([0-9a-fA-F]{1,8})")
_EXACT = ("PC", "MEPC")
_SOURCES = (ev.PanicSeen, ev.BacktracePrinted, ev.HeapTrace, ev.AllocationFailed, ev.ResetPlace)
_RETURNS = {Machine.XTENSA: ("A0",), Machine.RISCV: ("RA",)}


@dataclass(frozen=True)
class CodeAddress:
    """A code address in a log."""

    name: str
    """The register, "#0", "#1" … for the frames of a backtrace, or the log's text about the address."""
    printed: int
    is_return: bool = False
    """Whether this is a return address: the address of the instruction after the call."""

    def place(self, machine: Machine) -> int:
        """The address to decode: for a return address, that of the call before it."""
        return call_address(self.printed, machine) if self.is_return else self.printed


@dataclass(frozen=True)
class Decoding:
    """A trace decoded with the ELF files."""

    calls: tuple[DecodedAddress, ...] = ()
    """One entry per address of the trace; empty if none was decoded."""
    remark: ElfRemark | None = None
    """The ELF file, and whether the firmware's log names it."""
    stack: tuple[str, ...] = ()
    """The calls that the stack memory of a RISC-V panic shows."""
    stack_method: str = ""
    core_dump: str = ""
    """The report of esp-coredump, or why there is none."""


@dataclass(frozen=True)
class CodeTrace(ev.LogEvent):
    """Code addresses that belong together, with the registers if they were printed."""

    kind: str
    """"panic", "task watchdog", "backtrace", "heap trace", "allocation" or "reset"."""
    title: str
    addresses: tuple[CodeAddress, ...]
    machine: Machine | None = None
    """None if the log does not show it."""
    elf: str = ""
    """First digits of the ELF's SHA-256 in the log; empty if they are not in it."""
    registers: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    mark: str = ""
    """See `CoreState.mark`."""
    stack: StackMemory | None = None
    core_dump: tuple[str, ...] = ()
    core: int | None = None
    decoding: Decoding = Decoding()


def traces_of(event: ev.LogEvent) -> tuple[CodeTrace, ...]:
    """The code addresses of an event; empty for most."""
    place = (event.line, event.boot, event.t_ms)
    match event:
        case ev.PanicSeen():
            return tuple(_panic(event))
        case ev.BacktracePrinted():
            kind = "task watchdog" if event.is_watchdog else "backtrace"
            frames = _frames(event.frames, None)
            return (CodeTrace(*place, kind=kind, title=kind, addresses=frames, mark=event.mark),)
        case ev.HeapTrace():
            return tuple(
                CodeTrace(
                    *place,
                    kind="heap trace",
                    title=f"heap trace: {size:,} bytes in {count:,} allocations",
                    addresses=tuple(
                        CodeAddress(f"caller {depth}" if depth else "caller", address, is_return=True)
                        for depth, address in enumerate(chain)
                    ),
                )
                for chain, count, size in event.chains[:CHAINS_KEPT]
            )
        case ev.AllocationFailed() if found := _CALLER.search(event.text):
            address = CodeAddress("caller", int(found[1], 16), is_return=True)
            return (CodeTrace(*place, kind="allocation", title="failed allocation", addresses=(address,)),)
        case ev.ResetPlace() if found := _RESET_PC.search(event.text):
            address = CodeAddress("PC", int(found[1], 16))
            return (CodeTrace(*place, kind="reset", title="PC before the reset", addresses=(address,)),)
    return ()


class TraceCollector:
    """Collects the traces of a log. The traces of a boot belong to the ELF that the boot names."""

    def __init__(self) -> None:
        self.traces: list[CodeTrace] = []
        self.not_kept = 0
        self._kept: Counter[str] = Counter()
        self._core_dumps = 0

    def feed(self, event: ev.LogEvent) -> None:
        """Add the traces of the next event."""
        if isinstance(event, ev.BuildSeen):
            self._name_elf(event)
        elif isinstance(event, _SOURCES):
            for trace in traces_of(event):
                self._add(trace)

    def _add(self, trace: CodeTrace) -> None:
        if self._kept[trace.kind] >= TRACES_KEPT:
            self.not_kept += 1
            return
        self._kept[trace.kind] += 1
        self._core_dumps += bool(trace.core_dump)
        self.traces.append(trace if self._core_dumps <= CORE_DUMPS_KEPT else replace(trace, core_dump=()))

    def _name_elf(self, build: ev.BuildSeen) -> None:
        for at in range(len(self.traces) - 1, -1, -1):
            trace = self.traces[at]
            if trace.boot != build.boot:
                break
            if not trace.elf:
                self.traces[at] = replace(trace, elf=build.elf)


def trace_json(trace: CodeTrace) -> dict[str, Any]:
    """A trace as a JSON-serializable dict."""
    decoding = trace.decoding
    calls: tuple[DecodedAddress | None, ...] = decoding.calls or (None,) * len(trace.addresses)
    return {
        "line": trace.line,
        "boot": trace.boot,
        "t_ms": trace.t_ms,
        "kind": trace.kind,
        "title": trace.title,
        "core": trace.core,
        "machine": str(trace.machine) if trace.machine else None,
        "elf_in_log": trace.elf or None,
        "elf": asdict(decoding.remark) if decoding.remark else None,
        "registers": {name: f"0x{value:08x}" for name, value in trace.registers.items()},
        "mark": trace.mark,
        "addresses": [
            {
                "name": address.name,
                "printed": f"0x{address.printed:08x}",
                "address": f"0x{call.address:08x}" if call else None,
                "places": [asdict(place) for place in call.places] if call else None,
            }
            for address, call in zip(trace.addresses, calls, strict=True)
        ],
        "stack_words": len(trace.stack.words) if trace.stack else 0,
        "stack_calls": list(decoding.stack),
        "stack_method": decoding.stack_method,
        "core_dump": decoding.core_dump,
    }


def _panic(event: ev.PanicSeen) -> Iterator[CodeTrace]:
    panic = event.panic
    place = (event.line, event.boot, event.t_ms)
    named = tuple(
        CodeAddress("called at", int(address, 16))
        for text in (panic.headline, *panic.details)
        for address in _CALLED_AT.findall(text)
    )
    for number, state in enumerate(panic.states or (CoreState(),)):
        machine = _machine(panic, state)
        core = state.core if state.core is not None else (panic.core if number == 0 else None)
        yield CodeTrace(
            *place,
            kind="panic",
            title=panic.cause if number == 0 else f"the other core at: {panic.cause}",
            addresses=(
                *(named if number == 0 else ()),
                *_registers(state, machine),
                *_frames(state.backtrace, machine),
            ),
            machine=machine,
            elf=panic.elf_sha256,
            registers=state.registers,
            mark=state.mark,
            stack=state.stack,
            core_dump=panic.core_dump if number == 0 else (),
            core=core,
        )


def _machine(panic: Panic, state: CoreState) -> Machine | None:
    if panic.is_host:
        return Machine.HOST
    if "MEPC" in state.registers:
        return Machine.RISCV
    return Machine.XTENSA if "PC" in state.registers else None


def _registers(state: CoreState, machine: Machine | None) -> Iterator[CodeAddress]:
    """The registers with code addresses. Host registers are left out: they are not ELF addresses."""
    if machine is None or machine is Machine.HOST:
        return
    for name in _EXACT:
        if name in state.registers:
            yield CodeAddress(name, state.registers[name])
    if not state.backtrace or state.mark:
        for name in _RETURNS[machine]:
            if state.registers.get(name):
                yield CodeAddress(name, state.registers[name], is_return=True)


def _frames(frames: tuple[StackFrame, ...], machine: Machine | None) -> tuple[CodeAddress, ...]:
    """The frames of a backtrace.

    On Xtensa they are addresses of calls; on RISC-V, all but the first are return addresses.
    """
    return tuple(
        CodeAddress(f"#{depth}", frame.pc, is_return=machine is Machine.RISCV and depth > 0)
        for depth, frame in enumerate(frames)
    )
