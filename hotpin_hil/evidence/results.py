"""results.jsonl: written line by line as things happen, read back even when the run was killed."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from hotpin_hil.errors import UsageError
from hotpin_hil.evidence import lines
from hotpin_hil.evidence.lines import Line

try:
    import fcntl
except ImportError:  # not on Windows, where a second run in the same folder goes unnoticed
    fcntl = None  # type: ignore[assignment]

FILE_NAME = "results.jsonl"
SCHEMA_VERSION = 1


class ResultsFile:
    """Appends lines to a results file; a line has left the process when that returns.

    Any number of processes and threads may append: each line is one write at the end of the file.
    """

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND)

    def append(self, line: Line) -> None:
        text = json.dumps(line, allow_nan=False, separators=(",", ":")) + "\n"
        rest = text.encode("ascii")
        while rest:  # at once, unless the disk is full
            rest = rest[os.write(self._fd, rest) :]

    def close(self) -> None:
        os.close(self._fd)


class ResultsWriter(ResultsFile):
    """Begins a new file with the run line, for this process and those that append to its `path`.

    The file is locked until `close`: UsageError if another run writes it, whose lines would mix with these.
    """

    def __init__(self, folder: Path, run: Line) -> None:
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
    """Removes an older run's file. (Truncated instead, it could still get lines from that run's workers.)"""
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
    """The kernel drops the lock with the process, however that ends."""
    if fcntl is None:
        return
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise _in_use(folder) from None


def _in_use(folder: Path) -> UsageError:
    return UsageError(
        f"another run writes its evidence to {folder}", "wait for its end, or give --qualification-dir"
    )


@dataclass
class Results:
    """What a results file holds, sorted by kind."""

    run: Line
    measurements: list[Line] = field(default_factory=list)
    verdicts: list[Line] = field(default_factory=list)
    notes: list[Line] = field(default_factory=list)
    logs: list[Line] = field(default_factory=list)
    end: Line | None = None
    cut: int = 0
    """Lines that were lost because who wrote them was killed in the middle."""

    def add(self, line: Line) -> None:
        kind = line["kind"]
        if line is _CUT:
            self.cut += 1
        elif kind == "end":
            self.end = line
        else:
            self._lists()[kind].append(line)

    def boards(self) -> list[Line]:
        """What the boards said of themselves, each once, in order of appearance."""
        said = [note["board"] for note in self.about(lines.BOARD)]
        return [board for number, board in enumerate(said) if board not in said[:number]]

    def sizes(self) -> list[Line]:
        """The `sizes` notes of the images that were on a board, the one with the console first."""
        return sorted(
            self.about(lines.SIZES), key=lambda note: (note["image"] == lines.RELEASE, note["image"])
        )

    @property
    def is_selection(self) -> bool:
        """Whether tests of the suite were left out on purpose."""
        return bool(self.about(lines.SELECTION))

    def about(self, what: str) -> list[Line]:
        """The notes and logs about this (hotpin_hil.evidence.lines), in the order of the file."""
        return [line for line in (*self.notes, *self.logs) if line.get("about") == what]

    def planned(self) -> dict[str, list[str]]:
        """Node id -> requirement ids of every test that the run was to run; empty if it never came to that."""
        # Each worker tells the plan, since any of them may be lost before it can.
        return {test: ids for plan in self.about(lines.PLAN) for test, ids in plan["tests"].items()}

    def unfinished(self) -> dict[str, list[str]]:
        """Node id -> requirement ids of the tests that were running when the run, or their worker, ended."""
        ended = {verdict["test"] for verdict in self.verdicts}
        return {
            note["test"]: note["requirement"]
            for note in self.about(lines.STARTED)
            if note["test"] not in ended
        }

    def reruns(self) -> dict[str, int]:
        """Node id -> how often it was run, of the tests that were run more than once."""
        times = Counter(note["test"] for note in self.about(lines.STARTED))
        return {test: count for test, count in times.items() if count > 1}

    def _lists(self) -> dict[str, list[Line]]:
        return {
            "measurement": self.measurements,
            "verdict": self.verdicts,
            "note": self.notes,
            "log": self.logs,
        }


_RUN_FIELDS = ("run", "evidence", "started", "board", "firmware", "harness")
"""What the first line says, beside its schema."""
_CUT: Line = {"kind": "cut"}
"""Stands for a line of which only the beginning is there."""
_NEXT = '{"kind":'
"""How every line begins that can follow the beginning of another."""


def read_results(folder: Path) -> Results:
    """Reads `folder`/results.jsonl, or `folder` itself if it is such a file. Lines cut by a kill are counted and
    dropped; anything odd is a UsageError."""
    path = folder if folder.is_file() else folder / FILE_NAME
    found = _lines(path)
    run = next(found, None)
    if run is None or run is _CUT:
        raise UsageError(f"{path} is empty", "the run was killed before it began: run pytest again")
    if run.get("kind") != "run" or run.get("schema") != SCHEMA_VERSION:
        raise UsageError(f"{path} does not begin with a run line of schema {SCHEMA_VERSION}")
    missing = [name for name in _RUN_FIELDS if name not in run]
    if missing:
        raise UsageError(f"{path}, line 1 has no {', '.join(missing)}")
    results = Results(run)
    for number, line in enumerate(found, start=2):
        try:
            results.add(line)
        except KeyError as error:
            raise UsageError(f"{path}, line {number}: {_what_is_odd(line)}") from error
    return results


def _what_is_odd(line: Line) -> str:
    return f"unknown kind {line['kind']!r}" if "kind" in line else "no kind"


def _lines(path: Path) -> Iterator[Line]:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise UsageError(
            f"cannot read {path}: {error.strerror}", "give the folder of a run, such as build/qualification"
        ) from error
    rows = text.split("\n")
    rest = rows.pop()  # empty, unless the run was killed while it wrote
    for number, row in enumerate(rows, start=1):
        following = row.find(_NEXT, 1)
        if following > 0 and not _is_json(row):  # a worker was killed while it wrote, the others went on
            yield _CUT
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
        yield _CUT


def _is_json(row: str) -> bool:
    try:
        json.loads(row)
    except ValueError:
        return False
    return True
