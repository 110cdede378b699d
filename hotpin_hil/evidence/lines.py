"""The lines of results.jsonl as frozen dataclasses; the only module that defines their fields.

A line has a `kind`; a note or a log also has an `about`. Its JSON is `{"kind": ..., "about": ...}` followed by the
fields of its class, in their order and under their names (`class` for `klass`). schemas/results.schema.json describes
the same format; a test compares the two.

The field `file` of a line is relative to the folder of results.jsonl if the file is inside it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from hotpin_hil.device import images
from hotpin_hil.evidence.field_types import check_fields
from hotpin_hil.evidence.model import Limit, MeasurementClass, Value, Verdict
from hotpin_hil.evidence.provenance import Provenance
from hotpin_hil.evidence.requirements import Requirement
from hotpin_hil.evidence.waivers import Waiver
from hotpin_hil.protocol.answers import HeapMap

if TYPE_CHECKING:
    from typing_extensions import Self

SCHEMA_VERSION = 1

EVIDENCE = {"hardware": "hardware", "qemu": "emulated", "virtual": "virtual"}
"""The evidence that each kind of board provides."""

WITH_CONSOLE, RELEASE, PROFILE = images.WITH_CONSOLE, images.RELEASE, images.PROFILE
"""`image` in notes about boards and sizes: the images of the firmware that a board can run."""

NOTE = "note"
LOG = "log"


class ResultsLine:
    """One line of results.jsonl. Each class below is one kind."""

    kind: ClassVar[str]
    about: ClassVar[str] = ""
    """Topic of a note or a log; empty for other kinds."""

    @property
    def test_id(self) -> str | None:
        """Node id of the test that the line is about; None for a line about the whole run."""
        test = getattr(self, "test", None)
        return test if isinstance(test, str) else None

    def as_json(self) -> dict[str, Any]:
        """The line as a JSON-serializable dict: `kind`, `about` if set, then the fields."""
        row: dict[str, Any] = {"kind": self.kind, **({"about": self.about} if self.about else {})}
        for part, key in _keys(type(self)):
            value = getattr(self, part.name)
            if key:
                row[key] = _plain(value)
            else:
                row.update(_plain(value))
        return row

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Self:
        """The line that this JSON data describes. Keys without a field are ignored.

        Raises:
            KeyError: A field without a default is missing; the message is its key.
            TypeError: A value has a wrong type.
            ValueError: A value is not allowed.
        """
        values = {}
        for part, key in _keys(cls):
            read = part.metadata.get("read", _same)
            if not key:
                values[part.name] = read(row)
            elif key in row:
                values[part.name] = read(row[key])
            elif part.default is MISSING:
                raise KeyError(key)
        line = cls(**values)
        check_fields(line)
        return line


LineClass = TypeVar("LineClass", bound=ResultsLine)


def json_keys(line: type[ResultsLine]) -> list[str]:
    """The keys in the JSON of a line, without `kind` and `about`."""
    return [name for part, key in _keys(line) for name in ([key] if key else _MOMENT_KEYS)]


def read_line(row: Mapping[str, Any]) -> ResultsLine | None:
    """Convert JSON data to a line; None for a note or a log about something unknown.

    Raises:
        KeyError: A field is missing; the message is its key.
        LookupError: The kind is missing or unknown.
        TypeError: A value has a wrong type.
        ValueError: A value is not allowed.
    """
    kind = row.get("kind")
    about = row.get("about", "") if kind in (NOTE, LOG) else ""
    line = _CLASSES.get((kind, about))
    if line is not None:
        return line.from_json(row)
    if kind in (NOTE, LOG):
        return None
    raise LookupError(f"unknown kind {kind!r}" if "kind" in row else "no kind")


def _keys(line: type[ResultsLine]) -> tuple[tuple[Field[Any], str], ...]:
    """The fields of a line class, each with its JSON key; an empty key stands for the four keys of a Moment."""
    if line not in _FOUND_KEYS:
        assert is_dataclass(line)
        _FOUND_KEYS[line] = tuple((part, part.metadata.get("key", part.name)) for part in fields(line))
    return _FOUND_KEYS[line]


_FOUND_KEYS: dict[type, tuple[tuple[Field[Any], str], ...]] = {}
"""Cache by class, since a results file has tens of thousands of lines."""


def _same(value: Any) -> Any:
    return value


def _plain(value: Any) -> Any:
    """A value as JSON-serializable data."""
    if hasattr(value, "as_json"):
        return value.as_json()
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if is_dataclass(value):
        return {part.name: _plain(getattr(value, part.name)) for part in fields(value)}
    return value


def _items(value: Any) -> tuple[Any, ...]:
    """The items of an array. A string or an object can also be iterated, but is an error here."""
    if not isinstance(value, list):
        raise TypeError(f"{str(value)[:40]!r} is not an array")
    return tuple(value)


def _one_of(known: Collection[str], text: Any) -> Any:
    if text not in known:
        raise ValueError(f"{str(text)[:40]!r} is not one of {', '.join(known)}")
    return text


def _with_text(data: Any, key: str) -> Any:
    if not isinstance(data, Mapping) or not isinstance(data.get(key), str):
        raise TypeError(f"{str(data)[:40]!r} is not an object with the string {key!r}")
    return data


_Read = Mapping[str, Any]
_TUPLE: _Read = {"read": _items}
_VERDICT: _Read = {"read": Verdict}
_CLASS: _Read = {"read": MeasurementClass, "key": "class"}


@dataclass(frozen=True)
class Moment:
    """A moment on a board: boot, time and mode."""

    test: str
    board: str | None
    """MAC; None until the board has reported it."""
    boot: str | None
    """Boot id."""
    t: int | None
    """Milliseconds since boot."""

    def as_json(self) -> dict[str, Any]:
        """The four keys that lines about a moment share."""
        return {"test": self.test, "board": self.board, "boot": self.boot, "t": self.t}

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Moment:
        """The moment in a line's JSON data."""
        return cls(row["test"], row["board"], row["boot"], row["t"])


