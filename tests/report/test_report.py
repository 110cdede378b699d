"""Tests the table on the terminal and the HTML page: the table must fit the width, and a hostile log must not become
markup or a terminal escape."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotpin_hil.evidence import lines
from hotpin_hil.evidence.model import Verdict
from hotpin_hil.evidence.qualification import qualify
from hotpin_hil.evidence.recorder import Recorder
from hotpin_hil.evidence.results import Results
from hotpin_hil.printable import printable
from hotpin_hil.protocol.answers import HeapMap
from hotpin_hil.protocol.fields import FIELDS
from hotpin_hil.report.html import render
from hotpin_hil.report.margin import margin_share
from hotpin_hil.report.story import GAP_MS, read_stories, timeline_of
from hotpin_hil.report.table import blocked_lines, failed_lines, table_lines
from hotpin_hil.report.text import LOG_LINES, shorten, shorten_log
from hotpin_hil.report.timeline import MarkKind
from tests.evidence.test_evidence import END, RUN, results_of, row, verdict
from tests.report.test_charts import LEVELS

HOSTILE = "<script>alert(1)</script>\x1b[2J\x00\"'><i>&amp;"
TEST = "t::A"
MOMENT = lines.Moment(TEST, "24:0a:c4:00:00:01", "00c0ffee", 2_000)
LEDGER_FIGURES = ("internal_before", "internal_after", "psram_before", "psram_after")
NOW = {"timestamp_ms": 2_000, **{field.name: 70_000 for field in FIELDS if field.section}}
PREDICTED = {"memory": "dma", "critical": True, "timestamp_ms": 0, "loss_per_hour": 1, "windows": 12}
PREDICTED |= dict.fromkeys(("expected_ms", "earliest_ms", "latest_ms"), 1_000)


def results_with(name: str, reason: str, text: str = "t", more: Iterable[lines.ResultsLine] = ()) -> Results:
    """Results of a run with a failed requirement A and a pending requirement B."""
    measured: list[Any] = []
    recorder = Recorder(TEST, ("A",), measured.append)
    recorder.measure(name, 7, "B", max=5, source=reason)
    recorder.measure("said", reason, exact="ok")
    failed = {**verdict("A", "FAIL"), "reason": reason, "remedy": reason}
    blocked = {**verdict("A", "BLOCKED"), "test": "t::other", "reason": reason, "remedy": reason}
    rows = [row("A", text=text), row("B", pending=reason, priority="later")]
    return results_of({**RUN, "requirements": rows}, [*measured, *more, failed, blocked, END])


def run_with(name: str, reason: str, text: str = "t") -> dict[str, Any]:
    """Qualification of the run of `results_with`."""
    return qualify(results_with(name, reason, text))


HELD = {"memory": "internal", "bytes": 64, "blocks": 2, "peak": 96, "allocations": 3}


def page_of(results: Results) -> str:
    return render(qualify(results), results, "5ha256")


def lines_with(text: str) -> list[lines.ResultsLine]:
    """One results line for each kind with board output, with `text` in every such field."""
    ledger = {"step": text, "undo": False, "err": text, **dict.fromkeys(LEDGER_FIGURES, 1_000)}
    return [
        lines.EventNote(MOMENT, None, "mem.sample", {"context": text, **NOW}),
        lines.EventNote(
            MOMENT, text, "mode", {"from": text, "to": text, "ok": True, "duration_ms": 5, "step": None}
        ),
        lines.EventNote(
            MOMENT, text, "mode", {"from": text, "to": text, "ok": False, "duration_ms": 5, "step": text}
        ),
        lines.EventNote(
            MOMENT, text, "mem.warning", {"type": text, "value": 1, "threshold": 2, "timestamp_ms": 3}
        ),
        lines.EventNote(MOMENT, text, "mem.alloc_failed", {"size": 12, "caps": 4, "function": text}),
        lines.EventNote(MOMENT, text, "mem.predicted", {**PREDICTED, "state": text}),
        lines.ReplyNote(MOMENT, text, "mem.thresholds", dict.fromkeys(LEVELS, 1_024)),
        lines.ReplyNote(MOMENT, text, "mode.ledger", {"ledger": [ledger]}),
        lines.ReplyNote(MOMENT, text, "heap.regions", {"regions": [{"start": 1, "caps": text}]}),
        lines.ComplaintNote(MOMENT, text),
        lines.HeapNote(MOMENT, text, text, 9, (HeapMap(heap=1, at=2, blocks=(8, -4)),)),
        lines.AllocationsNote(TEST, None, when=text, sites=({**HELD, "site": text, "task": text},)),
        lines.SeriesNote(TEST, None, name=text, unit=text, values=(50_000,) * 20, budget=1.024),
        lines.NoiseNote(TEST, None, damaged=1, repeated=2),
        lines.SliceLog(TEST, None, text, text, 3),
        lines.RawLog(TEST, None, text, 5, text),
        lines.PanicLog(
            TEST,
            None,
            headline=text,
            cause=text,
            core=0,
            details=(text,),
            backtrace=(),
            calls=(text,),
            is_host=True,
            text=text,
            core_dump=lines.CoreDumpFile(file=text, size=3, sha256=text, sound=True, text=text),
            file=text,
        ),
    ]


class Tags(HTMLParser):
    """Collects the elements, references, ids and text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.references: list[str] = []
        self.ids: list[str] = []
        self.handlers: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.references += [value or "" for name, value in attrs if name in ("src", "href", "action")]
        self.ids += [value or "" for name, value in attrs if name == "id"]
        self.handlers += [name for name, _ in attrs if name.startswith("on")]

    def handle_data(self, data: str) -> None:
        self.text += f"{data} "


