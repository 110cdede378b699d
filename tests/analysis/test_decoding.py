"""Decodes the code addresses in a log, with and without an ELF file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hotpin_hil.analysis.analyze import LogAnalysis, analyze
from hotpin_hil.analysis.code_traces import CORE_DUMPS_KEPT, TRACES_KEPT, CodeTrace
from hotpin_hil.analysis.decoding import TraceDecoder
from hotpin_hil.cli.main import main
from hotpin_hil.report.log_page import render
from hotpin_hil.report.log_text import text_lines
from hotpin_hil.symbols.elf_set import ElfSet
from hotpin_hil.symbols.firmware_elf import read_elf
from hotpin_hil.symbols.machine import Machine
from tests.support.xtensa_elf import write_elf

START = "I (31) boot: ESP-IDF v5.4 2nd stage bootloader\n"
APP = "I (90) app_init: ELF file SHA256:  {sha}...\nI (99) main_task: Calling app_main()\n"
XTENSA = """Guru Meditation Error: Core  1 panic'ed (LoadProhibited). Exception was unhandled.

Core  1 register dump:
PC      : 0x400d1234  PS      : 0x00060530  A0      : 0x800d2003  A1      : 0x3ffb1234
EXCVADDR: 0x00000004  LBEG    : 0x40056f5c  LEND    : 0x40056f72  LCOUNT  : 0x00000000

Backtrace: 0x400d1231:0x3ffb99c0 0x400d2000:0x3ffb99e0{mark}

{sha}
Rebooting...
"""
RISCV = """Guru Meditation Error: Core  0 panic'ed (Load access fault). Exception was unhandled.

Core  0 register dump:
MEPC    : 0x42009abc  RA      : 0x42009ab8  SP      : 0x3fc93b20  GP      : 0x3fc8b200
MSTATUS : 0x00001881  MTVEC   : 0x40380001  MCAUSE  : 0x00000005  MTVAL   : 0x0000000c

Stack memory:
3fc93b20: 0x00000000 0x42001234 0x3fc93b50 0x00000000 0x00000003 0x00000000 0x00000001 0x40380030

Rebooting...
"""
HEAP_TRACE = """====== Heap Trace: 3 records (100 capacity) ======
    16 bytes (@ 0x3ffb5a30, Internal) allocated CPU 0 ccount 0x41e81bdc caller 0x400d1234:0x400d2003
    16 bytes (@ 0x3ffb5a50, Internal) allocated CPU 1 ccount 0x41e81bde caller 0x400d1234:0x400d2003
  1024 bytes (@ 0x3ffb6a50, Internal) allocated CPU 1 ccount 0x41e81be0 caller 0x400d1300
