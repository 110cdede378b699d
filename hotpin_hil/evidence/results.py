"""Writes results.jsonl line by line during a run, and reads it back even after the run was killed."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from hotpin_hil.errors import UsageError
from hotpin_hil.evidence.lines import (
    RELEASE,
    SCHEMA_VERSION,
    BoardNote,
    EndLine,
    LineClass,
    MeasurementLine,
    PlanNote,
    ResultsLine,
    RunLine,
    SelectionNote,
    SizesNote,
    StartedNote,
    VerdictLine,
    read_line,
)

try:
    import fcntl
except ImportError:  # not on Windows, where a second run in the same folder goes unnoticed
    fcntl = None  # type: ignore[assignment]

FILE_NAME = "results.jsonl"

_T = TypeVar("_T")


class ResultsFile:
    """Appends lines to a results file, unbuffered: after `append` returns, the line survives a crash of the process.

    Any number of processes and threads may append: each line is one write at the end of the file.
    """

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND)

    def append(self, line: ResultsLine) -> None:
        """Write a line."""
        text = json.dumps(line.as_json(), allow_nan=False, separators=(",", ":")) + "\n"
        rest = text.encode("ascii")
        while rest:  # one write, unless the disk is full
            rest = rest[os.write(self._fd, rest) :]

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)


class ResultsWriter(ResultsFile):
    """Starts a new file with the run line, for this process and for others that append to its `path`.

    The file is locked until `close`.

    Raises:
        UsageError: The folder cannot be written, or another run is writing to it.
    """

    def __init__(self, folder: Path, run: RunLine) -> None:
        self.path = folder / FILE_NAME
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _make_way(self.path)
            self.path.touch(exist_ok=False)
        except FileExistsError:
            if not folder.is_dir():
                raise UsageError(f"{folder} is not a folder", "give another --qualification-dir") from None
            raise _in_use(folder) from None  # another run began at the same moment
        except OSError as error:
            raise UsageError(
                f"cannot write the evidence to {folder}: {error.strerror or error}",
                "give a folder that you can write with --qualification-dir",
            ) from error
        super().__init__(self.path)
        _lock(self._fd, folder)
        self.append(run)


def _make_way(path: Path) -> None:
    """Remove the file of an older run. If it were only truncated, workers of that run could still append to it."""
    try:
        fd = os.open(path, os.O_WRONLY)
    except FileNotFoundError:
        return
    try:
        _lock(fd, path.parent)
        path.unlink(missing_ok=True)
    finally:
        os.close(fd)


def _lock(fd: int, folder: Path) -> None:
    """Lock the file; the kernel releases the lock when the process ends in any way."""
    if fcntl is None:
        return
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise _in_use(folder) from None


def _in_use(folder: Path) -> UsageError:
    return UsageError(
        f"another run is writing its evidence to {folder}",
        "wait for it to finish, or give another --qualification-dir",
    )


@dataclass
class Results:
    """The content of a results file, sorted by kind."""

    run: RunLine
    measurements: list[MeasurementLine] = field(default_factory=list)
    verdicts: list[VerdictLine] = field(default_factory=list)
    notes: list[ResultsLine] = field(default_factory=list)
    """Notes and logs, in the order of the file."""
    end: EndLine | None = None
    cut: int = 0
    """Number of lines that were lost because their writer was killed while writing."""

    def add(self, line: ResultsLine) -> None:
        """Add the next line of the file."""
        match line:
            case MeasurementLine():
                self.measurements.append(line)
            case VerdictLine():
                self.verdicts.append(line)
            case EndLine():
                self.end = line
            case _:
                self.notes.append(line)

    def of(self, kind: type[LineClass]) -> list[LineClass]:
        """The notes or logs of this class, in the order of the file."""
        return [line for line in self.notes if isinstance(line, kind)]

    def boards(self) -> list[Mapping[str, Any]]:
        """What the boards reported about themselves, each once, in order of appearance."""
        reported = [note.board for note in self.of(BoardNote)]
        return [board for number, board in enumerate(reported) if board not in reported[:number]]

    def sizes(self) -> list[SizesNote]:
        """The sizes of the images that were on a board, the image with the console first."""
        return sorted(self.of(SizesNote), key=lambda note: (note.image == RELEASE, note.image))

    @property
    def is_selection(self) -> bool:
        """Whether tests of the suite were left out on purpose."""
        return bool(self.of(SelectionNote))

    def planned(self) -> dict[str, tuple[str, ...]]:
        """Node id -> requirement ids of every test that was planned; empty if collection did not finish."""
        # Every worker writes the plan, because a worker may be killed before it does.
        return {test: ids for plan in self.of(PlanNote) for test, ids in plan.tests.items()}

    def unfinished(self) -> dict[str, tuple[str, ...]]:
        """Node id -> requirement ids of the tests that were running when the run, or their worker, ended."""
        ended = {verdict.test for verdict in self.verdicts}
        return {note.test: note.requirement for note in self.of(StartedNote) if note.test not in ended}

    def reruns(self) -> dict[str, int]:
        """Node id -> number of runs, for each test that ran more than once."""
        times = Counter(note.test for note in self.of(StartedNote))
        return {test: count for test, count in times.items() if count > 1}


_RUN_FIELDS = ("run", "evidence", "started", "board", "firmware", "harness")
"""Keys that the first line must have, besides its schema."""
_NEXT = '{"kind":'
"""Beginning of every line that may follow a truncated line."""


def read_results(folder: Path) -> Results:
    """Read `folder`/results.jsonl, or `folder` itself if it is a file.

    Lines cut by a kill are counted and dropped.

    Raises:
        UsageError: The file cannot be read or holds anything but lines of results.
    """
    path = folder if folder.is_file() else folder / FILE_NAME
    found = _rows(path)
    run = next(found, None)
    if run is None:
        raise UsageError(f"{path} is empty", "the run was killed at its start: run pytest again")
    if run.get("kind") != RunLine.kind or run.get("schema") != SCHEMA_VERSION:
        raise UsageError(f"{path} does not begin with a run line of schema {SCHEMA_VERSION}")
    missing = [name for name in _RUN_FIELDS if name not in run]
    if missing:
        raise UsageError(f"{path}, line 1 has no {', '.join(missing)}")
    results = Results(_read(RunLine.from_json, run, path, 1))
    for number, row in enumerate(found, start=2):
        if row is None:
            results.cut += 1
            continue
        line = _read(read_line, row, path, number)
        if line is not None:
            results.add(line)
    return results


def _read(read: Callable[[dict[str, Any]], _T], row: dict[str, Any], path: Path, number: int) -> _T:
    """Parse a line. Raises UsageError with file and line number if it is invalid."""
    try:
        return read(row)
    except KeyError as error:
        raise UsageError(f"{path}, line {number} has no {error.args[0]}") from error
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(f"{path}, line {number}: {error}") from error


def _rows(path: Path) -> Iterator[dict[str, Any] | None]:
    """The lines as JSON objects; None for each truncated line."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise UsageError(
            f"cannot read {path}: {error.strerror}", "give the folder of a run, such as build/qualification"
        ) from error
    rows = text.split("\n")
    rest = rows.pop()  # empty, unless the run was killed while writing
    for number, row in enumerate(rows, start=1):
        following = row.find(_NEXT, 1)
        if following > 0 and not _is_json(row):  # a worker was killed while writing, and others continued
            yield None
        else:
            following = 0
        try:
            line = json.loads(row[following:])
        except ValueError as error:
            raise UsageError(f"{path}, line {number} is not JSON: {error}") from error
        if not isinstance(line, dict):
            raise UsageError(f"{path}, line {number} is not an object")
        yield line
    if rest:
        yield None


def _is_json(row: str) -> bool:
    try:
        json.loads(row)
    except ValueError:
        return False
    return True