# The page


def test_hostile_text_stays_text() -> None:
    page = page_of(results_with(HOSTILE, HOSTILE, HOSTILE, lines_with(HOSTILE)))
    tags = Tags(page)
    assert not tags.names & {"script", "i", "img", "link", "iframe", "object", "foreignobject"}
    assert tags.text.count("<script>alert(1)</script>") > 20
    assert not tags.handlers
    assert not re.search(r"[\x00-\x08\x0b-\x1f]", page)


def test_log_of_a_megabyte_in_one_line_is_shortened() -> None:
    page = page_of(
        results_with("free", "x", more=[lines.SliceLog(TEST, None, None, "A" * 1_000_000 + "end", 0)])
    )
    assert len(page) < 100_000
    assert "980003 characters omitted" in page
    assert "AAAend" in page


@pytest.mark.parametrize("lone", ["\ud800", "\udc00x"])
def test_text_with_lone_surrogates_can_be_written(lone: str) -> None:
    page_of(results_with("free", lone, more=lines_with(lone))).encode()


def test_page_needs_no_network() -> None:
    page = page_of(results_with("free", "too little", more=lines_with("text")))
    tags = Tags(page)
    assert all(reference.startswith("#") for reference in tags.references)
    assert "@import" not in page
    assert set(re.findall(r"url\((.)", page)) <= {"#"}


def test_every_link_of_the_page_has_a_target() -> None:
    tags = Tags(page_of(results_with("free", "too little", more=lines_with("text"))))
    assert len(tags.ids) == len(set(tags.ids))
    assert len(tags.references) > 20
    assert {reference[1:] for reference in tags.references} <= set(tags.ids)


def test_every_section_of_the_page_is_linked_at_its_top() -> None:
    page = page_of(results_with("free", "too little", more=lines_with("text")))
    nav = page[page.index("<nav") : page.index("</nav>")]
    sections = re.findall(r'<section id="([^"]+)"', page)
    sections.remove("failure-details")  # each failure links to this section
    assert "profile" in sections
    assert re.findall(r'href="#([^"]+)"', nav) == sections


def test_page_states_what_it_does_not_prove() -> None:
    text = Tags(page_of(results_with("free", "too little"))).text
    assert "no hardware" in text
    assert "NOT QUALIFIED" in text
    assert "58,900 B of internal memory" in text
    assert "not built yet: too little" in text


