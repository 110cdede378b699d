"""Tests that a monitor's received bytes and notes are recorded in order, in memory and in a file."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from hotpin_hil.errors import UsageError
from hotpin_hil.link.console_log import ConsoleLog
from hotpin_hil.link.recording import NOTE, WAITING_MAX, Recording


def test_the_file_has_every_byte_and_note_in_order(tmp_path: Path) -> None:
    recording = Recording(tmp_path / "new" / "x.log")
    recording.put(b"\xff\x00I (1) app: half a li")
    recording.note("mark 1")
    recording.put(b"ne\n")
    recording.note("mark 2")
    expected = b"\xff\x00I (1) app: half a li\n%smark 1\nne\n%smark 2\n" % (NOTE.encode(), NOTE.encode())
    assert recording.take() == expected
    assert recording.take() == b""
    assert (tmp_path / "new" / "x.log").read_bytes() == expected
    recording.close()
    recording.put(b"later")
    assert (tmp_path / "new" / "x.log").read_bytes() == expected


def test_a_file_that_exists_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    path.write_bytes(b"before\n")
    with pytest.raises(UsageError, match=r"x\.log already exists .*--append"):
        Recording(path)
    recording = Recording(path, append=True)
    recording.put(b"after\n")
    recording.close()
    assert path.read_bytes() == b"before\nafter\n"
    with pytest.raises(UsageError, match="cannot be written: Is a directory"):
        Recording(tmp_path, append=True)


def test_a_full_disk_is_said_and_the_display_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recording = Recording(tmp_path / "x.log")

    def fail(self: ConsoleLog, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    recording.put(b"saved\n")
    monkeypatch.setattr(ConsoleLog, "put", fail)
    recording.put(b"lost\n")
    recording.put(b"lost too\n")
    assert not recording.is_saved
    text = recording.take().decode()
    assert text.startswith(f"saved\nlost\n{NOTE}")
    assert "cannot be written: No space left on device (free space" in text
    assert text.endswith("later bytes are not saved\nlost too\n")
    assert (tmp_path / "x.log").read_bytes() == b"saved\n"


def test_a_reader_waits_for_the_display_and_the_display_for_the_end() -> None:
    recording = Recording()
    recording.put(b"x" * WAITING_MAX)
    assert not recording.has_room(0)
    assert not recording.is_over
    recording.end()
    assert not recording.is_over
    recording.take()
    assert recording.has_room(0)
    assert recording.is_over
    assert recording.take(60) == b""
