"""Fake firmware: the board's side of the protocol, for tests of the client.

Written from the protocol document, without the client's encoder, so that both cannot contain the same mistake.
"""

from __future__ import annotations

import binascii
import json
import re
from collections.abc import Callable
from typing import Any

Handler = Callable[["FakeFirmware", dict[str, str]], "dict[str, Any] | list[dict[str, Any]] | None"]

_ARG = re.compile(r" ([a-z0-9_]+)=(\"(?:\\.|[^\"\\])*\"|\S+)")

IDENTITY: dict[str, Any] = {
    "project": "hotpin",
    "version": "1",
    "elf_sha256": "00",
    "idf": "native",
    "chip": "ESP32",
    "rev": 301,
    "mac": "24:0a:c4:00:00:01",
    "psram": 4194304,
    "flash": 4194304,
    "reset_reason": "POWERON",
    "boot_count": 1,
    "free_at_main": 300000,
    "build": "native",
}


def checksum(body: bytes) -> bytes:
    return b"%04X" % binascii.crc_hqx(body, 0xFFFF)


class FakeFirmware:
    """Fake firmware. It sends bytes to `output`; the test passes bytes to `receive`."""

    def __init__(self, output: Callable[[bytes], object], boot: str = "0a0b0c0d") -> None:
        self.output = output
        self.boot = boot
        self.n = 0
        self.t = 100
        self.executed: list[str] = []
        self.handlers: dict[str, Handler] = {
            "sys.info": lambda _, args: dict(IDENTITY),
            "heap.probe": lambda _, args: {"free": 100, "largest": 50, "minimum": 10},
            "echo": lambda _, args: {"args": args},
        }
        self.cache: dict[tuple[int, str], bytes] = {}
        self.checksum_required = False
        self._line = b""

    # --- Output ---

    def record(self, head: str, fields: dict[str, Any]) -> bytes:
        self.t += 1
        fields = {**fields, "t": self.t, "b": self.boot, "n": self.n}
        self.n += 1
        body = f"{head} {json.dumps(fields, separators=(',', ':'))}".encode()
        return b"@" + body + b"*" + checksum(body) + b"\r\n"

    def event(self, name: str, **fields: Any) -> None:
        self.output(self.record("!", {"event": name, **fields}))

    def log(self, text: str, tag: str = "APP", level: str = "I") -> None:
        self.output(f"{level} ({self.t}) {tag}: {text}\r\n".encode())

    def start(self, boot: str | None = None, banner: bool = True, reason: str = "POWERON") -> None:
        """Resets the fake firmware: prints the banner, chooses a new boot id, sends the boot event with this reset
        reason."""
        self.boot = boot or f"{int(self.boot, 16) + 1:08x}"
        self.n, self.t, self.cache, self._line = 0, 100, {}, b""
        if banner:
            self.output(b"\r\nrst:0x1 (POWERON_RESET),boot:0x13 (SPI_FAST_FLASH_BOOT)\r\n")
        self.event("boot", **{**IDENTITY, "reset_reason": reason})

    # --- Input ---

    def receive(self, data: bytes) -> None:
        for byte in data:
            if byte not in b"\r\n":
                self._line += bytes([byte])
            elif self._line:
                line, self._line = self._line, b""
                self._request(line.decode("latin-1"))

    def _request(self, line: str) -> None:
        # Garbage may precede a request; the start of the request is found by its checksum.
        for at in (match.start() for match in re.finditer("@", line)):
            body, star, crc = line[at + 1 :].rpartition("*")
            if star and checksum(body.encode("latin-1")) == crc.encode("latin-1"):
                line = line[at:]
                break
        else:
            body = line[1:]
            head = re.match(r"@(\d{1,5})(?!\d)", line)
            if not head:
                return
            if "*" in line or self.checksum_required:
                self.output(self.record(head[1], {"ok": False, "err": "CRC"}))
                return
        match = re.fullmatch(r"(\d{1,5}) ([^\s]+)((?: [a-z0-9_]+=(?:\"(?:\\.|[^\"\\])*\"|\S+))*)", body)
        if match is None:
            self.output(self.record(body.split(" ")[0], {"ok": False, "err": "SYNTAX"}))
            return
        key = (int(match[1]), line)
        if key not in self.cache:
            self.cache[key] = self._execute(match[1], match[2], match[3])
        self.output(self.cache[key])

    def _execute(self, request_id: str, command: str, arguments: str) -> bytes:
        self.executed.append(command)
        args = {
            key: re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else value
            for key, value in _ARG.findall(arguments)
        }
        if command not in self.handlers:
            return self.record(request_id, {"ok": False, "err": "UNKNOWN_COMMAND", "msg": command})
        answer = self.handlers[command](self, args)
        if answer is None:
            return b""
        parts = answer if isinstance(answer, list) else [answer]
        return b"".join(
            self.record(request_id, {"ok": True, **part, **({"more": True} if number < len(parts) else {})})
            for number, part in enumerate(parts, 1)
        )
