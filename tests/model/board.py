"""Runs the host-built firmware with a clock that advances only on request, without a virtual board.

Only `run()` and `jump()` advance the clock, so a game depends only on its script, not on host time.
"""

from __future__ import annotations

import itertools
import json
import random
import re
import select
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hotpin_hil.protocol.crc import crc16
from hotpin_hil.protocol.request import encode_request
from hotpin_hil.virtual import profile
from hotpin_hil.virtual.process import RESET_STATUS, describe_exit

POWER_ON, SOFTWARE = 1, 12
"""ROM reset codes."""
START_US = 900_000
"""Virtual time from the reset to the start of the app."""
RTC_BYTES = 8192
HOST_BUDGET_S = 60.0
"""Host time after which a program without an answer counts as hung."""
REPLY_US = 40_000_000
"""Board time after which a request counts as unanswered; the longest command takes 30 s."""
SLICES_US = (10_000, 90_000, 200_000, 400_000)
"""Board time between two checks for a reply: the first, second, … pause; the last value repeats."""
PROFILE = "hotpin-5.4"

_RECORD = re.compile(rb"@(!|\d+) (\{[^\r\n]*\})\*([0-9A-F]{4})\r?\n")
_BOX = re.compile(rb"Memory Statistics - ([^\r\n]*?)(?:\x1b\[0m)?\r?\n")


class BoardError(AssertionError):
    """The firmware broke the protocol: it hung, ended, or sent a damaged record."""


@dataclass(frozen=True)
class Item:
    """One thing that the firmware sent: a record (`head` is `!` or an id) or a statistics box (`head` is `box`)."""

    head: str
    data: dict[str, Any]


