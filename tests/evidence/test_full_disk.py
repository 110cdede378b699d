"""If the disk is full, no lines of the results may be lost, neither written lines nor lines that wait for space."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from hotpin_hil.errors import UsageError
from hotpin_hil.evidence import results
from hotpin_hil.evidence.lines import EndLine, RunLine
from tests.evidence.test_evidence import RUN


class SmallDisk:
    """Replaces `os` in the writer. When `free` bytes are written, a write is incomplete or fails with ENOSPC."""

    def __init__(self, free: int) -> None:
        self.free = free

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def write(self, fd: int, data: bytes) -> int:
        part = data[: self.free]
        if not part:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.free -= len(part)
        return os.write(fd, part)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> SmallDisk:
    disk = SmallDisk(1 << 20)
    monkeypatch.setattr(results, "os", disk)
    return disk


LINES = [EndLine(number, "x" * number) for number in range(4)]


@pytest.mark.parametrize("free", range(0, 160, 7))
def test_file_ends_with_a_whole_line_and_later_has_all(tmp_path: Path, disk: SmallDisk, free: int) -> None:
    writer = results.ResultsWriter(tmp_path, RunLine.from_json(RUN))
    disk.free = free
    for line in LINES:
        writer.append(line)
    whole = writer.path.read_bytes()
    assert whole.endswith(b"\n")
    found = results.read_results(tmp_path)
    assert (found.cut, found.unreadable) == (0, [])
    problem = writer.flush()
    assert problem is not None
    assert str(problem).endswith("lines are waiting for disk space (free space on the disk, then run again)")

    disk.free = 1 << 20
    assert writer.flush() is None
    writer.close()
    assert writer.path.read_bytes().startswith(whole)
    assert results.read_results(tmp_path).end == LINES[-1]
    assert len(writer.path.read_bytes().splitlines()) == 1 + len(LINES)


def test_run_does_not_start_on_a_full_disk(tmp_path: Path, disk: SmallDisk) -> None:
    disk.free = 10
    with pytest.raises(UsageError, match=r"No space left.*\(free space"):
        results.ResultsWriter(tmp_path, RunLine.from_json(RUN))
    assert not list(tmp_path.iterdir())
