"""Backtraces and registers of a log as lines of text, with or without an ELF."""

from __future__ import annotations

from collections.abc import Iterator

from hotpin_hil.analysis.code_traces import CodeTrace
from hotpin_hil.report.text import shorten

WIDTH = 160
REGISTERS_PER_LINE = 4
NO_ELF = "not decoded: name the ELF of this build with --elf"


def title(trace: CodeTrace) -> str:
    """Headline: type of the trace and its place in the log."""
    core = f", core {trace.core}" if trace.core is not None else ""
    mark = f", {trace.mark}" if trace.mark else ""
    elf = f", ELF {trace.elf}" if trace.elf else ""
    return f"line {trace.line:,}, boot {trace.boot}: {shorten(trace.title, 80)}{core}{mark}{elf}"


def register_lines(trace: CodeTrace) -> list[str]:
    """The registers in the panic handler's order."""
    values = [f"{name:<8}: 0x{value:08x}" for name, value in trace.registers.items()]
    return [
        "  ".join(values[at : at + REGISTERS_PER_LINE]) for at in range(0, len(values), REGISTERS_PER_LINE)
    ]


def call_lines(trace: CodeTrace) -> list[str]:
    """One line per address, with inlined functions on the lines below."""
    calls = trace.decoding.calls
    if not calls:
        return [f"{address.name:<9} 0x{address.printed:08x}" for address in trace.addresses]
    lines = []
    for address, call in zip(trace.addresses, calls, strict=True):
        places = [shorten(str(place), WIDTH) for place in call.places] or ["no function known"]
        lines.append(f"{address.name:<9} 0x{call.address:08x}  {places[0]}")
        lines += [f"{'':<22}(inlined by) {place}" for place in places[1:]]
    return lines


def trace_lines(trace: CodeTrace) -> Iterator[str]:
    """The whole trace: headline, registers, calls, stack and core dump."""
    yield title(trace)
    remark = trace.decoding.remark
    indented = [
        remark.text if remark else NO_ELF,
        *register_lines(trace),
        *call_lines(trace),
        *stack_lines(trace),
    ]
    for line in indented:
        yield f"    {line}"
    for line in trace.decoding.core_dump.splitlines():
        yield f"    | {shorten(line, WIDTH) if line.strip() else ''}".rstrip()


def stack_lines(trace: CodeTrace) -> list[str]:
    """The calls found in the stack memory."""
    if trace.stack is None:
        return []
    if not trace.decoding.stack_method:
        return [f"stack memory: {len(trace.stack.words)} words"]
    return [
        f"stack memory: {trace.decoding.stack_method}",
        *(shorten(call, WIDTH) for call in trace.decoding.stack),
    ]
