"""Checks the suite's judgement of panics on recorded ESP32 output: only the first panic after the command may count."""

from __future__ import annotations

import re

import pytest

from fixtures.panics import CAUSES, CONSOLE_TASK
from hotpin_hil.protocol.panic import Panic, find_panics
from tests.conftest import shared_data

RECORDED = [kind for kind in CAUSES if kind not in ("stack", "iram")]
"""All kinds except `stack`, which was recorded before the command overflowed the stack reliably, and `iram`, whose
access QEMU allows."""

OVERFLOW = (
    "sys.panic kind=stack\r\nok\r\n"
    "Guru Meditation Error: Core  0 panic'ed (Unhandled debug exception). \r\n"
    "Debug exception reason: Stack canary watchpoint triggered (hil_console) \r\n"
    "Core  0 register dump:\r\nPC      : 0x400d70da  PS      : 0x00060736  \r\n"
    "\r\n\r\nBacktrace: 0x400d70d7:0x3ffb4990\r\n\r\nRebooting...\r\n"
)
CANARY = (
    "***ERROR*** A stack overflow in task hil_console has been detected.\r\n"
    "\r\nBacktrace: 0x40081df1:0x3ffd1af0\r\n"
)


def panics_after_the_command(text: bytes) -> list[Panic]:
    _, _, rest = text.partition(b"sys.panic kind=")
    return find_panics(re.split(rb"rst:0x", rest)[0])


def is_of_kind(panics: list[Panic], kind: str) -> bool:
    return len(panics) == 1 and re.fullmatch(CAUSES[kind], panics[0].cause) is not None


@pytest.mark.parametrize("kind", RECORDED)
def test_recorded_panics_are_those_of_their_command_and_no_others(kind: str) -> None:
    panics = panics_after_the_command(shared_data(f"qemu_runs/panics/{kind}.log").read_bytes())
    assert [other for other in CAUSES if is_of_kind(panics, other)] == [kind]


def test_a_later_panic_with_the_right_words_is_not_taken_for_the_first() -> None:
    """In the recording, the console's stack overflow went undetected and caused a panic in the monitor task 14 s
    later."""
    panics = panics_after_the_command(shared_data("qemu_runs/panics/stack.log").read_bytes())
    assert [panic.cause for panic in panics] == ["LoadStorePIFAddrError", "Unhandled debug exception"]
    assert panics[1].task == "mem_monitor"
    assert not is_of_kind(panics, "stack")


@pytest.mark.parametrize("text", [OVERFLOW, CANARY])
def test_a_stack_overflow_names_its_task(text: str) -> None:
    (panic,) = find_panics(text.encode())
    assert re.fullmatch(CAUSES["stack"], panic.cause)
    assert panic.task == CONSOLE_TASK