def test_page_of_a_run_that_was_cut_off_says_so_and_what_is_missing() -> None:
    rows = [row("A"), row("B"), row("C")]
    run_lines = [
        lines.PlanNote({"t::A": ("A",), "t::B": ("B",), "t::C": ("C",)}),
        lines.StartedNote("t::A", ("A",), "main"),
        verdict("A", "PASS"),
        lines.StartedNote("t::B", ("B",), "main"),
    ]
    text = " ".join(Tags(page_of(results_of({**RUN, "requirements": rows}, run_lines))).text.split())
    assert "INCOMPLETE: the run was cut off while t::B was running" in text
    assert "Running at the end: t::B (B)" in text
    assert "1 tests were planned but did not start" in text
    assert "Requirements without a verdict: B , C" in text
    assert "never: the run was cut off" in text


def test_failure_has_its_reason_its_values_its_log_and_its_command() -> None:
    page = page_of(results_with("free", "too little", more=lines_with("the board's words")))
    text = " ".join(Tags(page).text.split())
    detail = text[text.index("Failures in detail") :]
    assert "FAIL A: A too little" in detail
    assert "Reproduce: pytest t" in detail
    assert "free 7 B <= 5 B" in detail
    assert "Heap map" in detail
    assert "The request was for one block of 9 B" in detail
    assert "the board's words" in detail
    assert 'id="failure-1-memory"' in page


def test_matrix_shows_the_margin_in_words_too() -> None:
    measured: list[Any] = []
    recorder = Recorder(TEST, ("A",), measured.append)
    recorder.measure("took", 950, "us", max=1_000)
    recorder.measure("free", 800, "B", min=500)
    results = results_of({**RUN, "requirements": [row("A")]}, [*measured, verdict("A", "MARGINAL"), END])
    text = " ".join(Tags(page_of(results)).text.split())
    assert "took: 950 us limit <= 1000 us 5.0 % left △ MARGINAL measured 2 values, 1 test" in text
    assert text.count("with less than 10 % of a max or min limit left") == 1


def test_evidence_names_what_each_test_does() -> None:
    """A test is described by its docstring, or by its name if it has none. Each value is listed under its test."""
    measured: list[Any] = []
    for test in ("t.py::test_one[a]", "t.py::test_one[b]", "t.py::test_waits_for_two"):
        Recorder(test, ("A",), measured.append).measure(f"value of {test}", 5, max=10)
        measured.append({**verdict("A", "PASS"), "test": test})
    Recorder("t.py::test_free", (), measured.append).measure("free value", 5, max=10)
    measured.append({**verdict("A", "PASS"), "test": "t.py::test_free", "requirement": []})
    procedures = lines.ProcedureNote({"t.py::test_one": "Boots, and looks."})
    results = results_of({**RUN, "requirements": [row("A")]}, [procedures, *measured, END])
    text = " ".join(Tags(page_of(results)).text.split())
    for name, procedure in (
        ("test_one[a]", "Boots, and looks."),
        ("test_one[b]", "Boots, and looks."),
        ("test_waits_for_two", "waits for two"),
    ):
        assert f"{name} {procedure} ✓ PASS pytest t " in text
        assert f"value of t.py::{name} 5 <= 10" in text
    assert "test_free free ✓ PASS pytest t name value limit and its source verdict free value 5" in text


def test_hash_is_monospaced_and_a_zero_count_is_no_alarm() -> None:
    board = {"build": "hil", "mac": "a", "elf_sha256": "0123456789abcdef" * 4}
    page = page_of(results_with("free", "x", more=[lines.BoardNote(board)]))
    assert f"<dd><code>{'0123456789abcdef' * 4}</code></dd>" in page
    assert '<li class="none"><b>0</b> <span class="verdict pass">' in page
    assert '<li><b>1</b> <span class="verdict fail">' in page


def test_run_id_in_the_margin_of_the_paper_is_no_markup() -> None:
    page = page_of(results_of({**RUN, "run": '8a6e"; } body { display: none; } </style>'}, [END]))
    assert 'run 8a6ebodydisplaynonestyle"; }' in page


