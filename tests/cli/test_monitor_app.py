"""Tests the content of the monitor's screen and its keys, without a terminal."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import RichLog, Static

from hotpin_hil.analysis.code_traces import CodeTrace, Decoding
from hotpin_hil.analysis.decoding import TraceDecoder
from hotpin_hil.analysis.live import LiveLog
from hotpin_hil.cli.command_line import CommandLine
from hotpin_hil.cli.monitor_app import MonitorApp
from hotpin_hil.link.file_follower import FileFollower
from hotpin_hil.link.live_port import LivePort
from hotpin_hil.link.recording import Recording
from hotpin_hil.symbols.elf_set import ElfSet
from hotpin_hil.symbols.places import DecodedAddress, SourcePlace
from tests.analysis.test_live_log import PANIC
from tests.cli.test_command_book import HELP
from tests.link.test_live_port import Plug
from tests.logs.test_reader import APP, BANNER, FLASH, Firmware

PATIENCE_S = 30.0
START = BANNER % (1, b"POWERON_RESET", 0x13, FLASH) + APP

Play = Callable[[Pilot[None]], Awaitable[None]]


@pytest.fixture
def recording(tmp_path: Path) -> Iterator[Recording]:
    recording = Recording(tmp_path / "x.log")
    yield recording
    recording.close()


@pytest.fixture
def plug(tmp_path: Path) -> Plug:
    return Plug(tmp_path / "ttyBoard")


@pytest.fixture
def app(plug: Plug, recording: Recording) -> Iterator[MonitorApp]:
    port = LivePort(str(plug.path), 115200, recording, retry_s=0.01)
    port.open()
    yield MonitorApp(LiveLog(), port, recording, Names(ElfSet([])))
    port.close()


class Names(TraceDecoder):
    """Fake decoder that returns a name for every address."""

    def decode(self, trace: CodeTrace) -> CodeTrace:
        place = SourcePlace("camera_stop", "camera.c", 12)
        calls = tuple(DecodedAddress(address.printed, (place,)) for address in trace.addresses)
        return replace(trace, decoding=Decoding(calls))


def play(app: MonitorApp, steps: Play) -> None:
    async def run() -> None:
        async with app.run_test(size=(120, 40)) as pilot:
            await steps(pilot)

    asyncio.run(run())


async def until(pilot: Pilot[None], is_true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not is_true():
        assert time.monotonic() < deadline, screen(pilot.app)
        await pilot.pause(0.01)


def text(app: object, id: str) -> str:
    assert isinstance(app, MonitorApp)
    widget = app.query_one(f"#{id}")
    if isinstance(widget, RichLog):
        return "\n".join(strip.text for strip in widget.lines)
    assert isinstance(widget, Static)
    return str(widget.render())


def screen(app: object) -> str:
    return "\n".join(text(app, id) for id in ("status", "console", "memory", "boots", "news", "hint"))


def test_console_state_and_findings(app: MonitorApp, plug: Plug) -> None:
    board = Firmware()
    log = START + board.sample("Periodic", 91_234) + b"I (3000) STATE: init -> voice in 411 ms\n"
    log += (
        b"W (3100) MEM_MGR: WARNING: DMA memory low: 900 bytes (threshold: 1000)\n"
        + PANIC
        + b"Rebooting...\n"
    )

    async def steps(pilot: Pilot[None]) -> None:
        os.write(plug.board, log)
        await until(pilot, lambda: "camera.c:12" in text(app, "news"))
        assert "WARNING: DMA memory low" in text(app, "console")
        assert text(app, "memory").count("91,234 free") == 3
        assert "POWERON_RESET" in text(app, "boots")
        assert "panic" in text(app, "boots")
        news = text(app, "news")
        for part in (
            "voice mode after 411 ms",
            "DMA-capable memory: low",
            "Guru Meditation Error",
            "[deleted-object]",
        ):
            assert part in news
        assert "voice mode" in text(app, "status")
        assert "W 1" in text(app, "status")

    play(app, steps)


def test_text_of_the_board_cannot_control_the_screen(app: MonitorApp, plug: Plug) -> None:
    async def steps(pilot: Pilot[None]) -> None:
        os.write(plug.board, b"I (5) app: \x1b]0;title\x07[bold]x[/bold]\x1b[2J\n")
        await until(pilot, lambda: "title" in text(app, "console"))
        assert r"\x1b]0;title\x07[bold]x[/bold]\x1b[2J" in text(app, "console")

    play(app, steps)


def test_a_paused_console_holds_its_lines(app: MonitorApp, plug: Plug) -> None:
    async def steps(pilot: Pilot[None]) -> None:
        await pilot.press("f3")
        os.write(plug.board, START + b"I (3000) STATE: init -> voice in 411 ms\n")
        await until(pilot, lambda: "voice mode" in text(app, "news"))
        assert text(app, "console") == ""
        assert "paused, " in text(app, "status")
        await pilot.press("f3")
        await until(pilot, lambda: "init -> voice" in text(app, "console"))
        await until(pilot, lambda: "paused, " not in text(app, "status"))

    play(app, steps)


def test_a_mark_is_in_the_log(app: MonitorApp, tmp_path: Path) -> None:
    async def steps(pilot: Pilot[None]) -> None:
        await pilot.press("f2")
        await until(pilot, lambda: "mark 1 at" in text(app, "console"))

    play(app, steps)
    assert (tmp_path / "x.log").read_text().startswith("--- hotpin-hil: mark 1 at ")


def test_commands_are_sent_recalled_and_completed(app: MonitorApp, plug: Plug) -> None:
    async def steps(pilot: Pilot[None]) -> None:
        command = app.query_one(CommandLine)
        await pilot.press(*"sys.info", "enter")
        await until(pilot, lambda: os.read(plug.board, 100) == b"sys.info\n")
        await pilot.press("up")
        assert command.value == "sys.info"
        await pilot.press("down", "tab")
        await until(pilot, lambda: os.read(plug.board, 100) == b"help\n")
        os.write(plug.board, HELP.encode() + b"\n")
        await until(pilot, lambda: not command.book.is_empty)
        await pilot.press(*"mo", "tab")
        assert command.value == "mode.set"
        assert "mode.settle" in text(app, "hint")
        await pilot.press(*" to=v", "tab")
        assert command.value == "mode.set to=voice "

    play(app, steps)


def test_a_board_that_is_gone_is_shown(app: MonitorApp, plug: Plug) -> None:
    async def steps(pilot: Pilot[None]) -> None:
        plug.pull_out()
        await until(pilot, lambda: "gone: " in text(app, "status"))
        await pilot.press(*"x", "enter")
        await until(pilot, lambda: "plug it in" in text(app, "hint"))
        plug.put_in()
        await until(pilot, lambda: "it was gone for" in text(app, "console"))
        await until(pilot, lambda: "gone: " not in text(app, "status"))

    play(app, steps)


def test_a_reset_that_is_not_possible_is_explained(app: MonitorApp) -> None:
    async def steps(pilot: Pilot[None]) -> None:
        await pilot.press("f5")
        await until(pilot, lambda: "press the board's button" in text(app, "hint"))
        await pilot.press("f6")

    play(app, steps)


def test_a_file_has_no_command_line_and_no_reset(tmp_path: Path, recording: Recording) -> None:
    path = tmp_path / "monitor.txt"
    path.write_bytes(START)
    follower = FileFollower(str(path), recording, poll_s=0.01)
    follower.open()
    app = MonitorApp(LiveLog(), follower, recording)

    async def steps(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: "POWERON_RESET" in text(app, "boots"))
        assert not app.query(CommandLine)
        await pilot.press("f5", "f6", "tab", "up")
        await pilot.pause()
        assert text(app, "hint") == ""

    play(app, steps)
    follower.close()


@pytest.mark.parametrize("key", ["ctrl+c", "ctrl+q", "ctrl+right_square_bracket"])
def test_these_keys_quit(app: MonitorApp, key: str) -> None:
    async def steps(pilot: Pilot[None]) -> None:
        await pilot.press(key)
        await until(pilot, lambda: not app.is_running)

    play(app, steps)
