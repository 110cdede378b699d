"""results.jsonl: written line by line as things happen, read back even when the run was killed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from hotpin_hil.errors import UsageError

try:
    import fcntl
except ImportError:  # not on Windows, where a second run in the same folder goes unnoticed
    fcntl = None  # type: ignore[assignment]

FILE_NAME = "results.jsonl"
SCHEMA_VERSION = 1

BOARD_NOTE = "board"
"""`about` of a note that carries what a board said of itself (PROTOCOL.md §3, `sys.info`)."""

SELECTION_NOTE = "selection"
"""`about` of a note that says which tests of the suite the run left out."""

Line = dict[str, Any]


class ResultsWriter:
    """Begins a new file with the run line, then appends; a line has left the process when that returns.

    The file is locked until `close`: UsageError if another run writes it, whose lines would mix with these.
    """

    def __init__(self, folder: Path, run: Line) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file: IO[str] = (folder / FILE_NAME).open("a", encoding="ascii")
        _lock(self._file, folder)
        self._file.truncate(0)
        self.append(run)

    def append(self, line: Line) -> None:
        self._file.write(json.dumps(line, allow_nan=False, separators=(",", ":")) + "\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def _lock(file: IO[str], folder: Path) -> None:
    """The kernel drops the lock with the process, however that ends."""
    if fcntl is None:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise UsageError(
            f"another run writes its evidence to {folder}", "wait for its end, or give --qualification-dir"
        ) from None


@dataclass
class Results:
    """What a results file holds, sorted by kind."""

    run: Line
    measurements: list[Line] = field(default_factory=list)
    verdicts: list[Line] = field(default_factory=list)
    notes: list[Line] = field(default_factory=list)
    logs: list[Line] = field(default_factory=list)
    end: Line | None = None

    def add(self, line: Line) -> None:
        kind = line["kind"]
        if kind == "end":
            self.end = line
        else:
            self._lists()[kind].append(line)

    def boards(self) -> list[Line]:
        """What the boards said of themselves, each once, in order of appearance."""
        said = [note["board"] for note in self.notes if note.get("about") == BOARD_NOTE]
        return [board for number, board in enumerate(said) if board not in said[:number]]

    @property
    def is_selection(self) -> bool:
        """Whether tests of the suite were left out on purpose."""
        return any(note.get("about") == SELECTION_NOTE for note in self.notes)

    def _lists(self) -> dict[str, list[Line]]:
        return {
            "measurement": self.measurements,
            "verdict": self.verdicts,
            "note": self.notes,
            "log": self.logs,
        }


def read_results(folder: Path) -> Results:
    """Reads `folder`/results.jsonl. A last line cut by a kill is dropped; anything odd is a UsageError."""
    path = folder / FILE_NAME
    lines = _lines(path)
    run = next(lines, None)
    if run is None:
        raise UsageError(f"{path} is empty", "the run was killed before it began: run pytest again")
    if run.get("kind") != "run" or run.get("schema") != SCHEMA_VERSION:
        raise UsageError(f"{path} does not begin with a run line of schema {SCHEMA_VERSION}")
    results = Results(run)
    for number, line in enumerate(lines, start=2):
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
        try:
            line = json.loads(row)
        except ValueError as error:
            raise UsageError(f"{path}, line {number} is not JSON: {error}") from error
        if not isinstance(line, dict):
            raise UsageError(f"{path}, line {number} is not an object")
        yield line
    if rest:
        yield {"kind": "note", "text": f"the last line of {path.name} was cut off and is left out"}
