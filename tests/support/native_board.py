"""Runs a host-built test program with flash and RTC memory files, without a virtual board."""

from __future__ import annotations

import os
import re
import select
import socket
import struct
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from hotpin_hil.virtual import profile
from tests.support.native_build import build_native

HOST_BUDGET_S = 30.0
"""Timeout of a case in host seconds; not a limit of the board."""

CASE_NAME_OFFSET = 0x3FF000
NVS_OFFSET = 0x9000
NVS_SIZE = 0x6000
COREDUMP_OFFSET = 0x210000
COREDUMP_SIZE = 0x20000
BYTE_US = 10 / 115200 * 1e6
STATUS_SW_CPU_RESET = 112
REASON_POWERON, REASON_SW, REASON_PANIC, REASON_INT_WDT, REASON_TASK_WDT = 1, 3, 4, 5, 6


def build_runtime_test() -> Path:
    """Builds the test program of the host runtime."""
    return build_native("native-test", "runtime_test.elf", "-DHOTPIN_FIRMWARE=OFF")


def build_drivers_test() -> Path:
    """Builds the test program that runs the project's drivers on models of their hardware."""
    return build_native("native-drivers-test", "drivers_test.elf", "-DHOTPIN_PACKAGE=OFF")


def partition_table() -> bytes:
    def entry(kind: int, subtype: int, offset: int, size: int, label: str) -> bytes:
        return struct.pack("<HBBII16sI", 0x50AA, kind, subtype, offset, size, label.encode(), 0)

    return (
        entry(1, 2, NVS_OFFSET, NVS_SIZE, "nvs")
        + entry(0, 0, 0x10000, 0x200000, "factory")
        + entry(1, 3, COREDUMP_OFFSET, COREDUMP_SIZE, "coredump")
    )


@dataclass(frozen=True)
class Result:
    text: str
    status: int

    @property
    def app(self) -> str:
        """The output after ESP-IDF's boot log."""
        return self.text.split("Calling app_main()\n", 1)[-1]

    def value(self, name: str) -> int:
        found = re.search(rf"^{name} (-?\d+)$", self.text, re.MULTILINE)
        assert found, f"no line '{name} N' in:\n{self.text}"
        return int(found[1])


class Run:
    """A running program, whose standard input and output are one end of a socket pair."""

    def __init__(self, elf: Path, params: Path, early_input: bytes = b"") -> None:
        self.line, theirs = socket.socketpair()
        self.line.sendall(early_input)
        self.process = subprocess.Popen(
            [str(elf), str(params)], stdin=theirs, stdout=theirs, stderr=subprocess.PIPE
        )
        theirs.close()
        self.received = b""

    def read_until(self, marker: bytes) -> bool:
        """Reads until the marker appears (True) or the socket is closed (False)."""
        deadline = time.monotonic() + HOST_BUDGET_S
        looked_at = 0
        while self.received.find(marker, looked_at) < 0:
            looked_at = max(0, len(self.received) - len(marker))
            left = deadline - time.monotonic()
            ready, _, _ = select.select([self.line], [], [], max(0, left))
            if not ready or left <= 0:
                pytest.fail(f"no {marker!r} in {self.received[-4000:].decode('utf-8', 'replace')}")
            try:
                data = self.line.recv(65536)
            except ConnectionResetError:
                data = b""
            if not data:
                return False
            self.received += data
        return True

    @property
    def to_end(self) -> bytes:
        """The output up to the end of the case; later output is left out."""
        assert b"END\r\n" in self.received
        return self.received.split(b"END\r\n")[0]

    def finish(self) -> Result:
        """Waits for the end of the case, then powers off."""
        self.read_until(b"END\r\n")
        self.line.close()
        return self.wait()

    def wait(self) -> Result:
        _, errors = self.process.communicate(timeout=HOST_BUDGET_S)
        text = self.received.decode("utf-8", "replace").replace("\r\n", "\n")
        return Result(text + errors.decode(), self.process.returncode)


class Board:
    """A board's flash and RTC memory, on which a test program can be started with parameters."""

    def __init__(self, directory: Path, elf: Path, profile_name: str = "recorded") -> None:
        self.elf = elf
        self.profile_name = profile_name
        self.flash = directory / "flash.bin"
        self.rtc = directory / "rtc.bin"
        self.params = directory / "params"
        with self.flash.open("wb") as file:
            file.write(b"\xff" * 0x400000)
            file.seek(0x8000)
            file.write(partition_table())
        self.rtc.write_bytes(os.urandom(8192))

    def start(self, case: str, early_input: bytes = b"", **changes: object) -> Run:
        with self.flash.open("r+b") as file:
            file.seek(CASE_NAME_OFFSET)
            file.write(case.encode() + b"\0")
        values: dict[str, object] = {
            "mac": "24:0a:c4:01:02:03",
            "chip_revision": 301,
            "psram_bytes": 4 << 20,
            "flash_file": self.flash,
            "rtc_file": self.rtc,
            "rom_cause": 1,
            "start_us": 900000,
            "seed": 7,
            "time_scale": 0,
            "uart_paced": 0,
            "elf_sha256": "5a" * 32,
        }
        values.update(changes)
        lines = [f"{key}={value}" for key, value in values.items()]
        lines += profile.load(self.profile_name).boot_lines()
        self.params.write_text("# a comment\n" + "\n".join(lines) + "\n", encoding="utf-8")
        return Run(self.elf, self.params, early_input)

    def run(self, case: str, early_input: bytes = b"", **changes: object) -> Result:
        return self.start(case, early_input, **changes).finish()
