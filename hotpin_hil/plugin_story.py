"""What a test leaves in the results beside its measurements: what the board said, its raw log, and, for a test that
failed, the heap and the end of the console log. `EvidencePlugin` calls it; shapes are in `evidence.lines`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from hotpin_hil.device import Device, DeviceError, NoReply
from hotpin_hil.errors import HilError
from hotpin_hil.evidence import lines
from hotpin_hil.evidence.blame import causes
from hotpin_hil.evidence.story import Story
from hotpin_hil.link.channel import Channel
from hotpin_hil.link.line import channel_of
from hotpin_hil.plugin_board import BoardInUse
from hotpin_hil.plugin_panic import keep_panics
from hotpin_hil.report.text import LOG_LINES, printable

STORY_KEY = pytest.StashKey[Story]()

NO_MEMORY = "ESP_ERR_NO_MEM"
MAPPED_CAPS = ("INTERNAL,8BIT", "SPIRAM")
"""Which heaps are drawn when a test failed for lack of memory."""


class StoryKeeper:
    """Keeps the stories of the tests of one process."""

    def __init__(self, board: BoardInUse, folder: Path, take: Callable[[lines.Line], None]) -> None:
        self._board = board
        self._folder = folder
        self._take = take
        self._channel: Channel | None = None
        self._dut: Any = None

    def begin(self, item: pytest.Item) -> None:
        """Before anything of the test runs."""
        self._channel = self._dut = None
        item.stash[STORY_KEY] = Story(item.nodeid, lambda: self._board.mac, self._take)

    def listen(self, item: pytest.Item, dut: Any) -> None:
        """From now on, and from the beginning of the channel."""
        story = item.stash.get(STORY_KEY, None)
        channel = channel_of(dut)
        if story is not None and channel is not None:
            self._channel, self._dut = channel, dut
            channel.observe(story.record)

    def failed(self, item: pytest.Item, error: BaseException) -> list[str]:
        """While the board is still as it was when the test failed. A text for each panic of the test."""
        story = item.stash.get(STORY_KEY, None)
        if story is None or self._channel is None:
            return []
        self._keep_slice(item, self._channel)
        why = _lack_of_memory(error, self._channel)
        if why and self._channel.error is None and not isinstance(error, NoReply):
            self._draw_heaps(story, self._channel, why)
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

    def _draw_heaps(self, story: Story, channel: Channel, why: str) -> None:
        device = Device(channel)
        wanted = _wanted(channel)
        with suppress(HilError):  # what there is to say of the test has been said
            for caps in MAPPED_CAPS:
                heaps = [asdict(one) for one in device.blocks(caps)]
                self._take(lines.heap(story.moment, why, caps, heaps, wanted))

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


def _wanted(channel: Channel) -> int | None:
    """Size of the newest block that was not to be had."""
    for data in _events(channel):
        size = data.get("size") if data["event"] == "mem.alloc_failed" else data.get("missing")
        if isinstance(size, int) and size > 0 and data["event"] in ("mem.alloc_failed", "mode"):
            return size
    return None


def _events(channel: Channel) -> Iterator[dict[str, Any]]:
    """Newest first."""
    return (record.data for record in reversed(channel.records()) if record.event)
