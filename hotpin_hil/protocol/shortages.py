"""Texts about an allocation that failed, from ESP-IDF's components, Arduino-ESP32 and common libraries."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

CAPS = {
    0x1: "EXEC", 0x2: "32BIT", 0x4: "8BIT", 0x8: "DMA", 0x400: "SPIRAM", 0x800: "INTERNAL", 0x1000: "DEFAULT",
    0x2000: "IRAM_8BIT", 0x4000: "RETENTION", 0x8000: "RTCRAM", 0x10000: "TCM",
}  # fmt: skip
"""Names of heap_caps' bits."""


@dataclass(frozen=True)
class Denied:
    """An allocation that failed."""

    consumer: str
    """The component that requested it, in readable words; empty if the line does not name it."""
    memory: str = ""
    """"internal", "dma", "psram" or empty."""
    size: int | None = None
    caps: int | None = None
    have: int | None = None
    """Free bytes of all heaps, if the line has them."""
    function: str = ""


def caps_text(caps: int) -> str:
    """The names of a set of capabilities."""
    known = [name for bit, name in CAPS.items() if caps & bit]
    return " | ".join(known) or f"0x{caps:x}"


def memory_of_caps(caps: int) -> str:
    """The memory type that a set of capabilities selects."""
    if caps & 0x400:
        return "psram"
    if caps & 0x8:
        return "dma"
    return "internal" if caps & 0x800 else "heap"


_HOOK = re.compile(
    r"failed to allocate (\d{1,10}) bytes with (0x[0-9a-fA-F]{1,8}|[0-9a-fA-F]{8}|\d{1,10}) capabilities"
)
_CALLED = re.compile(r"(\w{1,60}) was called but $")
_CALLED_MAX = 80
_ABORTED = re.compile(r"Mem alloc fail\. size 0x([0-9a-fA-F]{1,8}) caps 0x([0-9a-fA-F]{1,8})")
CHECK_FAILED = "ESP_ERROR_CHECK failed: esp_err_t 0x101"
"""Start of the line of a failed ESP_ERROR_CHECK of ESP_ERR_NO_MEM."""
_BAD_ALLOC = re.compile(r"std::bad_alloc")
_PYTHON = re.compile(
    r"MemoryError:(?: memory allocation failed(?:, allocating (\d{1,10}) bytes)?|\s{0,4}$)|"
    r"\b[A-Z][A-Za-z]{1,20}Error: .{0,40}?(?:\b0x0?101\b|ESP_ERR_NO_MEM|ENOMEM|Errno 12\b|[Oo]ut of [Mm]emory)"
)
"""Exceptions of MicroPython and CircuitPython."""
_WIFI_BUFFER = re.compile(r"alloc eb len=(\d{1,10}) type=\d{1,3} fail, heap:(\d{1,10})")
_RX_BUFFERS = re.compile(r"Expected to init \d{1,4} (?:static |dynamic )?[rt]x buffer, actual is \d{1,4}")
_TLS = re.compile(
    r"-0x(?:7[fF]00|2880|3[fF]80|4[dD]80|5180|6180|1180|3400)\b|-32512\b|"
    r"(?:SSL|X509|PK|ECP|BIGNUM) - .{0,40}[Mm]emory"
)
"""Codes of mbedTLS's modules for a failed allocation."""
_TLS_SHORT = re.compile(r"-0x(?:00)?(?:10|6[aA])\b")
"""The codes of its big numbers and ASN.1, which are too short to stand for themselves."""
_TLS_WORDS = re.compile(r"(?i)tls|ssl|x509|crypt")
_TASK = re.compile(
    r"(?:error in creating|creat\w{0,4}|start) (?:\w{1,30} ){0,3}task(?: \w{1,30}){0,2} fail|"
    r"error (?:in )?creating (?:task|restrictedpinned)|"
    r"fail\w{0,3} to create (?:\w{1,30} ){0,3}task|xtaskcreate\w{0,20}\(?\)? fail|"
    r"fail\w{0,3} to start task$"
)
_ANY = re.compile(
    r"\besp_err_no_mem\b|\benomem\b|\berrno\W{1,3}(?:12\b|not enough space)|\b0x101\b|\bno mem(?:ory)?\b|"
    r"out of mem(?:ory)?\b|not enough (?:mem|ram|heap)|insufficient (?:heap|memory|internal)|"
    r"m?alloc(?:ation|ate|ating)?(?:\(\d{1,9}(?: bytes)?\))? (?:\w{1,20} ){0,4}fail|"
    r"m?alloc\(?\)? error|fail\w{0,3} to (?:m|c|re)?alloc|(?:could not|couldn't|cannot|can't|unable to) alloc|"
    r"error malloc|mem(?:ory)? (?:fail|exhausted)|fail\w{0,3} allocat|"
    r"\besp_\w{1,40}(?:\(\))?:? 257\b|(?<!\w)\(257\)|\bret=101\b|0x\(101\)|card \(101\)|could not send data: 12\b"
)
"""Texts in errors and warnings, lower case. 257 is ESP_ERR_NO_MEM in decimal, 12 is ENOMEM."""
_SPOKEN = re.compile(
    r"out of mem(?:ory)?\b(?!\?)|(?:heap|memory|ram) (?:is )?too low|no memory(?=[:!.]|$)|"
    r"not enough (?:free )?(?:memory|heap|ram)\b|"
    r"(?:fail(?:ed|s)?|unable|couldn't|could not|cannot|can't) (?:to )?(?:m|c|re)?alloc(?:at\w{1,3})?\b|"
    r"\b(?:m|c|re)?alloc\w{0,12}\(?\)? (?:failed|failure|error)\b(?!(?: \w{1,20})?s?\s?[:=]\s?0\b| hook| handler)|"
    r"[=:(]\s?(?:0x101 \()?esp_err_no_mem\b"
)
"""Unambiguous texts in lines without a header, lower case."""
_SPOKEN_MAX = 300
_SIZE = re.compile(r"\b(\d{1,10})[ -]?(?:[Bb]ytes?|B)\b|\balloc (\d{1,10}) fail|\bneed (\d{1,10})\b")
_CONSUMERS = (
    (re.compile(r"(?i)^i2s"), "I2S out of DMA memory", "dma"),
    (
        re.compile(r"(?i)^(?:cam_hal|(?:esp_)?camera|esp32.camera|s3 ll_cam|ll_cam)"),
        "camera frame buffer",
        "",
    ),
    (re.compile(r"(?i)^(?:esp_)?wifi(?:_init|generic|sta|ap)?(?:\b|_)|^phy_init\b"), "Wi-Fi buffers", "dma"),
    (re.compile(r"(?i)tls|ssl|mbed|x509|dynamic.impl"), "TLS connection", ""),
    (re.compile(r"(?i)^(?:esp_)?(?:bt_|bt\b|btdm|nimble|ble|hci|bluedroid)"), "Bluetooth", "internal"),
    (
        re.compile(r"(?i)^(?:lwip|esp_netif|(?:esp\.)?emac|w5500|ksz8851|dm9051|dhcps?|eth|esp_eth|tcpip)"),
        "network stack",
        "internal",
    ),
    (re.compile(r"(?i)http|mqtt|websocket|transport"), "network client or server", ""),
    (
        re.compile(r"(?i)^(?:esp_)?(?:spi|lcd|i80|spi_master|rmt|uart|sdmmc|sdspi|vfs_fat_sd|adc|gdma|usb)"),
        "driver's DMA buffer",
        "dma",
    ),
)
_FUNCTION = re.compile(r"\b(?:esp|nimble|i2s|sdmmc|spi|httpd)_\w{1,50}")