@pytest.mark.parametrize(
    ("values", "page", "line"),
    [
        (
            {"quiet": 0, "loud": 1},
            "all 2 values match exactly exact limit",
            "all 2 values match .*",
        ),
        ({"quiet": 0}, "quiet: 0 limit = 0 exact limit", "quiet 0 .*"),
        ({"quiet": 0, "loud": 2}, "loud: 2 limit = 1 exact limit, not met", r"loud 2 \(\+1\) .*"),
    ],
)
def test_exact_values_are_counted_unless_wrong_or_single(
    values: dict[str, int], page: str, line: str
) -> None:
    measured: list[Any] = []
    recorder = Recorder(TEST, ("A",), measured.append)
    for name, value in values.items():
        recorder.measure(name, value, exact=["quiet", "loud"].index(name))
    word = "FAIL" if values.get("loud") == 2 else "PASS"
    results = results_of({**RUN, "requirements": [row("A")]}, [*measured, verdict("A", word), END])
    assert page in " ".join(Tags(page_of(results)).text.split())
    _, (listed, _) = table_lines(qualify(results))
    assert re.fullmatch(rf"A +{word} +{line}", listed)


def test_boards_table_distinguishes_models_chips_and_images() -> None:
    boards = [
        lines.BoardNote(
            {"build": "native", "mac": "a", "chip": "virtual", "rev": 301, "image": "with test console"}
        ),
        lines.BoardNote({"build": "release", "mac": "b", "chip": "ESP32", "rev": 100, "image": "release"}),
        lines.BoardNote({"build": "hil", "mac": "c", "chip": "ESP32", "rev": HOSTILE}),
    ]
    text = " ".join(Tags(page_of(results_with("free", "x", more=boards))).text.split())
    assert "none: a model of an ESP32 rev v3.1 native with test console" in text
    assert "ESP32 rev v1.0 release release" in text


@pytest.mark.parametrize(
    ("limit", "value", "share"),
    [
        ({"max": 1_000}, 900, 0.1),
        ({"max": 1_000}, 1_500, -0.5),
        ({"min": 200}, 300, 0.5),
        ({"low": -10, "high": 10}, 5, 0.5),
        ({"low": 10, "high": 20}, 10, 0.0),
        ({"low": 0, "high": 10}, 0, 1.0),
        ({"low": 0, "high": 10}, 10, 0.0),
        ({"low": 0, "high": 10}, -5, -1.0),
        ({"low": 0, "high": 0}, 0, None),
        ({"low": 5, "high": 5}, 5, None),
        ({"max": 0}, 0, None),
        ({"max": 0}, 1, -1.0),
        ({"exact": 3}, 3, None),
    ],
)
def test_margin_is_a_share_of_the_limit(limit: dict[str, Any], value: float, share: float | None) -> None:
    measured: list[Any] = []
    Recorder(TEST, ("A",), measured.append).measure("x", value, "B", **limit)
    assert margin_share(measured[0]) == (share if share is None else pytest.approx(share))


def test_unreadable_notes_are_counted_and_left_out() -> None:
    """Broken firmware may send events with any content, which must not break the report."""
    odd = [
        lines.EventNote(MOMENT, None, "mem.sample", {"context": "x", "internal_free": "many"}),
        lines.EventNote(MOMENT, None, "mode", {"from": "camera"}),
        lines.EventNote(MOMENT, None, "mem.warning", {"type": 7, "value": None, "threshold": []}),
        lines.ReplyNote(MOMENT, None, "mode.ledger", {"ledger": [{"step": 1}]}),
        lines.ReplyNote(MOMENT, None, "mem.thresholds", {}),
        lines.HeapNote(MOMENT, "x", "DMA", None, (HeapMap(heap="x", at=1, blocks=(1,)),)),  # type: ignore[arg-type],
    ]
    text = " ".join(Tags(page_of(results_with("free", "x", more=odd))).text.split())
    assert "6 notes from a board could not be read" in text


def test_leak_series_is_judged_again_and_drawn() -> None:
    values = [100_000 - 16 * number for number in range(40)]
    leak = lines.SeriesNote(TEST, None, name="internal free", unit="B", values=tuple(values), budget=1.024)
    text = Tags(page_of(results_with("free", "x", more=[leak]))).text
    assert "Verdict: leak. Slope +16.000 B per cycle" in text