_MOMENT_KEYS = [part.name for part in fields(Moment)]
_MOMENT: _Read = {"read": Moment.from_json, "key": ""}


@dataclass(frozen=True)
class RunLine(ResultsLine):
    """The first line: the run's firmware, board and harness."""

    kind = "run"

    run: str
    """UUID of the run."""
    evidence: str = field(metadata={"read": lambda text: _one_of(EVIDENCE.values(), text)})
    """The evidence of this kind of board: "hardware", "emulated" or "virtual"."""
    started: str
    board: Mapping[str, Any] = field(metadata={"read": lambda board: _with_text(board, "kind")})
    """Data that the harness had about the board before its first reply."""
    firmware: Mapping[str, Any]
    harness: Mapping[str, Any]
    requirements: tuple[Requirement, ...] = field(
        default=(), metadata={"read": lambda rows: tuple(map(Requirement.from_json, _items(rows)))}
    )
    provenance: Provenance | None = field(
        default=None, metadata={"read": lambda data: None if data is None else Provenance.from_json(data)}
    )
    """None in files of older versions."""

    def as_json(self) -> dict[str, Any]:
        """The dict of `ResultsLine.as_json`, with the version of the schema first."""
        return {"schema": SCHEMA_VERSION, **super().as_json()}


@dataclass(frozen=True)
class MeasurementLine(ResultsLine):
    """One value against one limit. `value` is a JSON type: NaN and infinity become text."""

    kind = "measurement"

    test: str
    requirement: tuple[str, ...] = field(metadata=_TUPLE)
    name: str
    value: Value
    unit: str
    limit: Limit = field(metadata={"read": Limit.from_json})
    margin: float | None
    verdict: Verdict = field(metadata=_VERDICT)
    klass: MeasurementClass = field(metadata=_CLASS)
    board: str | None
    boot: str | None
    t: int | None


@dataclass(frozen=True)
class VerdictLine(ResultsLine):
    """The verdict of one test on the listed requirements."""

    kind = "verdict"

    test: str
    requirement: tuple[str, ...] = field(metadata=_TUPLE)
    verdict: Verdict = field(metadata=_VERDICT)
    reason: str
    remedy: str
    reproduce: str
    """Command that runs the test again."""


@dataclass(frozen=True)
class EndLine(ResultsLine):
    """The last line of a run that was not cut off."""

    kind = "end"

    exit: int
    """pytest's exit status."""
    finished: str


@dataclass(frozen=True)
class BoardNote(ResultsLine):
    """Identity that a board reports: the reply to `sys.info`."""

    kind, about = NOTE, "board"

    board: Mapping[str, Any]


@dataclass(frozen=True)
class SelectionNote(ResultsLine):
    """Tests of the suite that the run does not include."""

    kind, about = NOTE, "selection"

    text: str


@dataclass(frozen=True)
class LeftOutNote(ResultsLine):
    """A check that needs another kind of board or another bench."""

    kind, about = NOTE, "left_out"

    text: str


@dataclass(frozen=True)
class SizesNote(ResultsLine):
    """Static sizes of an image that ran on a board, in bytes; None if not measured.

    Written at the end of a run, once for each image.
    """

    kind, about = NOTE, "sizes"

    klass: MeasurementClass = field(metadata=_CLASS)
    """MODELLED if the figures come from a board profile."""
    image: str
    """WITH_CONSOLE, RELEASE or PROFILE."""
    elf_sha256: str
    source: str
    """"ELF file" or "profile NAME"."""
    first_heap: int | None
    """Address of the first heap."""
    static_dram: int | None
    """Bytes before the first heap."""
    data: int | None
    bss: int | None
    iram: int | None
    iram_end: int | None
    """Address of the end of IRAM."""
    flash_code: int | None
    flash_data: int | None
    image_size: int | None
    idf_size: Mapping[str, Any] | None
    """{"tool", "total", "memory": {type: {"used", "total"}}}."""
    not_measured: tuple[str, ...] = field(metadata=_TUPLE)
    """The fields that are None, and why."""


