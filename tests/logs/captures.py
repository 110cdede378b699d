"""Turns a log into what different terminals and tools would record."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

Variant = Callable[[bytes], bytes]
START = datetime(2026, 2, 28, 23, 50)


def _with_prefix(prefix: Callable[[int], str]) -> Variant:
    def variant(log: bytes) -> bytes:
        lines = log.split(b"\n")
        end = lines.pop() if log.endswith(b"\n") else None
        marked = [prefix(number).encode() + line for number, line in enumerate(lines)]
        return b"\n".join([*marked, *([] if end is None else [end])])

    return variant


def _clock(text: str) -> Variant:
    """Adds the time of day to each line. The lines are 700 ms apart and cross the end of a day and of a month."""
    return _with_prefix(lambda number: (START + timedelta(milliseconds=700 * number)).strftime(text))


def _with_colours(start: bytes, end: bytes) -> Variant:
    """Adds ESP_LOG's colour codes around each line that has a log header."""

    def variant(log: bytes) -> bytes:
        lines = log.split(b"\n")
        return b"\n".join(
            start + line + end if line[1:3] == b" (" and line[:1] in b"EWI" else line for line in lines
        )

    return variant


VARIANTS: dict[str, Variant] = {
    "idf_monitor": _clock("%Y-%m-%d %H:%M:%S "),
    "arduino_ide": _clock("%H:%M:%S.120 -> "),
    "platformio": _clock("%H:%M:%S > "),
    "ts": _clock("%b %d %H:%M:%S "),
    "syslog": _clock("%b %d %H:%M:%S bench-7 ser2net[4711]: "),
    "esphome": _clock("[%H:%M:%S]"),
    "iso": _clock("%Y-%m-%dT%H:%M:%S.%f+01:00 "),
    "seconds": _with_prefix(lambda number: f"[{number * 0.7:12.6f}] "),
    "quoted": _with_prefix(lambda _: "> "),
    "indented": _with_prefix(lambda _: "    "),
    "crlf": lambda log: log.replace(b"\n", b"\r\n"),
    "crcrlf": lambda log: log.replace(b"\n", b"\r\r\n"),
    "utf8_mark": lambda log: b"\xef\xbb\xbf" + log,
    "utf16_mark": lambda log: log.decode(errors="replace").encode("utf-16"),
    "utf16_be": lambda log: log.decode(errors="replace").encode("utf-16-be"),
    "colours": _with_colours(b"\x1b[0;32m", b"\x1b[0m"),
    "colours_of_a_web_page": _with_colours("␛[0;32m".encode(), "␛[0m".encode()),
    "colours_without_escape": _with_colours(b"[0;32m", b"[0m"),
    "colours_as_text": _with_colours(b"[1B][0;32m", b"[1B][0m"),
}
