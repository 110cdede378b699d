"""Checks docs/analyze.md: its table of diagnoses matches the analyser's results for one example log of each kind.

python -m tests.docs.test_docs_analyze    # prints the table, to paste into the page
"""

from __future__ import annotations

import re

import pytest

from hotpin_hil.analysis.analyze import analyze
from hotpin_hil.analysis.kinds import PANIC, TOPICS
from hotpin_hil.analysis.model import Diagnosis
from hotpin_hil.paths import PROJECT_ROOT
from hotpin_hil.protocol.box import render
from hotpin_hil.protocol.fields import DELTA_LABELS, MemoryStats

PAGE = PROJECT_ROOT / "docs" / "analyze.md"
BEGIN, END = "<!-- table of diagnoses: begin -->\n", "<!-- table of diagnoses: end -->"

BOOT = (
    "rst:0x1 (POWERON_RESET),boot:0x13 (SPI_FAST_FLASH_BOOT)\nI (566) cpu_start: Multicore app\n"
    "I (1548) heap_init: At 4009AD60 len 000052A0 (20 KiB): IRAM\nI (1597) main_task: Calling app_main()\n"
)
ABORT = (
    "abort() was called at PC 0x4008e1ef on core 1\n\n\nBacktrace: 0x40081c16:0x3ffb99c0\n\nRebooting...\n"
)
RESET = "rst:0x{:x} ({}),boot:0x13 (SPI_FAST_FLASH_BOOT)\n"


def panic(cause: str, address: int, pc: int = 0x400D1234) -> str:
    return (
        f"Guru Meditation Error: Core  0 panic'ed ({cause}). Exception was unhandled.\n\nCore  0 register dump:\n"
        f"PC      : 0x{pc:08x}  EXCVADDR: 0x{address:08x}\n\nBacktrace: 0x40081c16:0x3ffb99c0\n\nRebooting...\n"
    )


def box(context: str, t: int) -> str:
    stats = MemoryStats(t, 100_000, 60_000, 40, 100_000, 60_000, 40, 100_000, 60_000, 40, 200_000, 90_000)
    return "".join(
        f"I ({t}) MEM_MGR: {line}\n" for line in render(context, stats, dict.fromkeys(DELTA_LABELS, 0))
    )


def readings(text: str) -> str:
    return "".join(f"I ({t * 1000}) app: {text.format(90_000 - 900 * t, 90_000)}\n" for t in range(40))


