"""Tests changing the pace of a board's clock while the firmware is running."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fixtures.pace import at_host_pace
from hotpin_hil.errors import UsageError
from hotpin_hil.paths import NATIVE_ELFS_FILE
from hotpin_hil.virtual.control import BoardControl
from tests.support.virtual_board import Boards, Console, native_flash_image

SCALE = 2000.0
"""Virtual seconds per host second. At this pace a single request takes seconds of the board's clock."""


@pytest.fixture(scope="module")
def boards(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Boards]:
    state_dir = tmp_path_factory.mktemp("boards")
    place = state_dir / "hotpin-5.4-0"
    place.mkdir()
    (place / "flash.bin").write_bytes(native_flash_image())
    boards = Boards(state_dir, NATIVE_ELFS_FILE, time_scale=SCALE)
    yield boards
    boards.stop()


@pytest.fixture
def control(boards: Boards) -> BoardControl:
    return BoardControl(Path(boards.found[0]["directory"]))


def clock_ms(console: Console) -> int:
    console.send("@1 mode.get\n")
    return int(console.expect(r'@1 \{[^\n]*"t":(\d+)').group(1))


def test_clock_keeps_the_hosts_pace_in_the_block_and_its_own_after_it(
    boards: Boards, control: BoardControl
) -> None:
    with Console(boards.url) as console:
        console.reset()
        console.expect('"event":"boot"')
        with at_host_pace(control):
            assert control.state()["time_scale"] == 1.0
            started = time.monotonic()
            begun = clock_ms(console)
            passed = clock_ms(console) - begun
            # Both times are rounded to whole milliseconds.
            assert passed <= (time.monotonic() - started) * 1000 + 1
            console.reset()
            console.expect('"event":"boot"')
            assert control.state()["time_scale"] == 1.0
        assert control.state()["time_scale"] == SCALE


def test_board_without_control_needs_no_pace() -> None:
    with at_host_pace(None):
        pass


@pytest.mark.parametrize(
    ("scale", "message"),
    [
        (-1.0, "time scale -1 is not valid"),
        (2e6, "time scale 2e\\+06"),
        ("fast", "`time_scale` must be a number, but is 'fast'"),
        (True, "True"),
    ],
)
def test_wrong_pace_is_refused(control: BoardControl, scale: object, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        control.ask("pace", time_scale=scale)