@dataclass(frozen=True)
class BaselineNote(ResultsLine):
    """The comparison with the last release, if the run was started with `--baseline`."""

    kind, about = NOTE, "baseline"

    run: str
    """UUID of the base's first run."""
    text: str
    """The base, on one line."""
    fails: bool
    """Whether a regression fails the run."""
    summary: str
    verdicts: Mapping[str, Any]
    """{subject: {"verdict", "compared", "within"}}, with the pairs that differ within the scatter of one build."""
    changes: tuple[Mapping[str, Any], ...] = field(metadata=_TUPLE)
    """The results of `ReleaseChange.as_json` (evidence.release_changes)."""
    notes: tuple[str, ...] = field(metadata=_TUPLE)


@dataclass(frozen=True)
class FaultNote(ResultsLine):
    """A fault that the test injected: name, arguments and seed (docs/faults.md)."""

    kind, about = NOTE, "fault"

    test: str
    board: str | None
    fault: str


@dataclass(frozen=True)
class PlanNote(ResultsLine):
    """The tests that the run plans: node id -> requirement ids."""

    kind, about = NOTE, "plan"

    tests: Mapping[str, tuple[str, ...]] = field(
        metadata={"read": lambda tests: {test: _items(ids) for test, ids in tests.items()}}
    )

    def as_json(self) -> dict[str, Any]:
        """The dict of `ResultsLine.as_json`, with the requirement ids of each test as a list."""
        return {**super().as_json(), "tests": {test: list(ids) for test, ids in self.tests.items()}}


@dataclass(frozen=True)
class WaiverNote(ResultsLine):
    """A waiver that applies to the run's kind of board. Written before the first test."""

    kind, about = NOTE, "waiver"

    waiver: Waiver = field(metadata={"read": Waiver.from_json})


@dataclass(frozen=True)
class ProcedureNote(ResultsLine):
    """Descriptions of the tests: node id without parameters -> docstring of the test, if it has one."""

    kind, about = NOTE, "procedure"

    tests: Mapping[str, str]


@dataclass(frozen=True)
class StartedNote(ResultsLine):
    """The start of a test.

    A test that has no verdict line was running when the run, or its worker, ended. A second note about the same test
    is a rerun.
    """

    kind, about = NOTE, "started"

    test: str
    requirement: tuple[str, ...] = field(metadata=_TUPLE)
    worker: str
    """"gw0", or "main" without pytest-xdist."""


@dataclass(frozen=True)
class _MomentLine(ResultsLine):
    """A line about a moment on a board; its JSON has the moment's four keys."""

    moment: Moment = field(metadata=_MOMENT)

    @property
    def test(self) -> str:
        """Node id of the test."""
        return self.moment.test

    @property
    def board(self) -> str | None:
        """MAC of the board."""
        return self.moment.board

    @property
    def boot(self) -> str | None:
        """Boot id."""
        return self.moment.boot

    @property
    def t(self) -> int | None:
        """Milliseconds since boot."""
        return self.moment.t


@dataclass(frozen=True)
class EventNote(_MomentLine):
    """An event that the board sent, with the names and fields of the firmware (its calls of telemetry_event_begin)."""

    kind, about = NOTE, "event"

    mode: str | None
    """The board's mode; None until it is known."""
    event: str
    """"mem.sample", "mode", "mem.warning", "mem.recovered", "mem.alloc_failed", "mem.predicted", "tts", "boot",
    "log.dropped"."""
    data: Mapping[str, Any]
    """The event's fields as the firmware sent them, unchecked."""


@dataclass(frozen=True)
class ReplyNote(_MomentLine):
    """A reply that the report needs, with the firmware's own fields (firmware/README.md, "The test console").

    `mode.ledger` describes the newest transition, `mem.thresholds` the thresholds from this moment on. `heap.regions`
    accompanies a HeapNote. Of `sys.resources`, only the heaps at the start of a test are kept.
    """

    kind, about = NOTE, "reply"

    mode: str | None
    command: str
    """"mode.ledger", "mem.thresholds", "mem.history", "heap.regions" or "sys.resources"."""
    data: Mapping[str, Any]
    """The reply's fields as the firmware sent them, unchecked."""


@dataclass(frozen=True)
class ComplaintNote(_MomentLine):
    """An error or warning in the console log of a failed test that is not known noise."""

    kind, about = NOTE, "complaint"

    text: str


