"""A virtual board with the host build of the firmware, outside a run of the suite."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pytest_embedded_idf.app import IdfApp

from hotpin_hil.boards.board_process import BoardProcess
from hotpin_hil.device import Device
from hotpin_hil.link.console_log import ConsoleLog
from hotpin_hil.link.idf_serial import HilIdfSerial
from hotpin_hil.paths import FIRMWARE_DIR, NATIVE_BUILD_DIR

TIME_SCALE = "50"


@contextmanager
def running_board(folder: Path) -> Iterator[tuple[HilIdfSerial, Device, Path]]:
    """Start a board with an empty flash, and flash the firmware; yields its line, its console and its log."""
    board = BoardProcess.start(folder / "board.log", folder / "state", ["--time-scale", TIME_SCALE])
    console = ConsoleLog(folder / "console.log")
    try:
        app = IdfApp(str(FIRMWARE_DIR), NATIVE_BUILD_DIR.name)
        line = HilIdfSerial(app=app, msg_queue=console, port=board.port)
        yield line, Device(line.channel), folder / "console.log"
        line.close()
    finally:
        console.close()
        board.stop()
