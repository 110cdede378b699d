"""Checks that each row of known_noise.toml covers one line of a healthy board and nothing else."""

from __future__ import annotations

import pytest

from hotpin_hil.logs.noise import complaints, errors, known_noise
from hotpin_hil.protocol.log import LineSplitter, parse_log_line
from tests.conftest import shared_data

ISR = "E (7340) gpio: gpio_install_isr_service(503): GPIO isr service already installed"


@pytest.mark.parametrize(
    ("line", "is_error"),
    [
        (ISR, False),
        (ISR.replace("503", "517"), False),  # the line number depends on the IDF version
        (ISR + " twice", True),
        (ISR.replace("gpio: ", "gpia: "), True),
        ("E (7340) gpio: gpio_set_level(227): GPIO output gpio_num error", True),
        ("E (7340) i2s_common: i2s_alloc_dma_desc(509): allocate DMA buffer failed", True),
        ("W (7340) TTS: little room", False),
    ],
)
def test_only_the_line_itself_is_noise(line: str, is_error: bool) -> None:
    parsed = parse_log_line(line)
    assert parsed is not None
    assert bool(errors([parsed])) is is_error


def test_noise_is_counted_wherever_it_stands() -> None:
    """Noise must be counted even between colour codes, and after part of another task's line."""
    noise = next(noise for noise in known_noise() if noise.tag == "gpio")
    assert noise.count(f"{ISR}\r\n\x1b[0;31m{ISR}\x1b[0m\nI (7) main: rea{ISR}\r\ndy\n") == 3
    assert noise.count(ISR[:-10]) == 0


def test_every_row_has_a_reason_and_a_source() -> None:
    for noise in known_noise():
        assert noise.reason
        assert noise.source


def test_a_recorded_healthy_start_has_no_error_but_noise() -> None:
    """Checks all lines of the recording with the tag `gpio`."""
    log = shared_data("real_logs/serial_monitor_2a9fccf.txt").read_bytes()
    lines = [parsed for parsed in map(parse_log_line, LineSplitter().feed(log)) if parsed]
    noise = next(noise for noise in known_noise() if noise.tag == "gpio")
    assert sum(noise.covers(line) for line in lines) == noise.count(log.decode(errors="replace")) > 0
    assert [line for line in errors(lines) if line.tag == "gpio"] == []


DRIVERS = ("gpio", "ledc", "i2s_common")


def test_driver_complaints_of_every_later_start_are_noise() -> None:
    """In this recording the hardware image ran without a sensor. Every warning and error of its real drivers must be
    known noise."""
    log = shared_data("qemu_runs/hil-in-qemu.log").read_bytes()
    lines = [parsed for parsed in map(parse_log_line, LineSplitter().feed(log)) if parsed]
    logged = {(line.tag, line.level) for line in lines if line.tag in DRIVERS and line.level in "EW"}
    assert logged == {("gpio", "E"), ("ledc", "W"), ("i2s_common", "W")}
    assert [line for line in complaints(lines) if line.tag in DRIVERS] == []


@pytest.mark.parametrize(
    "line",
    [
        "W (19907) ledc: GPIO 25 is not usable, maybe conflict with others",  # a different pin
        "W (11710) i2s_common: the tx channel on I2S1 is switched from master to slave for full-duplex mode",
        "W (11710) i2s_common: the rx channel on I2S0 is switched from master to slave for full-duplex mode",
    ],
)
def test_same_message_for_another_pin_or_port_is_a_complaint(line: str) -> None:
    parsed = parse_log_line(line)
    assert parsed is not None
    assert complaints([parsed]) == [parsed]