def denied(tag: str, text: str, *, is_complaint: bool) -> Denied | None:
    """The failed allocation that a line reports; None for any other line.

    Args:
        tag: tag of the line; empty for a line without a header.
        text: text after the header.
        is_complaint: whether the line is an error or a warning. In other lines, only unambiguous texts count.
    """
    if "failed to allocate" in text and (found := _HOOK.search(text)) is not None:
        caps = int(found[2], 16 if found[2].startswith(("0x", "0")) else 10)
        called = _CALLED.search(text, max(0, found.start() - _CALLED_MAX), found.start())
        return Denied(
            "", memory_of_caps(caps), int(found[1]), caps, function=called[1] if called is not None else ""
        )
    if (found := _ABORTED.search(text)) is not None:
        caps = int(found[2], 16)
        return Denied("", memory_of_caps(caps), int(found[1], 16), caps)
    if text.startswith(CHECK_FAILED):
        return Denied("")
    if _BAD_ALLOC.search(text):
        return Denied("C++ object")
    if (found := _PYTHON.search(text)) is not None:
        return Denied("Python object", "", int(found[1]) if found[1] else None)
    if (found := _WIFI_BUFFER.search(text)) is not None:
        return Denied("Wi-Fi buffers", "dma", int(found[1]), have=int(found[2]))
    if not tag and not is_complaint:
        return _spoken(text)
    if not is_complaint:
        return None
    if _RX_BUFFERS.search(text):
        return Denied("Wi-Fi buffers", "dma")
    if _TLS.search(text) or (_TLS_SHORT.search(text) and (_TLS_WORDS.search(text) or _TLS_WORDS.search(tag))):
        return Denied("TLS connection")
    lower = text.lower()
    if "task" in lower and _TASK.search(lower):
        return Denied("task stack", "internal", _size(text))
    if not _ANY.search(lower):
        return None
    consumer, memory = _consumer(tag)
    if not consumer and (function := _FUNCTION.search(text)) is not None:
        consumer, memory = _consumer(function[0])
    return Denied(consumer, memory, _size(text))


def consumer_of(function: str) -> tuple[str, str]:
    """The component of an ESP-IDF function, and the memory that it needs; empty if unknown."""
    return _consumer(function)


def _spoken(text: str) -> Denied | None:
    """The failed allocation that the firmware reports without a log header; None for any other line."""
    lower = text[:_SPOKEN_MAX].lower()
    return Denied("", "", _size(text)) if _SPOKEN.search(lower) else None


def _size(text: str) -> int | None:
    found = _SIZE.search(text)
    return next((int(size) for size in found.groups() if size), None) if found else None


@lru_cache(maxsize=256)
def _consumer(name: str) -> tuple[str, str]:
    """The component of a tag or a function, and the memory that it needs."""
    return next(
        ((consumer, memory) for pattern, consumer, memory in _CONSUMERS if pattern.search(name)), ("", "")
    )