@dataclass(frozen=True)
class HeapNote(_MomentLine):
    """Blocks of some heaps, read after a test failed because of a memory shortage or fragmentation."""

    kind, about = NOTE, "heap"

    why: str
    caps: str
    """For example "INTERNAL,8BIT"."""
    wanted: int | None
    """Size in bytes of the block that could not be allocated."""
    heaps: tuple[HeapMap, ...] = field(
        metadata={
            "read": lambda rows: tuple(
                HeapMap(**{**row, "blocks": _items(row["blocks"])}) for row in _items(rows)
            )
        }
    )


@dataclass(frozen=True)
class SeriesNote(ResultsLine):
    """The readings that a leak verdict is based on: one per cycle, in the same state.

    `analysis.leak.find_leak(values, budget)` gives the verdict of the test.
    """

    kind, about = NOTE, "series"

    test: str
    board: str | None
    name: str
    unit: str
    values: tuple[float, ...] = field(metadata=_TUPLE)
    budget: float | None
    """Allowed loss per cycle, in `unit`; None if the series was not evaluated for a leak."""


@dataclass(frozen=True)
class AllocationsNote(ResultsLine):
    """The allocation profile at one moment of a test: memory in use by call site."""

    kind, about = NOTE, "allocations"

    test: str
    board: str | None
    when: str
    """State of the board, e.g. "camera mode"."""
    sites: tuple[Mapping[str, Any], ...] = field(metadata=_TUPLE)
    """{"site", "task", "memory", "bytes", "blocks", "peak", "allocations"}: a row per task, call site and memory."""


@dataclass(frozen=True)
class NoiseNote(ResultsLine):
    """Errors on the serial line during a test; only written if there were any."""

    kind, about = NOTE, "noise"

    test: str
    board: str | None
    damaged: int = 0
    """Number of damaged records."""
    lost: int = 0
    """Number of lost records."""
    repeated: int = 0
    """Number of repeated records."""
    garbled: int = 0
    """Number of lines with bytes that no firmware sends."""


@dataclass(frozen=True)
class KnownNoiseNote(ResultsLine):
    """An error that the board logged, but that logs/known_noise.toml lists as harmless, and why it is."""

    kind, about = NOTE, "known_noise"

    test: str
    text: str
    count: int
    reason: str


@dataclass(frozen=True)
class EmulatorNote(ResultsLine):
    """A known emulator fault that stopped a boot of the firmware."""

    kind, about = NOTE, "emulator"

    test: str
    board: str | None
    text: str
    count: int
    """Number of emulator restarts for this reason."""


@dataclass(frozen=True)
class CoreDumpFile:
    """A core dump read back from the board."""

    file: str
    size: int
    sha256: str
    sound: bool | None
    """Whether its checksum is correct; None if it was not checked."""
    text: str
    """esp-coredump's output, or why there is none."""


@dataclass(frozen=True)
class PanicLog(ResultsLine):
    """A panic in a failed test."""

    kind, about = LOG, "panic"

    test: str
    board: str | None
    file: str
    headline: str
    cause: str
    core: int | None
    details: tuple[str, ...] = field(metadata=_TUPLE)
    backtrace: tuple[str, ...] = field(metadata=_TUPLE)
    """"0x400d1234:0x3ffb1230", innermost call first."""
    calls: tuple[str, ...] = field(metadata=_TUPLE)
    """The decoded backtrace; empty without addr2line."""
    is_host: bool
    text: str
    """The whole panic."""
    core_dump: CoreDumpFile | None = field(
        metadata={"read": lambda found: None if found is None else CoreDumpFile(**found)}
    )


@dataclass(frozen=True)
class SliceLog(ResultsLine):
    """The last console lines of a failed test."""

    kind, about = LOG, "slice"

    test: str
    board: str | None
    file: str | None
    text: str
    left_out: int
    """Number of earlier lines that are left out."""


@dataclass(frozen=True)
class RawLog(ResultsLine):
    """The file with the board's whole output during a test."""

    kind, about = LOG, "raw"

    test: str
    board: str | None
    file: str
    size: int
    sha256: str


LINE_CLASSES: tuple[type[ResultsLine], ...] = (
    *(RunLine, MeasurementLine, VerdictLine, EndLine),
    *(
        BoardNote,
        SelectionNote,
        LeftOutNote,
        SizesNote,
        BaselineNote,
        FaultNote,
        WaiverNote,
        PlanNote,
        ProcedureNote,
        StartedNote,
    ),
    *(EventNote, ReplyNote, ComplaintNote, HeapNote),
    *(SeriesNote, AllocationsNote, NoiseNote, KnownNoiseNote, EmulatorNote),
    *(PanicLog, SliceLog, RawLog),
)
_CLASSES: dict[tuple[Any, Any], type[ResultsLine]] = {(line.kind, line.about): line for line in LINE_CLASSES}