1056 bytes 'leaked' in trace (3 allocations)
"""
CODE = range(0x400D0020, 0x400E0000)
FUNCTIONS = {"read_it": 0x400D1200, "app_main": 0x400D1F00}


def traces(log: str) -> tuple[CodeTrace, ...]:
    return analyze([log.encode()], "log").traces


def named(trace: CodeTrace, machine: Machine = Machine.XTENSA) -> dict[str, int]:
    return {address.name: address.place(machine) for address in trace.addresses}


@pytest.fixture
def elf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("IDF_TOOLS_PATH", str(tmp_path))
    return write_elf(tmp_path / "app.elf", code=CODE, functions=FUNCTIONS)


def decoded(log: str, *elfs: Path) -> LogAnalysis:
    return analyze([log.encode()], "log").decoded(TraceDecoder(ElfSet(elfs)))


# Addresses


def test_panic_on_xtensa_gives_pc_and_frames() -> None:
    (trace,) = traces(START + XTENSA.format(mark="", sha="ELF file SHA256: b2fc75dc3"))
    assert (trace.kind, trace.machine, trace.core, trace.elf) == ("panic", Machine.XTENSA, 1, "b2fc75dc3")
    assert named(trace) == {"PC": 0x400D1234, "#0": 0x400D1231, "#1": 0x400D2000}
    assert trace.registers["A0"] == 0x800D2003


def test_return_address_in_a0_counts_if_the_backtrace_is_damaged() -> None:
    (trace,) = traces(START + XTENSA.format(mark=" |<-CORRUPTED", sha=""))
    assert named(trace)["A0"] == 0x400D2000
    assert trace.mark == "CORRUPTED"


def test_panic_on_riscv_gives_mepc_ra_and_stack() -> None:
    (trace,) = traces(START + RISCV)
    assert trace.machine is Machine.RISCV
    assert named(trace, Machine.RISCV) == {"MEPC": 0x42009ABC, "RA": 0x42009AB7}
    assert trace.stack is not None
    assert len(trace.stack.words) == 8


def test_frames_of_riscv_are_return_addresses_after_the_first() -> None:
    log = (
        RISCV.partition("Stack memory")[0]
        + "Backtrace: 0x42009abc:0x3fc93b20 0x42009ab8:0x3fc93b50\n\nRebooting...\n"
    )
    (trace,) = traces(START + log)
    assert named(trace, Machine.RISCV) == {"MEPC": 0x42009ABC, "#0": 0x42009ABC, "#1": 0x42009AB7}


@pytest.mark.parametrize(
    "text",
    [
        "abort() was called at PC 0x400d1231 on core 0\n",
        "ESP_ERROR_CHECK failed: esp_err_t 0x101 (ESP_ERR_NO_MEM) at 0x400d1231\nabort() was called\n",
    ],
)
def test_place_of_an_abort_is_an_address(text: str) -> None:
    (trace,) = traces(START + text + "\nBacktrace: 0x40081df4:0x3ffb99c0\n\nRebooting...\n")
    assert named(trace) == {"called at": 0x400D1231, "#0": 0x40081DF4}


def test_backtrace_outside_a_panic_is_kept_and_assigned() -> None:
    watchdog = (
        "E (5000) task_wdt: Task watchdog got triggered. The following tasks did not reset it in time:\n"
        "E (5000) task_wdt:  - IDLE (CPU 0)\nE (5000) task_wdt: CPU 0: main\n"
        "E (5000) task_wdt: Print CPU 0 (current core) backtrace\n\n\nBacktrace: 0x400d1231:0x3ffb99c0\n\n"
    )
    more = "I (9000) app: all is well\n" * 15 + "Backtrace: 0x400d2000:0x3ffb99c0\n"
    first, second = traces(START + watchdog + more)
    assert (first.kind, second.kind) == ("task watchdog", "backtrace")
    assert [named(trace)["#0"] for trace in (first, second)] == [0x400D1231, 0x400D2000]


def test_heap_trace_gives_a_chain_per_call_site_the_largest_first() -> None:
    largest, other = traces(START + HEAP_TRACE)
    assert (largest.title, named(largest)) == (
        "heap trace: 1,024 bytes in 1 allocations",
        {"caller": 0x400D12FD},
    )
    assert (other.title, named(other)) == (
        "heap trace: 32 bytes in 2 allocations",
        {"caller": 0x400D1231, "caller 1": 0x400D2000},
    )


def test_caller_of_a_failed_allocation_and_pc_before_a_reset_are_addresses() -> None:
    failed = "E (5000) app: malloc of 5000 bytes failed: out of memory, caller 0x400d1234\n"
    reset = "rst:0x7 (TG0WDT_SYS_RST),boot:0x8 (SPI_FAST_FLASH_BOOT)\nSaved PC:0x400d1231\n"
    found = {trace.kind: named(trace) for trace in traces(START + failed + reset)}
    assert found == {"allocation": {"caller": 0x400D1231}, "reset": {"PC": 0x400D1231}}


def test_boot_gives_its_traces_the_elf_that_it_printed() -> None:
    boots = [
        START + APP.format(sha=sha) + HEAP_TRACE + "\nrst:0xc (SW_CPU_RESET)\n" for sha in ("1" * 9, "2" * 9)
    ]
    assert [trace.elf for trace in traces("".join(boots))] == ["1" * 9 + "..."] * 2 + ["2" * 9 + "..."] * 2


def test_number_of_traces_and_core_dumps_is_bounded() -> None:
    dump = "===== CORE DUMP START =====\nAAAA\n===== CORE DUMP END =====\nRebooting"
    log = (START + XTENSA.format(mark="", sha="").replace("Rebooting", dump)) * (TRACES_KEPT + 5)
    analysis = analyze([log.encode()], "log")
    assert (len(analysis.traces), analysis.traces_not_kept) == (TRACES_KEPT, 5)
    assert sum(bool(trace.core_dump) for trace in analysis.traces) == CORE_DUMPS_KEPT
    assert not any(event.panic.core_dump for event in analysis.panics)


# Decoded


def test_panic_is_decoded_in_text_page_and_json(elf: Path) -> None:
    sha = read_elf(elf).sha256[:9]
    analysis = decoded(START + XTENSA.format(mark="", sha=f"ELF file SHA256: {sha}"), elf)
    (code,) = json.loads(json.dumps(analysis.to_json()))["code"]
    assert code["elf"]["is_match"] is True
    assert [(entry["name"], entry["places"][0]["function"]) for entry in code["addresses"]] == [
        ("PC", "read_it"),
        ("#0", "read_it"),
        ("#1", "app_main"),
    ]
    (diagnosis,) = [found for found in analysis.diagnoses if found.id == "deleted-object"]
    assert diagnosis.evidence[-1].text == "code: read_it < app_main"
    text = "\n".join(text_lines(analysis))
    for shown in (text, render([analysis])):
        assert "#1        0x400d2000  app_main" in shown
        assert "PC      : 0x400d1234  PS      : 0x00060530" in shown
        assert f"app.elf ({sha})" in shown


def test_diagnosis_names_the_caller_of_abort_first(tmp_path: Path, elf: Path) -> None:
    functions = {"panic_abort": 0x400D0100, "abort": 0x400D0200, **FUNCTIONS}
    log = "abort() was called at PC 0x400d1231\n\nBacktrace: 0x400d0110:0x3ffb 0x400d0210:0x3ffb 0x400d1231:0x3ffb"
    path = write_elf(tmp_path / "abort.elf", code=CODE, functions=functions)
    analysis = decoded(f"{START}{log} 0x400d2000:0x3ffb\n\nRebooting...\n", path)
    (diagnosis,) = [found for found in analysis.diagnoses if found.id == "panic-abort"]
    assert diagnosis.evidence[-1].text == "code: read_it < app_main"


def test_panic_without_elf_is_shown_with_its_addresses() -> None:
    analysis = analyze([(START + XTENSA.format(mark="", sha="ELF file SHA256: b2fc75dc3")).encode()], "log")
    (code,) = analysis.to_json()["code"]
    assert code["elf"] is None
    assert code["addresses"][1] == {"name": "#0", "printed": "0x400d1231", "address": None, "places": None}
    for shown in ("\n".join(text_lines(analysis)), render([analysis])):
        assert "#0        0x400d1231" in shown
        assert "not decoded: name the ELF of this build with --elf" in shown
        assert "EXCVADDR: 0x00000004" in shown


def test_names_of_another_build_are_marked_and_not_in_the_diagnosis(elf: Path) -> None:
    analysis = decoded(START + XTENSA.format(mark="", sha="ELF file SHA256: 123456789"), elf)
    text = "\n".join(text_lines(analysis))
    assert "WARNING: the log is from ELF 123456789, " in text
    assert "read_it" in text
    assert not any(line.text.startswith("code:") for found in analysis.diagnoses for line in found.evidence)


def test_callers_of_a_heap_trace_are_decoded(elf: Path) -> None:
    analysis = decoded(START + HEAP_TRACE, elf)
    assert [[call.places[0].function for call in trace.decoding.calls] for trace in analysis.traces] == [
        ["read_it"],
        ["read_it", "app_main"],
    ]


def test_text_of_a_log_is_escaped_on_the_page() -> None:
    log = START + XTENSA.format(mark="", sha="").replace("LoadProhibited", "<script>")
    assert "<script>" not in render([analyze([log.encode()], "log")])


# The command


def run(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    status = main(["analyze", *map(str, arguments)])
    shown = capsys.readouterr()
    return status, shown.out, shown.err


def test_command_takes_elf_files_and_folders(
    tmp_path: Path, elf: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "log.txt"
    log.write_text(START + XTENSA.format(mark="", sha=f"ELF file SHA256: {read_elf(elf).sha256[:9]}"))
    for path in (elf, tmp_path):
        status, out, _ = run(capsys, "--elf", path, log)
        assert status == 0
        assert "read_it" in out
    assert "read_it" not in run(capsys, log)[1]


def test_command_names_what_is_wrong(tmp_path: Path, elf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "log.txt"
    log.write_text(START + XTENSA.format(mark="", sha=""))
    for arguments, expected in (
        (["--elf", log, log], f"error: {log} is not an ELF file"),
        (["--toolchain", "xtensa-esp32-elf-", log], "error: --toolchain needs an ELF file"),
        (
            ["--elf", elf, "--toolchain", "no-such-", log],
            "error: --toolchain: no-such-addr2line does not exist",
        ),
        (["--core", log, log], "error: --core needs an ELF file"),
        (["--core", log, "--elf", elf], f"error: {log} is not a core dump"),
        ([], "error: no log is named"),
    ):
        status, _, err = run(capsys, *arguments)
        assert status == 2
        assert err.startswith(expected)
