"""Tests `log.load` on a UART with a real baud rate: tasks that log more than the line can send must not block the
console."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hotpin_hil.paths import NATIVE_ELFS_FILE
from hotpin_hil.protocol.request import encode_request
from tests.support.virtual_board import Boards, Console, native_flash_image


@pytest.fixture
def console(tmp_path: Path) -> Iterator[Console]:
    """The console of a virtual board whose UART sends at its baud rate."""
    place = tmp_path / "hotpin-5.4-0"
    place.mkdir()
    (place / "flash.bin").write_bytes(native_flash_image())
    boards = Boards(tmp_path, NATIVE_ELFS_FILE, paced=True)
    with Console(boards.url) as console:
        console.reset()
        console.expect("HotPin ready")
        yield console
    boards.stop()


def test_console_answers_and_stops_tasks_that_fill_the_uart(console: Console) -> None:
    console.port.write(encode_request(1, "log.load", {"tasks": 4, "every": 1}))
    console.expect(r"@1 \{\"ok\":true,\"running\":4,")
    for tag in ("LOAD0", "LOAD1", "LOAD2", "LOAD3"):
        console.expect(f"{tag}: line [0-9]{{2,}} of")  # the transmit ring is full by now
    console.port.write(encode_request(2, "sys.tasks", {}))
    console.expect(r"@2 \{\"ok\":true,")
    console.port.write(encode_request(3, "log.load", {"stop": 1}))
    console.expect(r"@3 \{\"ok\":true,\"running\":0,")


def test_tasks_with_the_longest_pause_stop(console: Console) -> None:
    console.port.write(encode_request(1, "log.load", {"tasks": 4, "every": 1000}))
    console.expect("LOAD3: line 1 of")
    console.port.write(encode_request(2, "log.load", {"stop": 1}))
    console.expect(r"@2 \{\"ok\":true,\"running\":0,")