EXAMPLES: dict[str, tuple[str, str]] = {
    PANIC: ("`abort()`, `assert failed`, `Guru Meditation Error` with any other cause", BOOT + ABORT),
    "iram-heap": ("LoadStoreError at an address of the IRAM heap", BOOT + panic("LoadStoreError", 0x4009B398)),
    "heap-poison": (
        "an address such as 0xbaad5678, 0xabba1234, 0xfefefefe, 0xcececece, 0xa5a5a5a5",
        BOOT + panic("LoadProhibited", 0xBAAD5678),
    ),
    "jump-to-data": (
        "InstrFetchProhibited, InstructionFetchError, Instruction access fault",
        BOOT + panic("InstrFetchProhibited", 0x3FFB1234, 0x3FFB1234),
    ),
    "deleted-object": (
        "LoadProhibited, StoreProhibited, Load or Store access fault below 0x1000",
        BOOT + panic("StoreProhibited", 0x44),
    ),
    "stack-smashing": (
        "`Stack smashing protect failure!`", BOOT + "Stack smashing protect failure!\n\n" + ABORT
    ),
    "interrupt-watchdog": (
        "`Interrupt wdt timeout on CPU0`", BOOT + panic("Interrupt wdt timeout on CPU0", 0)
    ),
    "cache-error": (
        "`Cache disabled but cached memory region accessed`, `Cache error`",
        BOOT + panic("Cache disabled but cached memory region accessed", 0),
    ),
    "cpu-lockup": ("reset 0x1a", BOOT + RESET.format(26, "CPU_LOCKUP")),
    "panic-before": (
        "a reset reason, printed by the firmware, that names a panic; ESPHome's `CRASH DETECTED ON PREVIOUS BOOT`",
        BOOT + "Reset reason: Software reset due to exception/panic\n",
    ),
    "DIAG-04": (
        "in this order: statistics before a transition, a panic, a reset, the report of the reset (HotPin)",
        BOOT + "I (9000) STATE_MGR: === TRANSITION TO VOICE MODE ===\n" + panic("X", 0x3F800000)
        + RESET.format(12, "SW_CPU_RESET"),
    ),
    "stack-overflow": (
        "stack canary, stack protection fault, `***ERROR*** A stack overflow`",
        BOOT + "***ERROR*** A stack overflow in task main has been detected.\n\n" + ABORT,
    ),
    "corrupt-heap": (
        "`CORRUPT HEAP`, an assert in the allocator",
        BOOT + "CORRUPT HEAP: Bad tail at 0x3ffda678. Expected 0xbaad5678 got 0xbaad5600\n",
    ),
    "hardware-watchdog": (
        "reset 0x7, 0x8, 0x9, 0xb, 0xd, 0x10, 0x11 or 0x12 with no preceding panic or flash fault; or a watchdog named "
        "in the reset reason that the firmware prints",
        BOOT + RESET.format(8, "TG1WDT_SYS_RESET"),
    ),
    "brown-out": (
        "`Brownout detector was triggered`, reset 0xf; or a brown-out named in the reset reason that the firmware "
        "prints",
        BOOT + "Brownout detector was triggered\n",
    ),
    "blank-flash": ("`invalid header: 0xffffffff`", BOOT + "invalid header: 0xffffffff\n"),
    "boot-loader-damaged": ("`csum err`, another invalid header", BOOT + "csum err:0x9a!=0x5f\n"),
    "flash-read-error": ("`flash read err`", BOOT + "flash read err, 1000\n"),
    "partition-table": (
        "`partition table error!`, wrong MD5 or magic of the table",
        BOOT + "E (88) boot: Failed to verify partition table\n",
    ),
    "secure-boot": ("`secure boot check fail`, an invalid signature", BOOT + "secure boot check fail\n"),
    "application-too-large": (
        "`Image length … doesn't fit in partition length`",
        BOOT + "E (60) esp_image: Image length 1324576 doesn't fit in partition length 1048576\n",
    ),
    "no-application": (
        "`No bootable app partitions`, an invalid magic byte",
        BOOT + "E (88) boot: No bootable app partitions in the partition table\n",
    ),
    "application-damaged": (
        "checksum, hash or segment of the image wrong",
        BOOT + "E (88) esp_image: Checksum failed. Calculated 0x1 read 0x2\n",
    ),
    "wrong-chip": (
        "`mismatch chip ID`, `requires chip rev`",
        BOOT + "E (88) boot_comm: mismatch chip ID, expected 0, found 9\n",
    ),
    "flash-size": (
        "`Detected size(4096k) smaller than the size in the binary image header`",
        BOOT + "E (300) spi_flash: Detected size(4096k) smaller than the size in the binary image header(8192k). "
        "Probe failed.\n",
    ),
    "boot-loop": (
        "three or more runs in a row that end the same way", (BOOT + ABORT).replace("0x1 (POWERON", "0xc (SW_CPU") * 4
    ),
    "DIAG-01": (
        "a failed-allocation hook, `Mem alloc fail`, `ESP_ERR_NO_MEM` (also as 0x101 or 257), `-0x7F00` and `-0x10` of "
        "mbedTLS, errno 12, Wi-Fi buffers, frame buffers, I2S, task stacks, `std::bad_alloc`, Python's `MemoryError`",
        BOOT + "E (2000) app: failed to allocate 9000 bytes\n",
    ),
    "psram-exhausted": (
        "a request for PSRAM refused, or less than 200 KB free (HotPin)",
        BOOT + "E (9000) MEM_MGR: CRITICAL: PSRAM very low! 100000 bytes (threshold: 204800 bytes)\n",
    ),
    "psram-missing": (
        "`PSRAM ID read error`, `PSRAM chip is not connected`",
        BOOT + "E (300) quad_psram: PSRAM ID read error: 0x00ffffff, PSRAM chip not found or not supported\n",
    ),
    "task-watchdog": (
        "`Task watchdog got triggered`",
        BOOT + "E (5852) task_wdt: Task watchdog got triggered. The following tasks/users did not reset the watchdog "
        "in time:\nE (5852) task_wdt:  - IDLE1 (CPU 1)\nE (5852) task_wdt: Tasks currently running:\n"
        "E (5852) task_wdt: CPU 1: usb_task\n",
    ),
    "camera-reinit": (
        "`Detected camera not supported`, except right after power-on",
        BOOT.replace("0x1 (POWERON", "0xc (SW_CPU") + "E (9000) camera: Detected camera not supported.\n",
    ),
    "camera-not-supported": (
        "`Detected camera not supported` right after power-on",
        BOOT + "E (9000) camera: Detected camera not supported.\n",
    ),
    "camera-not-found": (
        "a camera's error 0x105 (`ESP_ERR_NOT_FOUND`) or 0x20001",
        BOOT + "E (9000) camera: Camera probe failed with error 0x105(ESP_ERR_NOT_FOUND)\n",
    ),
    "camera-no-frame": (
        "`Failed to get the frame on time`", BOOT + "W (9000) cam_hal: Failed to get the frame on time!\n"
    ),
    "DIAG-03": ("free memory that falls steadily, in at least 12 readings", readings("Free heap: {0}")),
    "heap-trace": (
        "`heap_trace_dump`",
        "    16 bytes (@ 0x3ffb1234, Internal) allocated CPU 0 ccount 0x0018c2a4 caller 0x400d1111:0x400d2222\n"
        "16 bytes 'leaked' in trace (1 allocations)\n",
    ),
    "DIAG-02": (
        "a largest free block that falls while free memory is steady; 30 % by HotPin's own figure",
        readings("Free heap: {1}, largest block: {0}"),
    ),
    "stale-statistics": (
        "the same eight figures before and after a transition (HotPin's original firmware)",
        BOOT + box("Before Camera Transition", 8_000) + box("After Camera Transition", 8_900),
    ),
    "fragmentation-figure": (
        "percentages that equal 1 - largest / free over all heaps (HotPin's original firmware)",
        BOOT + box("Idle", 8_000) + "W (9000) MEM_MGR: WARNING: High fragmentation: Internal 40%\n",
    ),
}  # fmt: skip
"""Id of a diagnosis → a description of the log's content, and an example log."""


