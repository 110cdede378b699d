"""Results of a test besides its measurements: events and raw log; after a failure also heap and console.

`EvidencePlugin` calls it. The shapes of the lines are in `evidence.lines`.
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
from hotpin_hil.errors import HilError
from hotpin_hil.evidence import lines
from hotpin_hil.evidence.blame import causes
from hotpin_hil.evidence.story import REGIONS, Story
from hotpin_hil.link.channel import Channel, Cursor
from hotpin_hil.link.line import channel_of, line_of
from hotpin_hil.logs.noise import complaints
from hotpin_hil.pytest_plugin.board import BoardInUse
from hotpin_hil.pytest_plugin.panics import keep_panics
from hotpin_hil.report.text import LOG_LINES, printable

STORY_KEY = pytest.StashKey[Story]()

NO_MEMORY = "ESP_ERR_NO_MEM"
INTERNAL, PSRAM = "INTERNAL,8BIT", "SPIRAM"
"""Capabilities of the heaps that are drawn when a test has run out of memory."""
PSRAM_BLOCKS = ("camera frame", "STT ring")
"""Names of the blocks that modes allocate in PSRAM (mode_admission.c)."""
MALLOC_CAP_SPIRAM = 1 << 10
"""esp_heap_caps.h"""
_TTS_BLOCK = re.compile(r"a block of (\d+)")
"""Size of the requested block in the refusal of a TTS stream."""
COMPLAINTS_MAX = 200
"""Number of complaints kept of a failed test: the last ones."""


class StoryKeeper:
    """Keeps the stories of the tests of one process."""

    def __init__(self, board: BoardInUse, folder: Path, take: Callable[[lines.Line], None]) -> None:
        self._board = board
        self._folder = folder
        self._take = take
        self._channel: Channel | None = None
        self._dut: Any = None
        self._faults: list[str] = []
        """Faults of the emulator in repeated starts. The emulator appends to this list during the test."""

    def begin(self, item: pytest.Item) -> None:
        """Begins the story of a test, before its set-up."""
        self._channel = self._dut = None
        self._faults = []
        item.stash[STORY_KEY] = Story(item.nodeid, lambda: self._board.mac, self._take)

    def listen(self, item: pytest.Item, dut: Any) -> None:
        """Observes the channel of a `dut`, from its beginning."""
        story = item.stash.get(STORY_KEY, None)
        channel = channel_of(dut)
        if story is not None and channel is not None:
            self._channel, self._dut = channel, dut
            self._faults = getattr(line_of(dut), "faults", [])
            channel.observe(story.record)

    def failed(self, item: pytest.Item, error: BaseException) -> list[str]:
        """Keeps the state of the board after a failure, before teardown changes it.

        Returns:
            A readable text for each panic of the test.
        """
        story = item.stash.get(STORY_KEY, None)
        if story is None or self._channel is None:
            return []
        self._keep_slice(item, self._channel)
        self._keep_complaints(item, self._channel)
        why = _lack_of_memory(error, self._channel)
        if why and self._channel.error is None and not isinstance(error, NoReply):
            self._draw_heaps(story, self._channel, why, _wanted(error, self._channel))
        # Last, since reading a core dump resets the board; and once, even if teardown fails too.
        dut, self._dut = self._dut, None
        if dut is None:
            return []
        return keep_panics(
            item.nodeid, self._board.mac, self._channel, dut, folder=self._folder, take=self._take
        )

    def end(self, item: pytest.Item) -> None:
        """Ends the story of a test, after the teardown of its fixtures."""
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
        """Keeps error and warning lines; those of a boot without records have no boot id and are left out."""
        for line in complaints(Device(channel).log_lines(Cursor()))[-COMPLAINTS_MAX:]:
            boot = channel.boot_at(line.offset)
            if boot is not None:
                moment = lines.Moment(item.nodeid, self._board.mac, boot, line.t_ms)
                self._take(lines.complaint(moment, printable(line.whole)))

    def _draw_heaps(self, story: Story, channel: Channel, why: str, wanted: tuple[str, int] | None) -> None:
        """Keeps the heap maps, beginning with the memory in which a block did not fit."""
        device = Device(channel)
        where, size = wanted or (INTERNAL, None)
        with suppress(HilError):  # the test has failed already
            for caps in (INTERNAL, PSRAM) if where == INTERNAL else (PSRAM, INTERNAL):
                heaps = [asdict(heap) for heap in device.blocks(caps)]
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
    """The kind of memory shortage in a failed test; empty if there is no sign of one."""
    for one in causes(error):
        if isinstance(one, DeviceError) and one.err == NO_MEMORY:
            return str(one)
    for data in _events(channel):
        if data["event"] == "mem.alloc_failed":
            return f"an allocation of {data.get('size')} bytes failed"
        if data["event"] == "mode" and data.get("missing"):
            return f"a change of mode needed {data['missing']} more bytes in one block"
        if data["event"] == "mem.warning" and str(data.get("type")).startswith("FRAGMENTATION"):
            return f"fragmentation of {data.get('value')} %"
    return ""


def _wanted(error: BaseException, channel: Channel) -> tuple[str, int] | None:
    """Capabilities and size of the newest block that could not be allocated."""
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
    """Events, newest first."""
    return (record.data for record in reversed(channel.records()) if record.event)