class Board:
    """A board: files with its flash and RTC memory and, while the power is on, the process that runs the firmware."""

    def __init__(self, directory: Path, elf: Path, flash: bytes) -> None:
        self._elf = elf
        self._params = directory / "params"
        self._flash = directory / "flash.bin"
        self.rtc_file = directory / "rtc.bin"
        self._flash.write_bytes(flash)
        self._random = random.Random(1)
        self._process: subprocess.Popen[bytes] | None = None
        self._heap_lines = profile.load(PROFILE).boot_lines()
        self._next_id = 0
        self._sensor_used = False
        self.now_us = 0
        self.items: list[Item] = []
        """Items that have arrived and that the caller has not yet removed."""
        self.reset_code: int | None = None
        """ROM reset code at the end of the program."""
        self._lose_rtc()

    # --- Power and resets ---

    def start(self, cause: int, uptime_us: int = 0) -> None:
        """Start the program with a ROM reset code; returns when all of its tasks are waiting for the first time."""
        self._buffer = b""
        self.items.clear()
        self.reset_code = None
        self._uart, uart = socket.socketpair()
        self._clock, clock = socket.socketpair()
        lines = [
            "mac=24:0a:c4:01:02:03", "chip_revision=301", f"psram_bytes={4 << 20}",
            f"flash_file={self._flash}", f"rtc_file={self.rtc_file}", f"rom_cause={cause}",
            f"start_us={START_US}", f"uptime_us={uptime_us}", f"seed={self._random.getrandbits(32)}",
            "time_scale=0", "clock_held=1", "uart_paced=0", f"elf_sha256={'5a' * 32}",
            f"faults_fd={clock.fileno()}", *self._heap_lines,
        ]  # fmt: skip
        if self._sensor_used:
            lines.append("fault=sensor_used=1")
        self._sensor_used = True
        self._params.write_text("\n".join(lines) + "\n", encoding="utf-8")
        self._process = subprocess.Popen(
            [str(self._elf), str(self._params)], stdin=uart, stdout=uart, pass_fds=[clock.fileno()]
        )
        uart.close()
        clock.close()
        self.now_us = START_US + uptime_us
        self._await_stop(0)

    def cut_power(self) -> None:
        """End the program. RTC memory is lost, flash is kept, as after a power cut or a reset over EN."""
        if self._process is not None:
            self._process.kill()
            self._close()
        self._lose_rtc()
        self._sensor_used = False

    def _lose_rtc(self) -> None:
        self.rtc_file.write_bytes(self._random.randbytes(RTC_BYTES))

    def _close(self) -> None:
        assert self._process is not None
        self._uart.close()
        self._clock.close()
        status = self._process.wait(HOST_BUDGET_S)
        self._process = None
        self.reset_code = status - RESET_STATUS
        if status < 0 and status != -9:
            raise BoardError(f"the program ended with {describe_exit(status)}")

    # --- Time and the serial line ---

    def run(self, us: int) -> bool:
        """Let the clock run; adds the output to `items`. Returns False if the program ended in that time."""
        try:
            self._clock.sendall(b"run=%d\n" % us)
        except (BrokenPipeError, ConnectionResetError):
            return self._ended(us)
        return self._await_stop(us)

    def _await_stop(self, us: int) -> bool:
        answer = b""
        try:
            while not answer.endswith(b"\n"):
                ready, _, _ = select.select([self._clock, self._uart], [], [], HOST_BUDGET_S)
                if not ready:
                    raise BoardError(f"the program hangs at {self.now_us} us")
                if self._uart in ready:
                    self._read(block=False)
                if self._clock in ready:
                    part = self._clock.recv(64)
                    if not part:
                        return self._ended(us)
                    answer += part
        except (BrokenPipeError, ConnectionResetError):
            return self._ended(us)
        self.now_us = int(answer)
        self._read(block=False)
        return True

    def jump(self, us: int) -> None:
        """Advance the clock and all pending deadlines by the same time, so that nothing happens in between."""
        self._clock.sendall(b"jump=%d\n" % us)
        self.now_us += us

    def fault(self, name: str) -> None:
        """Request a fault of the firmware's environment, see docs/faults.md."""
        self._clock.sendall(name.encode() + b"\n")

    def _ended(self, us: int) -> bool:
        self.now_us += us
        self._read(block=True)
        self._close()
        return False

    def _read(self, block: bool) -> None:
        self._uart.settimeout(HOST_BUDGET_S if block else 0)
        while True:
            try:
                data = self._uart.recv(65536)
            except BlockingIOError:
                break
            except ConnectionResetError:
                data = b""
            if not data:
                break
            self._buffer += data
        end = self._buffer.rfind(b"\n") + 1
        for line in self._buffer[:end].splitlines(keepends=True):
            if b"@" in line and (found := _RECORD.search(line)):
                if crc16(line[found.start() + 1 : found.end(2)]) != int(found[3], 16):
                    raise BoardError(f"a record with a wrong checksum: {line!r}")
                self.items.append(Item(found[1].decode(), json.loads(found[2])))
            elif b"Memory Statistics" in line and (found := _BOX.search(line)):
                self.items.append(Item("box", {"context": found[1].decode()}))
        self._buffer = self._buffer[end:]

    # --- Requests ---

    def send(self, command: str, **args: Any) -> str:
        """Put a request on the serial line without advancing the clock. Returns its id, in the form of `Item.head`."""
        self._next_id = self._next_id % 65535 + 1
        self._uart.sendall(encode_request(self._next_id, command, args))
        return str(self._next_id)

    def run_until_answered(self, requests: list[str]) -> bool:
        """Let the clock run until the last record of each reply is in `items`. Returns False if the program ended."""
        waiting = set(requests)
        seen, end_us = 0, self.now_us + REPLY_US
        for slice_us in itertools.chain(SLICES_US, itertools.repeat(SLICES_US[-1])):
            alive = self.run(slice_us)
            for item in self.items[seen:]:
                if not item.data.get("more"):
                    waiting.discard(item.head)
            seen = len(self.items)
            if not waiting or not alive:
                return alive
            if self.now_us > end_us:
                break
        raise BoardError(f"no reply to requests {waiting} within {REPLY_US} us")