def diagnosis(id_: str) -> Diagnosis:
    """The analyser's diagnosis of the example with this id."""
    analysis = analyze([EXAMPLES[id_][1].encode()], "log")
    found = [found for found in analysis.diagnoses if found.id == id_ or (id_ == PANIC == found.id[:6])]
    assert len(found) == 1, [found.id for found in analysis.diagnoses]
    return found[0]


def table() -> str:
    """The table of diagnoses that the page must have, in Markdown."""
    lines = ["| in the log | diagnosis | severity | what to do |", "|---|---|---|---|"]
    for topic in TOPICS:
        for id_ in topic.ids:
            found = diagnosis(id_)
            shown = f"{id_}CAUSE" if id_ == PANIC else id_
            name = found.name if id_ != PANIC else "Panic: CAUSE"
            lines.append(f"| {EXAMPLES[id_][0]} | {name} (`{shown}`) | {topic.gravity} | {found.remedy} |")
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("id_", [id_ for topic in TOPICS for id_ in topic.ids])
def test_every_kind_of_diagnosis_has_an_example(id_: str) -> None:
    assert diagnosis(id_).evidence


def test_table_of_the_page_is_what_the_code_says() -> None:
    text = PAGE.read_text(encoding="utf-8")
    shown = text[text.index(BEGIN) + len(BEGIN) : text.index(END)]
    assert shown == table(), "update it: python -m tests.docs.test_docs_analyze"


def test_options_of_the_page_are_those_of_the_command() -> None:
    source = (PROJECT_ROOT / "hotpin_hil" / "cli" / "analyze.py").read_text(encoding="utf-8")
    options = set(re.findall(r'"(--[a-z-]+)"', source))
    assert options
    assert [option for option in sorted(options) if option not in PAGE.read_text(encoding="utf-8")] == []


if __name__ == "__main__":
    print(table(), end="")
