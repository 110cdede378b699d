"""Writes results.jsonl line by line during a run, and reads it back even after the run was killed."""

from __future__ import annotations

import json
import os
import threading
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hotpin_hil.errors import HostError, UsageError, host_remedy
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
    WaiverNote,
    read_line,
)
from hotpin_hil.evidence.model import PASSED, Verdict, judge_all, worst
from hotpin_hil.evidence.strict_json import read_object
from hotpin_hil.evidence.waivers import Waivers

try:
    import fcntl
except ImportError:  # not on Windows, where a second run in the same folder goes unnoticed
    fcntl = None  # type: ignore[assignment]

FILE_NAME = "results.jsonl"
FLAKY = "flaky: "
"""Start of the verdict's reason if the test had an earlier attempt."""


class ResultsFile:
    """Appends lines to a results file, unbuffered: after `append` returns, the line survives a crash of the process.

    Any number of processes and threads may append: each line is one write at the end of the file. If the disk is full,
    the lines are kept in memory until there is space again, and the file ends with a complete line.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND)
        self._lock = threading.Lock()
        self._waiting: deque[bytes] = deque()

    def append(self, line: ResultsLine) -> None:
        """Write a line. If that fails, keep the line until the next `append` or `flush`."""
        text = json.dumps(line.as_json(), allow_nan=False, separators=(",", ":")) + "\n"
        with self._lock:
            self._waiting.append(text.encode("ascii"))
            self._write_waiting()

    def flush(self) -> HostError | None:
        """Write the waiting lines.

        Returns:
            Why some lines are still waiting; None if all lines are in the file.
        """
        with self._lock:
            error = self._write_waiting()
        if error is None:
            return None
        return HostError(
            f"cannot write {self.path}: {error.strerror}; {len(self._waiting)} lines are waiting for disk space",
            host_remedy(error) or "make sure that the disk can be written, then run again",
        )

    def _write_waiting(self) -> OSError | None:
        try:
            while self._waiting:
                self._write(self._waiting[0])
                self._waiting.popleft()
        except OSError as error:
            return error
        return None

    def _write(self, text: bytes) -> None:
        """Write a line completely or not at all."""
        written = 0
        try:
            while written < len(text):  # one write, unless the disk is full
                written += os.write(self._fd, text[written:])
        except OSError:
            end = os.lseek(self._fd, 0, os.SEEK_CUR)
            if written and os.fstat(self._fd).st_size == end:  # no other process has written since
                os.ftruncate(self._fd, end - written)
            raise

    def close(self) -> None:
        """Close the file, which also releases its lock. Lines still waiting for disk space are lost."""
        os.close(self._fd)


class ResultsWriter(ResultsFile):
    """Starts a new file with the run line, for this process and for others that append to its `path`.

    The file is locked until `close`.

    Raises:
        UsageError: The folder cannot be written, or it holds another run's file.
    """

    def __init__(self, folder: Path, run: RunLine) -> None:
        path = folder / FILE_NAME
        try:
            folder.mkdir(parents=True, exist_ok=True)
            path.touch(exist_ok=False)
        except FileExistsError:
            if not folder.is_dir():
                raise UsageError(f"{folder} is not a folder", "give another --qualification-dir") from None
            raise _in_use(folder) from None
        except OSError as error:
            raise cannot_write(folder, error) from error
        super().__init__(path)
        _lock(self._fd, folder)
        self.append(run)
        problem = self.flush()
        if problem is not None:
            self.close()
            path.unlink()
            raise UsageError(problem.message, problem.remedy)


def cannot_write(folder: Path, error: OSError) -> UsageError:
    """The error to raise if the folder for the evidence cannot be written."""
    return UsageError(
        f"cannot write the evidence to {folder}: {error.strerror or error}",
        host_remedy(error)
        or "name a folder that you can write: --state-dir, HOTPIN_STATE_DIR or --qualification-dir",
    )


def is_being_written(folder: Path) -> bool:
    """Whether a run is writing its results to the folder."""
    try:
        fd = os.open(folder / FILE_NAME, os.O_WRONLY)
    except OSError:
        return False
    try:
        _lock(fd, folder)
    except UsageError:
        return True
    finally:
        os.close(fd)  # which also releases the lock
    return False


def _lock(fd: int, folder: Path) -> None:
    """Lock the file. The kernel releases the lock whenever the process ends."""
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
    """The content of a results file, grouped by kind, with every verdict recomputed from values and limits."""

    run: RunLine
    measurements: list[MeasurementLine] = field(default_factory=list)
    verdicts: list[VerdictLine] = field(default_factory=list)
    notes: list[ResultsLine] = field(default_factory=list)
    """Notes and logs, in the order of the file."""
    end: EndLine | None = None
    cut: int = 0
    """Number of lines that were lost because their writer was killed while writing."""
    unreadable: list[str] = field(default_factory=list)
    """A text for each invalid line, such as "line 5: not JSON: ..."."""
    contradictions: list[str] = field(default_factory=list)
    """A text for each line that contradicts another line, or itself."""
    waivers: Waivers = field(init=False, repr=False)
    _blocked: dict[str, list[VerdictLine]] = field(default_factory=dict, repr=False)
    """Node id -> BLOCKED verdicts of earlier attempts, which count only until a later attempt has ended."""
    _attempts: dict[str, list[MeasurementLine]] = field(default_factory=dict, repr=False)
    """Node id -> measurements since the test started, so that each attempt of a rerun is judged by its own values."""

    def __post_init__(self) -> None:
        self.waivers = Waivers(self.run.started)

    def add(self, line: ResultsLine, where: str = "a line") -> None:
        """Add the next line of the file.

        Args:
            line: The line.
            where: Name of the line in `contradictions`.

        Raises:
            ValueError: The line is the first line of another run.
        """
        match line:
            case MeasurementLine():
                self._add_measurement(line, where)
            case VerdictLine():
                self._add_verdict(line, where)
            case EndLine():
                self.end = line
            case RunLine():
                raise ValueError("the first line of another run")
            case StartedNote():
                if line.test in self._attempts:
                    self._blocked[line.test] = [
                        verdict
                        for verdict in self.verdicts
                        if verdict.test == line.test and verdict.verdict is Verdict.BLOCKED
                    ]
                self._attempts[line.test] = []
                self.notes.append(line)
            case WaiverNote():
                self.waivers.add(line.waiver)
                self.notes.append(line)
            case _:
                self.notes.append(line)

    def _add_measurement(self, line: MeasurementLine, where: str) -> None:
        verdict = self.waivers.judge(line)
        if verdict is not line.verdict:
            self.contradictions.append(
                f"{where} says {line.verdict}, but {line.name} is {verdict} by its value and limit"
            )
        line = replace(line, verdict=verdict, margin=line.limit.margin(line.value))
        self._check_ids(line.requirement, where)
        self.measurements.append(line)
        self._attempts.setdefault(line.test, []).append(line)

    def _add_verdict(self, line: VerdictLine, where: str) -> None:
        """Add the line; if the values of its requirements give different verdicts, add one line for each verdict."""
        self._check_ids(line.requirement, where)
        for earlier in self._blocked.pop(line.test, ()):
            self.verdicts.remove(earlier)
        measured = self._attempts.get(line.test, ())
        groups: dict[Verdict, list[str]] = {}
        for id_ in line.requirement:
            found = judge_all(value for value in measured if id_ in value.requirement)
            groups.setdefault(_recomputed(line.verdict, found), []).append(id_)
        if not line.requirement:
            failed = any(value.verdict is Verdict.FAIL for value in measured)
            groups[Verdict.FAIL if failed else line.verdict] = []
        for verdict, ids in groups.items():
            if verdict is line.verdict:
                self.verdicts.append(replace(line, requirement=tuple(ids)))
                continue
            about = f"{line.verdict}, but {'nothing was measured' if verdict is Verdict.UNSET else 'its values say'}"
            about += "" if verdict is Verdict.UNSET else f" {verdict}"
            self.contradictions.append(f"{where} says {about} ({', '.join(ids) or line.test})")
            reason = f"the results say {about}"
            self.verdicts.append(replace(line, requirement=tuple(ids), verdict=verdict, reason=reason))

    def _check_ids(self, ids: tuple[str, ...], where: str) -> None:
        unknown = [id_ for id_ in ids if id_ not in {row.id for row in self.run.requirements}]
        if unknown:
            self.contradictions.append(f"{where} names the unknown requirement {', '.join(unknown)}")

    def of(self, kind: type[LineClass]) -> list[LineClass]:
        """The notes or logs of this class, in the order of the file."""
        return [line for line in self.notes if isinstance(line, kind)]

    def boards(self) -> list[Mapping[str, Any]]:
        """The identities that the boards reported, each once, in order of appearance."""
        reported = [note.board for note in self.of(BoardNote)]
        return [board for number, board in enumerate(reported) if board not in reported[:number]]

    def sizes(self) -> list[SizesNote]:
        """The sizes of the images that were on a board, by name, the release image last."""
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

    def without_verdict(self) -> list[str]:
        """Node ids of the planned tests that have no verdict on at least one of their requirements."""
        judged: dict[str, set[str]] = {}
        for verdict in self.verdicts:
            judged.setdefault(verdict.test, set()).update(verdict.requirement)
        return [test for test, ids in self.planned().items() if not judged.get(test, set()).issuperset(ids)]

    def reruns(self) -> dict[str, int]:
        """Node id -> number of runs, for each test that ran more than once."""
        times = Counter(note.test for note in self.of(StartedNote))
        return {test: count for test, count in times.items() if count > 1}


_NEXT = b'{"kind":'
"""Start of every line that may follow a truncated line."""


def read_results(folder: Path) -> Results:
    """Read `folder`/results.jsonl, or `folder` itself if it is a file.

    Lines cut off by a kill are counted and dropped. Invalid lines are dropped too, and listed in `unreadable`.

    Raises:
        UsageError: The file cannot be read, or its first line does not describe a run.
    """
    path = folder if folder.is_file() else folder / FILE_NAME
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise UsageError(
            f"cannot read {path}: {error.strerror}", "give the folder of a run, such as build/qualification"
        ) from error
    rest = lines.pop()  # what follows the last newline: empty, unless the run was killed while writing
    if not lines:
        raise UsageError(f"{path} is empty", "the run was killed at its start: run pytest again")
    results = Results(_run_line(path, lines[0]))
    for number, text in enumerate(lines[1:], start=2):
        whole = _without_cut(text)
        results.cut += whole is not text
        where = f"line {number}"
        try:
            line = read_line(read_object(whole))
            if line is not None:
                results.add(line, where)
        except _UNREADABLE as error:
            results.unreadable.append(f"{where}: {_text(error)}")
    results.cut += bool(rest)
    return results


_UNREADABLE = (LookupError, TypeError, ValueError, AttributeError)
"""Errors that reading an invalid line raises."""


def _run_line(path: Path, text: bytes) -> RunLine:
    try:
        row = read_object(text)
        if row.get("kind") != RunLine.kind or row.get("schema") != SCHEMA_VERSION:
            raise UsageError(f"{path} does not begin with a run line of schema {SCHEMA_VERSION}")
        return RunLine.from_json(row)
    except _UNREADABLE as error:
        raise UsageError(
            f"{path}, line 1: {_text(error)}",
            "the results are damaged: restore the file, or run pytest again",
        ) from error


def _text(error: Exception) -> str:
    """The error in a line, in a few words."""
    text = f"no key {error.args[0]!r}" if isinstance(error, KeyError) else str(error)
    text = text.encode("ascii", "backslashreplace").decode("ascii")
    return text if len(text) <= 160 else f"{text[:160]}..."


def _without_cut(line: bytes) -> bytes:
    """The line without the cut-off line that a killed process left in front of it."""
    following = line.find(_NEXT, 1)
    if following < 0 or _is_json(line):
        return line
    # The object of a measurement's limit starts like a line, but what follows it is not JSON.
    while following > 0 and not _is_json(line[following:]):
        following = line.find(_NEXT, following + 1)
    return line[following:] if following > 0 else line


def _is_json(line: bytes) -> bool:
    try:
        read_object(line)
    except ValueError:
        return False
    return True


def _recomputed(stated: Verdict, measured: Verdict) -> Verdict:
    """Recompute the verdict on a requirement: FAIL if a value fails, else the written verdict if it is not a pass.

    Otherwise the worse of the two; but a pass needs values, and only the values show whether a waiver applies.
    """
    if measured is Verdict.FAIL:
        return measured
    if stated not in PASSED:
        return stated
    if measured in (Verdict.UNSET, Verdict.NOT_APPLICABLE) or stated is Verdict.WAIVED:
        return measured
    return worst((stated, measured)) or stated
