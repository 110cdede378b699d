"""Tests the parser of the ROM's reset banner, in lines and in a stream."""

from __future__ import annotations

import pytest

from hotpin_hil.link.channel import Channel
from hotpin_hil.protocol.reset import find_banner, find_banners, is_damaged_banner, is_greeting, shows_start

BANNER = "rst:0xc (SW_CPU_RESET),boot:0x13 (SPI_FAST_FLASH_BOOT)"
DOWNLOAD = "rst:0x1 (POWERON_RESET),boot:0x3 (DOWNLOAD_BOOT(UART0/UART1/SDIO_REI_REO_V2))"


def test_banner_after_other_text_is_found() -> None:
    found = find_banner(f"I (5) APP: half a li{BANNER}")
    assert found is not None
    assert (found.cause, found.name, found.boot_mode) == (0xC, "SW_CPU_RESET", "SPI_FAST_FLASH_BOOT")


def test_boot_mode_is_its_name_without_the_interfaces() -> None:
    found = find_banner(DOWNLOAD)
    assert found is not None
    assert found.boot_mode == "DOWNLOAD_BOOT"


@pytest.mark.parametrize("size", range(1, 80))
def test_banner_cut_by_a_chunk_has_its_whole_mode(size: int) -> None:
    channel = Channel()
    stream = f"{BANNER}\r\n{DOWNLOAD}\r\n".encode()
    for at in range(0, len(stream), size):
        channel.feed(stream[at : at + size])
    modes = [reset.boot_mode for reset in channel.resets()]
    assert modes == ["SPI_FAST_FLASH_BOOT", "DOWNLOAD_BOOT"]
    assert [found.start for found in find_banners(stream)] == [reset.offset for reset in channel.resets()]


@pytest.mark.parametrize("line", ["rst:41 (POWERON_RESET)/boot:8x13", "x (SPI_FAST_FLASH_BOOT)"])
def test_remains_of_a_banner_are_damaged(line: str) -> None:
    assert find_banner(line) is None
    assert is_damaged_banner(line)


def test_greeting_starts_a_boot() -> None:
    greeting = "ets Jul 29 2019 12:21:46"
    assert is_greeting(greeting)
    assert shows_start(greeting)
    assert not is_greeting("ets x")
