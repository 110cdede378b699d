"""Decodes the code addresses of a log with the ELF files of its firmware."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from hotpin_hil.analysis.code_traces import CodeTrace, Decoding
from hotpin_hil.analysis.model import Diagnosis, Evidence
from hotpin_hil.errors import UsageError
from hotpin_hil.symbols.elf_set import ElfSet
from hotpin_hil.symbols.esp_coredump import decode_base64, report_core_dump
from hotpin_hil.symbols.firmware_elf import FirmwareElf
from hotpin_hil.symbols.machine import Machine
from hotpin_hil.symbols.stack_dump import unwind_stack

CALLS_IN_EVIDENCE = 6
PANIC_FUNCTIONS = frozenset(
    {
        "panic_abort",
        "esp_system_abort",
        "abort",
        "__assert_func",
        "_esp_error_check_failed",
        "__stack_chk_fail",
        "vApplicationStackOverflowHook",
        "panic_handler",
        "xt_unhandled_exception",
        "__cxxabiv1::__terminate(void (*)())",
        "std::terminate()",
        "__cxa_throw",
    }
)
"""Functions between a failed check and the panic handler: the innermost frames of many backtraces."""


class TraceDecoder:
    """Decodes the code addresses of traces."""

    def __init__(self, elfs: ElfSet, toolchain: str | None = None) -> None:
        """Store the ELF files to decode with.

        Args:
            elfs: the ELF files; each trace is decoded with the one that it belongs to.
            toolchain: prefix of the toolchain's tools; None for the installed toolchain.
        """
        self._elfs = elfs
        self._toolchain = toolchain

    def decode(self, trace: CodeTrace) -> CodeTrace:
        """The trace with `decoding` filled in.

        Raises:
            UsageError: the toolchain that the user named cannot read the ELF.
        """
        decoder, remark = self._elfs.choose(trace.elf, trace.machine)
        if decoder is None:
            return replace(trace, decoding=Decoding(remark=remark))
        machine = decoder.elf.machine
        calls = tuple(decoder.decode(address.place(machine) for address in trace.addresses))
        stack: list[str] = []
        method = core_dump = ""
        if trace.stack is not None and machine is Machine.RISCV:
            stack, method = unwind_stack(decoder, trace.registers, trace.stack, self._toolchain)
        if trace.core_dump:
            core_dump = self._printed_core_dump(trace.core_dump, decoder.elf)
        return replace(trace, decoding=Decoding(calls, remark, tuple(stack), method, core_dump))

    def _printed_core_dump(self, lines: tuple[str, ...], elf: FirmwareElf) -> str:
        try:
            core = decode_base64(lines)
        except UsageError as error:
            return f"not decoded: {error}"
        return report_core_dump(core, elf, self._toolchain)

    def report_core_dump(self, core: bytes) -> str:
        """Decode a core dump with esp-coredump; returns its report, or why there is none."""
        elf, why = self._elfs.for_core_dump(core)
        return why if elf is None else report_core_dump(core, elf, self._toolchain)


def with_calls(diagnoses: Iterable[Diagnosis], traces: Iterable[CodeTrace]) -> tuple[Diagnosis, ...]:
    """Add decoded calls to the evidence of diagnoses: those of each trace that starts at a line of the evidence.

    Calls decoded with the ELF of another build are left out.
    """
    by_line: dict[int, CodeTrace] = {}
    for trace in traces:
        remark = trace.decoding.remark
        if remark is not None and remark.is_match is not False:
            by_line.setdefault(trace.line, trace)
    return tuple(_with_call(diagnosis, by_line) for diagnosis in diagnoses)


def _with_call(diagnosis: Diagnosis, by_line: dict[int, CodeTrace]) -> Diagnosis:
    more = []
    for line in dict.fromkeys(evidence.line for evidence in diagnosis.evidence):
        trace = by_line.get(line)
        calls = [call for call in trace.decoding.calls if call.is_known] if trace is not None else []
        places = [place for call in calls for place in call.places]
        own = [place for place in places if place.function not in PANIC_FUNCTIONS] or places
        if trace is not None and own:
            names = dict.fromkeys(place.short for place in own)
            text = " < ".join(list(names)[:CALLS_IN_EVIDENCE])
            more.append(Evidence(trace.line, trace.t_ms, f"code: {text}"))
    return replace(diagnosis, evidence=(*diagnosis.evidence, *more)) if more else diagnosis
