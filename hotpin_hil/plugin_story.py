"""What a test leaves in the results beside its measurements: what the board said, its raw log, and, for a test that
failed, the heap and the end of the console log. `EvidencePlugin` calls it; shapes are in `evidence.lines`."""

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
from hotpin_hil.errors import HilError
from hotpin_hil.evidence import lines
from hotpin_hil.evidence.blame import causes
from hotpin_hil.evidence.story import REGIONS, Story
from hotpin_hil.link.channel import Channel, Cursor
from hotpin_hil.link.line import channel_of, line_of
from hotpin_hil.plugin_board import BoardInUse
from hotpin_hil.plugin_panic import keep_panics
from hotpin_hil.report.text import LOG_LINES, printable
from hotpin_hil.telemetry.noise import complaints

STORY_KEY = pytest.StashKey[Story]()

NO_MEMORY = "ESP_ERR_NO_MEM"
INTERNAL, PSRAM = "INTERNAL,8BIT", "SPIRAM"
"""Capabilities of the heaps that are drawn when a test failed for lack of memory."""
PSRAM_BLOCKS = ("camera frame", "STT ring")
"""Names of the blocks that a mode wants in PSRAM (mode_admission.c)."""
MALLOC_CAP_SPIRAM = 1 << 10
"""esp_heap_caps.h"""
_TTS_BLOCK = re.compile(r"a block of (\d+)")
"""In the answer to a stream that was refused: what it wanted comes first."""
COMPLAINTS_MAX = 200
"""Of a failed test the last ones are kept."""


class StoryKeeper:
    """Keeps the stories of the tests of one process."""

    def __init__(self, board: BoardInUse, folder: Path, take: Callable[[lines.Line], None]) -> None:
        self._board = board
        self._folder = folder
        self._take = take
        self._channel: Channel | None = None
        self._dut: Any = None
        self._faults: list[str] = []
        """Of the emulator, in starts that it repeated; the emulator adds to them during the test."""

    def begin(self, item: pytest.Item) -> None:
        """Before anything of the test runs."""
        self._channel = self._dut = None
        self._faults = []
        item.stash[STORY_KEY] = Story(item.nodeid, lambda: self._board.mac, self._take)

    def listen(self, item: pytest.Item, dut: Any) -> None:
        """From now on, and from the beginning of the channel."""
        story = item.stash.get(STORY_KEY, None)
        channel = channel_of(dut)
        if story is not None and channel is not None:
            self._channel, self._dut = channel, dut
            self._faults = getattr(line_of(dut), "faults", [])
            channel.observe(story.record)

    def failed(self, item: pytest.Item, error: BaseException) -> list[str]:
        """While the board is still as it was when the test failed. A text for each panic of the test."""
        story = item.stash.get(STORY_KEY, None)
        if story is None or self._channel is None:
            return []
        self._keep_slice(item, self._channel)
        self._keep_complaints(item, self._channel)
        why = _lack_of_memory(error, self._channel)
        if why and self._channel.error is None and not isinstance(error, NoReply):
            self._draw_heaps(story, self._channel, why, _wanted(error, self._channel))
        # Last, since a core dump is read past the firmware; and once, whatever else fails in taking the test down.
        dut, self._dut = self._dut, None
        if dut is None:
            return []
        return keep_panics(
            item.nodeid, self._board.mac, self._channel, dut, folder=self._folder, take=self._take
        )

    def end(self, item: pytest.Item) -> None:
        """After the test's fixtures were taken down."""
        channel, self._channel, self._dut = self._channel, None, None
        for text, count in Counter(self._faults).items():
            self._take(lines.emulator(item.nodeid, self._board.mac, text, count))
        if channel is not None:
            noise = channel.noise()
            if noise:
                counts = {name: count for name, count in asdict(noise).items() if name != "mismatched"}
                self._take(lines.noise(item.nodeid, self._board.mac, counts))
        log = self._raw_log(item)
        if log is not None and log.is_file():
            content = log.read_bytes()
            self._take(
                lines.raw_log(
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
            lines.log_slice(
                item.nodeid,
                self._board.mac,
                self._relative(log) if log else None,
                "\n".join(rows[-LOG_LINES:]),
                max(0, len(rows) - LOG_LINES),
            )
        )

    def _keep_complaints(self, item: pytest.Item, channel: Channel) -> None:
        """A boot without any record has no name, and so no place among the others."""
        for line in complaints(Device(channel).log_lines(Cursor()))[-COMPLAINTS_MAX:]:
            boot = channel.boot_at(line.offset)
            if boot is not None:
                moment = lines.Moment(item.nodeid, self._board.mac, boot, line.t_ms)
                self._take(lines.complaint(moment, printable(line.whole)))

    def _draw_heaps(self, story: Story, channel: Channel, why: str, wanted: tuple[str, int] | None) -> None:
        """Those first in which a block was wanted."""
        device = Device(channel)
        where, size = wanted or (INTERNAL, None)
        with suppress(HilError):  # what there is to say of the test has been said
            for caps in (INTERNAL, PSRAM) if where == INTERNAL else (PSRAM, INTERNAL):
                heaps = [asdict(one) for one in device.blocks(caps)]
                self._take(lines.heap(story.moment, why, caps, heaps, size if caps == where else None))
            story.keep_reply(REGIONS, device.command(REGIONS, timeout_s=budgets.SLOW_REPLY_S))

    @staticmethod
    def _raw_log(item: pytest.Item) -> Path | None:
        path = (getattr(item, "funcargs", None) or {}).get("_pexpect_logfile")
        return Path(path) if isinstance(path, str) else None

    def _relative(self, path: Path) -> str:
        with suppress(ValueError):
            return path.resolve().relative_to(self._folder.resolve()).as_posix()
        return str(path)


def _lack_of_memory(error: BaseException, channel: Channel) -> str:
    """In which way memory was short in a test that failed; empty if nothing says that it was."""
    for one in causes(error):
        if isinstance(one, DeviceError) and one.err == NO_MEMORY:
            return str(one)
    for data in _events(channel):
        if data["event"] == "mem.alloc_failed":
            return f"an allocation of {data.get('size')} bytes failed"
        if data["event"] == "mode" and data.get("missing"):
            return f"a change of mode lacked {data['missing']} bytes in one block"
        if data["event"] == "mem.warning" and str(data.get("type")).startswith("FRAGMENTATION"):
            return f"fragmentation of {data.get('value')} %"
    return ""


def _wanted(error: BaseException, channel: Channel) -> tuple[str, int] | None:
    """Capabilities and size of the newest block that was not to be had."""
    for one in causes(error):
        if isinstance(one, DeviceError) and one.err == NO_MEMORY and one.command == "tts.open":
            block = _TTS_BLOCK.search(one.msg)
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
    """Newest first."""
    return (record.data for record in reversed(channel.records()) if record.event)
