"""Writes a test's events and raw log and, after a failure, the state of the heaps and the end of the console output.

`EvidencePlugin` calls it. `evidence.lines` defines the lines.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from hotpin_hil.device import Device, DeviceError, NoReply, budgets
from hotpin_hil.errors import HilError, host_remedy
from hotpin_hil.evidence.blame import causes
from hotpin_hil.evidence.board_notes import REGIONS, BoardNotes
from hotpin_hil.evidence.lines import (
    ComplaintNote,
    EmulatorNote,
    HeapNote,
    Moment,
    NoiseNote,
    RawLog,
    ResultsLine,
    SliceLog,
)
from hotpin_hil.link.channel import Channel, Cursor
from hotpin_hil.link.line import channel_of, line_of
from hotpin_hil.logs.noise import complaints
from hotpin_hil.printable import printable
from hotpin_hil.pytest_plugin.board import BoardInUse
from hotpin_hil.pytest_plugin.panics import keep_panics
from hotpin_hil.report.text import LOG_LINES

NOTES_KEY = pytest.StashKey[BoardNotes]()

NO_MEMORY = "ESP_ERR_NO_MEM"
INTERNAL, PSRAM = "INTERNAL,8BIT", "SPIRAM"
"""Capabilities of the heaps drawn after a memory shortage."""
PSRAM_BLOCKS = ("camera frame", "camera PSRAM", "STT ring")
"""Names of the blocks that modes allocate in PSRAM (mode_admission.c)."""
MALLOC_CAP_SPIRAM = 1 << 10
"""esp_heap_caps.h"""
_TTS_BLOCK = re.compile(r"a block of (\d+)")
"""Size of the requested block in the refusal of a TTS stream."""
COMPLAINTS_MAX = 200
"""Maximum number of error and warning lines kept per failed test; the last ones are kept."""


class NoteKeeper:
    """Writes the notes about the tests of one process."""

    def __init__(self, board: BoardInUse, folder: Path, take: Callable[[ResultsLine], None]) -> None:
        self._board = board
        self._folder = folder
        self._take = take
        self._channel: Channel | None = None
        self._dut: Any = None
        self._faults: list[str] = []
        """Emulator faults that caused restarts. The emulator appends to this list during the test."""

    def begin(self, item: pytest.Item) -> None:
        """Start the notes of a test, before its set-up."""
        self._channel = self._dut = None
        self._faults = []
        item.stash[NOTES_KEY] = BoardNotes(item.nodeid, lambda: self._board.mac, self._take)

    def listen(self, item: pytest.Item, dut: Any) -> None:
        """Observe the channel of a `dut` from its first byte."""
        notes = item.stash.get(NOTES_KEY, None)
        channel = channel_of(dut)
        if notes is not None and channel is not None:
            self._channel, self._dut = channel, dut
            self._faults = getattr(line_of(dut), "faults", [])
            channel.observe(notes.record)

    def record_failure(self, item: pytest.Item, error: BaseException) -> list[str]:
        """Record the state of the board after a failure, before teardown changes it.

        Returns:
            A readable text for each panic of the test.
        """
        notes = item.stash.get(NOTES_KEY, None)
        if notes is None or self._channel is None:
            return []
        self._keep_slice(item, self._channel)
        self._keep_complaints(item, self._channel)
        why = _memory_shortage(error, self._channel)
        if why and self._channel.error is None and not isinstance(error, NoReply):
            self._draw_heaps(notes, self._channel, why, _wanted(error, self._channel))
        # Last, because reading a core dump resets the board; and only once, even if teardown also fails.
        dut, self._dut = self._dut, None
        if dut is None:
            return []
        try:
            return keep_panics(
                item.nodeid, self._board.mac, self._channel, dut, folder=self._folder, take=self._take
            )
        except OSError as shortage:
            if not host_remedy(shortage):
                raise
            return [f"the panics were not kept: {shortage} ({host_remedy(shortage)})"]

    def end(self, item: pytest.Item) -> None:
        """End the notes of a test, after the teardown of its fixtures."""
        channel, self._channel, self._dut = self._channel, None, None
        for text, count in Counter(self._faults).items():
            self._take(EmulatorNote(item.nodeid, self._board.mac, text, count))
        if channel is not None:
            noise = channel.noise()
            if noise:
                counts = {name: count for name, count in asdict(noise).items() if name != "mismatched"}
                self._take(NoiseNote(item.nodeid, self._board.mac, **counts))
        log = self._raw_log(item)
        if log is not None and log.is_file():
            content = log.read_bytes()
            self._take(
                RawLog(
                    item.nodeid,
                    self._board.mac,
                    self._relative(log),
                    len(content),
                    hashlib.sha256(content).hexdigest(),
                )
            )

    def _keep_slice(self, item: pytest.Item, channel: Channel) -> None:
        text = printable(channel.text().decode("utf-8", errors="replace").replace("\r\n", "\n"))
        rows = text.splitlines()
        log = self._raw_log(item)
        self._take(
            SliceLog(
                item.nodeid,
                self._board.mac,
                self._relative(log) if log else None,
                "\n".join(rows[-LOG_LINES:]),
                max(0, len(rows) - LOG_LINES),
            )
        )

    def _keep_complaints(self, item: pytest.Item, channel: Channel) -> None:
        """Record error and warning lines, except those of a boot without records, which has no boot id."""
        for line in complaints(Device(channel).log_lines(Cursor()))[-COMPLAINTS_MAX:]:
            boot = channel.boot_at(line.offset)
            if boot is not None:
                moment = Moment(item.nodeid, self._board.mac, boot, line.t_ms)
                self._take(ComplaintNote(moment, printable(line.whole)))

    def _draw_heaps(
        self, notes: BoardNotes, channel: Channel, why: str, wanted: tuple[str, int] | None
    ) -> None:
        """Record the heap maps, starting with the memory where a block did not fit."""
        device = Device(channel)
        where, size = wanted or (INTERNAL, None)
        with suppress(HilError):  # the test has already failed
            for caps in (INTERNAL, PSRAM) if where == INTERNAL else (PSRAM, INTERNAL):
                wanted_size = size if caps == where else None
                self._take(HeapNote(notes.moment, why, caps, wanted_size, tuple(device.blocks(caps))))
            notes.keep_reply(REGIONS, device.command(REGIONS, timeout_s=budgets.SLOW_REPLY_S))

    @staticmethod
    def _raw_log(item: pytest.Item) -> Path | None:
        path = (getattr(item, "funcargs", None) or {}).get("_pexpect_logfile")
        return Path(path) if isinstance(path, str) else None

    def _relative(self, path: Path) -> str:
        with suppress(ValueError):
            return path.resolve().relative_to(self._folder.resolve()).as_posix()
        return str(path)


def _memory_shortage(error: BaseException, channel: Channel) -> str:
    """The evidence, in words, that a failed test was short of memory; empty if there is none."""
    for cause in causes(error):
        if isinstance(cause, DeviceError) and cause.err == NO_MEMORY:
            return str(cause)
    for data in _events(channel):
        if data["event"] == "mem.alloc_failed":
            return f"an allocation of {data.get('size')} bytes failed"
        if data["event"] == "mode" and data.get("missing"):
            return f"a mode transition needed a block of {data['missing']} bytes"
        if data["event"] == "mem.warning" and str(data.get("type")).startswith("FRAGMENTATION"):
            return f"fragmentation of {data.get('value')} %"
    return ""


def _wanted(error: BaseException, channel: Channel) -> tuple[str, int] | None:
    """Capabilities and size of the newest block that could not be allocated."""
    for cause in causes(error):
        if isinstance(cause, DeviceError) and cause.err == NO_MEMORY and cause.command == "tts.open":
            block = _TTS_BLOCK.search(cause.msg)
            return (PSRAM, int(block[1])) if block else None
    for data in _events(channel):
        if data["event"] == "mem.alloc_failed":
            size, caps = data.get("size"), data.get("caps")
            is_psram = isinstance(caps, int) and caps & MALLOC_CAP_SPIRAM
        elif data["event"] == "mode":
            size, is_psram = data.get("missing"), data.get("block") in PSRAM_BLOCKS
        else:
            continue
        if isinstance(size, int) and size > 0:
            return PSRAM if is_psram else INTERNAL, size
    return None


def _events(channel: Channel) -> Iterator[dict[str, Any]]:
    """Events, newest first."""
    return (record.data for record in reversed(channel.records()) if record.event)
