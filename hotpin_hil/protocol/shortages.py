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
_CHECK = re.compile(r"ESP_ERROR_CHECK failed: esp_err_t 0x101\b")
_EXCEPTION = re.compile(
    r"std::bad_alloc|MemoryError: memory allocation failed(?:, allocating (\d{1,10}) bytes)?"
)
_WIFI_BUFFER = re.compile(r"alloc eb len=(\d{1,10}) type=\d{1,3} fail, heap:(\d{1,10})")
_RX_BUFFERS = re.compile(r"Expected to init \d{1,4} (?:static |dynamic )?[rt]x buffer, actual is \d{1,4}")
_TLS = re.compile(
    r"-0x7[fF]00\b|-32512\b|-0x2880\b|-0x3[fF]80\b|-0x4[dD]80\b|(?:SSL|X509|PK|ECP|BIGNUM) - .{0,40}[Mm]emory"
)
_TASK = re.compile(
    r"(?:error in creating|creat\w{0,4}|start) (?:\w{1,30} ){0,3}task(?: \w{1,30}){0,2} fail|"
    r"error in creating task|fail\w{0,3} to create (?:\w{1,30} ){0,3}task|xtaskcreate\w{0,20}\(?\)? fail"
)
_ANY = re.compile(
    r"\besp_err_no_mem\b|\benomem\b|\berrno:? 12\b|\b0x101\b|\bno mem(?:ory)?\b|out of mem(?:ory)?\b|"
    r"not enough mem|insufficient (?:heap|memory|internal)|m?alloc(?:ation|ate|ating)? (?:\w{1,20} ){0,4}fail|"
    r"m?alloc\(?\)? error|fail\w{0,3} to (?:m|c|re)?alloc|(?:could not|couldn't|cannot|can't|unable to) alloc|"
    r"error malloc|mem(?:ory)? fail|fail\w{0,3} allocat"
)
_SIZE = re.compile(r"\b(\d{1,10})[ -](?:bytes?|B)\b")
_CONSUMERS = (
    (re.compile(r"(?i)^i2s"), "I2S out of DMA memory", "dma"),
    (re.compile(r"(?i)^(?:cam_hal|camera|esp32.camera|s3 ll_cam|ll_cam)"), "camera frame buffer", ""),
    (re.compile(r"(?i)^(?:wifi|wifi_init|phy_init)\b"), "Wi-Fi buffers", "dma"),
    (re.compile(r"(?i)tls|ssl|mbed|x509|dynamic_impl"), "TLS connection", ""),
    (re.compile(r"(?i)^(?:bt_|bt|btdm|nimble|ble|hci|bluedroid)"), "Bluetooth", "internal"),
    (re.compile(r"(?i)^(?:lwip|esp_netif|emac|dhcps?|eth)"), "network stack", "internal"),
    (re.compile(r"(?i)http|mqtt|websocket|transport"), "network client or server", ""),
    (
        re.compile(r"(?i)^(?:spi|lcd|i80|spi_master|rmt|uart|sdmmc|sdspi|adc|gdma|usb)"),
        "driver's DMA buffer",
        "dma",
    ),
)


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
    if _CHECK.match(text):
        return Denied("")
    if (found := _EXCEPTION.search(text)) is not None:
        return Denied("C++ or Python object", "", int(found[1]) if found[1] else None)
    if (found := _WIFI_BUFFER.search(text)) is not None:
        return Denied("Wi-Fi buffers", "dma", int(found[1]), have=int(found[2]))
    if not is_complaint:
        return None
    if _RX_BUFFERS.search(text):
        return Denied("Wi-Fi buffers", "dma")
    if _TLS.search(text):
        return Denied("TLS connection")
    size = _SIZE.search(text)
    lower = text.lower()
    if "task" in lower and _TASK.search(lower):
        return Denied("task stack", "internal", int(size[1]) if size else None)
    if not _ANY.search(lower):
        return None
    consumer, memory = _consumer(tag)
    return Denied(consumer, memory, int(size[1]) if size else None)


@lru_cache(maxsize=256)
def _consumer(tag: str) -> tuple[str, str]:
    """The component with a tag, and the memory that it needs."""
    return next(
        ((consumer, memory) for pattern, consumer, memory in _CONSUMERS if pattern.search(tag)), ("", "")
    )
