"""Checks that the classes and the JSON Schema of the lines of results.jsonl agree."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hotpin_hil.evidence.board_notes import COMMANDS
from hotpin_hil.evidence.lines import (
    LINE_CLASSES,
    LOG,
    NOTE,
    AllocationsNote,
    BaselineNote,
    BoardNote,
    ComplaintNote,
    CoreDumpFile,
    EmulatorNote,
    EndLine,
    EventNote,
    FaultNote,
    HeapNote,
    KnownNoiseNote,
    LeftOutNote,
    MeasurementLine,
    Moment,
    NoiseNote,
    PanicLog,
    PlanNote,
    ProcedureNote,
    RawLog,
    ReplyNote,
    ResultsLine,
    RunLine,
    SelectionNote,
    SeriesNote,
    SizesNote,
    SliceLog,
    StartedNote,
    VerdictLine,
    WaiverNote,
    json_keys,
    read_line,
)
from hotpin_hil.evidence.model import Limit, LimitKind, MeasurementClass, Verdict
from hotpin_hil.evidence.requirements import Requirement
from hotpin_hil.evidence.waivers import Waiver
from hotpin_hil.protocol.answers import HeapMap
from tests.support.provenance import PROVENANCE
from tests.support.schemas import LINE_SCHEMA, RESULTS_LINE

TEST, MAC, SHA256 = "t::A", "24:0a:c4:00:00:01", "ab" * 32
MOMENT = Moment(TEST, MAC, "00c0ffee", 1_234)
TIME = "2025-01-01T00:00:00+00:00"

EXAMPLES: tuple[ResultsLine, ...] = (
    RunLine(
        "8a6e0804-2bd0-4672-b79d-d97027f9071a",
        "virtual",
        TIME,
        {"kind": "virtual"},
        {"project": "hotpin", "version": "1", "idf": "native", "elf_sha256": "00"},
        {"version": "1", "python": "3", "packages": {}},
        (Requirement("A-01", "text", "source", "must", ("virtual",)),),
        PROVENANCE,
    ),
    MeasurementLine(
        TEST,
        ("A-01",),
        "free",
        7,
        "B",
        Limit(LimitKind.RANGE, low=1, high=9, source="datasheet"),
        2,
        Verdict.PASS,
        MeasurementClass.MODELLED,
        MAC,
        "00c0ffee",
        5,
    ),
    VerdictLine(TEST, ("A-01",), Verdict.NOT_APPLICABLE, "no camera", "", "pytest t"),
    EndLine(0, TIME),
    BoardNote({"build": "hil"}),
    SelectionNote("2 tests"),
    LeftOutNote("A-01 without x"),
    SizesNote(
        *(MeasurementClass.MEASURED, "release", SHA256, "ELF file"),
        *(0x3FFB0000, 2, 3, 4, 5, 0x40090000, 7, 8, None),
        idf_size={"tool": "esp-idf-size 2", "total": 9, "memory": {"DRAM": {"used": 1, "total": 2}}},
        not_measured=("app image: no file",),
    ),
    BaselineNote(
        "1a6e0804-2bd0-4672-b79d-d97027f9071a",
        "run 1a6e0804 of 2024",
        False,
        "1 regression",
        {"leak": {"verdict": "MARGINAL", "compared": 1, "within": 0}},
        ({"effect": "regression", "subject": "leak"},),
        ("a note",),
    ),
    FaultNote(TEST, None, "mute()"),
    WaiverNote(Waiver("A-01", "free", "rev 2", "R. Lead", "2026-12-31", 12, "B")),
    PlanNote({TEST: ("A-01",)}),
    ProcedureNote({TEST: "Boots, and looks."}),
    StartedNote(TEST, ("A-01",), "gw0"),
    EventNote(MOMENT, None, "tts", {"id": 1}),
    ReplyNote(MOMENT, "voice", "mode.ledger", {"ledger": []}),
    ComplaintNote(MOMENT, "E (5) APP: bad"),
    HeapNote(MOMENT, "no memory", "SPIRAM", 9, (HeapMap(1, 2, (8, -4), True),)),
    SeriesNote(TEST, MAC, "free", "B", (9.0, 8.5), None),
    AllocationsNote(
        *(TEST, MAC, "camera mode"),
        (dict(site="a, a.c:1", task="b", memory="psram", bytes=1, blocks=1, peak=2, allocations=3),),
    ),
    NoiseNote(TEST, MAC, damaged=1, lost=2, repeated=3, garbled=4),
    KnownNoiseNote(TEST, "E cam: x", 2, "harmless"),
    EmulatorNote(TEST, None, "hangs at reset", 1),
    PanicLog(
        *(TEST, MAC, "panics/a.txt", "Guru", "LoadProhibited", None),
        *(("detail",), ("0x400d1234:0x3ffb1230",), (), False, "text"),
        CoreDumpFile("panics/a.bin", 3, SHA256, None, "not decoded"),
    ),
    SliceLog(TEST, MAC, None, "last lines", 3),
    RawLog(TEST, MAC, "logs/a.log", 5, SHA256),
)


def schema_of(line: type[ResultsLine]) -> dict[str, Any]:
    found: dict[str, Any] = LINE_SCHEMA["$defs"][line.kind]
    if line.kind not in (NOTE, LOG):
        return found
    (own,) = (schema for schema in found["oneOf"] if schema["properties"]["about"]["const"] == line.about)
    common = {name: value for name, value in found["properties"].items() if name != "kind"}
    return {**own, "properties": {**common, **own["properties"]}}


def name_of(line: object) -> str:
    return line.__name__ if isinstance(line, type) else type(line).__name__


def test_every_class_has_an_example() -> None:
    assert tuple(map(type, EXAMPLES)) == LINE_CLASSES


@pytest.mark.parametrize("line", LINE_CLASSES, ids=name_of)
def test_fields_of_a_class_are_the_properties_of_its_schema(line: type[ResultsLine]) -> None:
    properties = set(schema_of(line)["properties"]) - {"schema", "kind", "about"}
    assert set(json_keys(line)) == properties


def test_schema_describes_no_line_without_a_class() -> None:
    defined = LINE_SCHEMA["$defs"]
    abouts = {
        (kind, schema["properties"]["about"]["const"])
        for kind in (NOTE, LOG)
        for schema in defined[kind]["oneOf"]
    }
    kinds = {(schema["$ref"].rpartition("/")[2], "") for schema in LINE_SCHEMA["oneOf"]} - {
        (NOTE, ""),
        (LOG, ""),
    }
    assert {(line.kind, line.about) for line in LINE_CLASSES} == kinds | abouts


def test_schema_names_the_commands_whose_replies_are_stored() -> None:
    (schema,) = (
        option
        for line in LINE_SCHEMA["$defs"].values()
        for option in line.get("oneOf", [])
        if option["properties"].get("about") == {"const": "reply"}
    )
    assert set(schema["properties"]["command"]["enum"]) == set(COMMANDS)


@pytest.mark.parametrize("line", EXAMPLES, ids=name_of)
def test_line_matches_its_schema_and_is_read_back(line: ResultsLine) -> None:
    row = json.loads(json.dumps(line.as_json(), allow_nan=False))
    RESULTS_LINE.validate(row)
    assert read_line(row) == line
    assert set(row) - {"schema", "kind", "about"} == set(json_keys(type(line)))


@pytest.mark.parametrize("line", EXAMPLES, ids=name_of)
def test_unknown_key_is_left_out_and_a_missing_one_named(line: ResultsLine) -> None:
    row = line.as_json()
    assert read_line({**row, "from_the_future": 1}) == line
    for key in json_keys(type(line)):
        if key in ("requirements", "provenance", "damaged", "lost", "repeated", "garbled"):  # optional keys
            continue
        with pytest.raises(KeyError, match=key):
            read_line({name: value for name, value in row.items() if name != key})


def test_note_of_an_unknown_kind_is_left_out() -> None:
    assert read_line({"kind": "note", "about": "the weather", "text": "rain"}) is None


@settings(deadline=None)
@given(st.dictionaries(st.text(), st.integers()))
def test_data_of_an_event_is_kept_as_it_was_sent(data: dict[str, int]) -> None:
    line = EventNote(MOMENT, None, "odd", data)
    assert read_line(json.loads(json.dumps(line.as_json()))) == line