def test_ledger_belongs_to_the_change_that_made_it() -> None:
    """A change refused at admission has no ledger. A ledger that is read after the refusal belongs to the previous
    change."""
    steps = [
        {"step": name, "undo": False, "err": "ESP_OK", **dict.fromkeys(LEDGER_FIGURES, 0)} for name in "ab"
    ]
    done = {"from": "camera", "to": "voice", "ok": True, "duration_ms": 5, "step": None}
    refused = {"from": "voice", "to": "camera", "ok": False, "duration_ms": 0, "step": "admission"}
    notes = [
        lines.EventNote(MOMENT, "voice", "mode", done),
        lines.EventNote(MOMENT, "voice", "mode", refused),
        lines.ReplyNote(MOMENT, "voice", "mode.ledger", {"ledger": steps}),
    ]
    (story,) = read_stories(notes).values()
    (ledger,) = story.ledgers
    assert ledger.change is not None
    assert (ledger.change.start, ledger.change.to) == ("camera", "voice")


def test_boots_of_a_test_are_drawn_one_after_the_other() -> None:
    notes = [
        lines.EventNote(
            replace(MOMENT, boot=boot, t=at), None, "mem.sample", {"context": boot, **NOW, "timestamp_ms": at}
        )
        for boot, at in (("a", 1_000), ("a", 4_000), ("b", 1_500))
    ]
    (story,) = read_stories(notes).values()
    timeline = timeline_of(story.boots, {})
    assert timeline is not None
    assert [sample.t_ms for sample in timeline.samples] == [1_000, 4_000, 4_000 + GAP_MS + 1_500]
    assert [(mark.kind, mark.t_ms) for mark in timeline.marks] == [(MarkKind.RESET, 4_000 + GAP_MS)]


# The terminal


@given(st.text(), st.text(min_size=1), st.integers())
def test_table_fits_and_holds_no_control_character(name: str, reason: str, number: int) -> None:
    qualification = run_with(name + str(number) * 20, reason)
    lines = [line for line, _ in table_lines(qualification)]
    lines += blocked_lines(qualification) + failed_lines(qualification)
    for line in lines:
        assert len(line) <= 100 or line.startswith("  reproduce:")
        assert line.isprintable()


def test_table_shows_the_value_nearest_to_its_limit() -> None:
    measured: list[Any] = []
    recorder = Recorder("t::A", ("A",), measured.append)
    for value in (100, 890, 500):
        recorder.measure("took", value, "us", max=1000)
    lines = [*measured, verdict("A", "PASS"), END]
    _, (line, word) = table_lines(qualify(results_of({**RUN, "requirements": [row("A")]}, lines)))
    assert re.fullmatch(r"A +PASS +took 890 us \(\+2\) +<= 1000 us +1", line)
    assert word == Verdict.PASS.value


def test_blocked_tests_are_listed_once_per_reason() -> None:
    blocked = [
        {**verdict(requirement, "BLOCKED"), "reason": "no sync", "remedy": "plug in"} for requirement in "ABC"
    ]
    header = {**RUN, "requirements": [row(requirement) for requirement in "ABC"]}
    assert blocked_lines(qualify(results_of(header, [*blocked, END]))) == [
        "no sync",
        "  remedy: plug in",
        "  affects: A, B, C",
    ]


def test_long_log_keeps_its_end() -> None:
    log = "".join(f"line {number}\n" for number in range(LOG_LINES + 5))
    shown = shorten_log(log).splitlines()
    assert shown[0] == "... 5 lines omitted ..."
    assert (shown[1], shown[-1]) == ("line 5", f"line {LOG_LINES + 4}")
    assert shorten_log("one\r\n\x1b[2Jtwo") == "one\n\\x1b[2Jtwo"
    assert shorten_log("A" * 1_000_000 + "\ntwo") == "A" * 2_000 + " ... and 998,000 characters\ntwo"


def test_shortening_keeps_the_width() -> None:
    assert shorten("a\tb\n c", 10) == "a b c"
    assert shorten("abcdefghijk", 10) == "abcdefg..."
    assert printable("\x1b[31m\u2028é") == "\\x1b[31m\\u2028é"
