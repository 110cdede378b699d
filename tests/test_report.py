"""What people read: the terminal table fits, and a hostile log can't become markup or a terminal escape."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from hotpin_hil.evidence.model import Verdict
from hotpin_hil.evidence.qualification import qualify
from hotpin_hil.evidence.recorder import Recorder
from hotpin_hil.report.html import render
from hotpin_hil.report.table import blocked_lines, failed_lines, table_lines
from hotpin_hil.report.text import LOG_LINES, printable, shorten, shorten_log

from .test_evidence import END, RUN, results_of, row, verdict

HOSTILE = "<script>alert(1)</script>\x1b[2J\x00\"'><b>&amp;"


def run_with(name: str, reason: str, text: str = "t") -> dict[str, Any]:
    """The qualification of a run in which requirement A failed and B is not built."""
    measured: list[dict[str, Any]] = []
    recorder = Recorder("t::A", ("A",), measured.append)
    recorder.measure(name, 7, "B", max=5, source=reason)
    recorder.measure("said", reason, exact="ok")
    failed = {**verdict("A", "FAIL"), "reason": reason, "remedy": reason}
    blocked = {**verdict("A", "BLOCKED"), "test": "t::other", "reason": reason, "remedy": reason}
    rows = [row("A", text=text), row("B", pending=reason, priority="later")]
    return qualify(results_of({**RUN, "requirements": rows}, [*measured, failed, blocked, END]))


class Tags(HTMLParser):
    """Collects the elements of a page, what they refer to, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.references: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.references += [value or "" for name, value in attrs if name in ("src", "href", "action")]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_hostile_text_stays_text() -> None:
    page = render(run_with(HOSTILE, HOSTILE, HOSTILE))
    tags = Tags(page)
    assert not tags.names & {"script", "b", "img", "link", "iframe"}
    assert "<script>alert(1)</script>" in tags.text
    assert not re.search(r"[\x00-\x08\x0b-\x1f]", page)


def test_page_needs_no_network() -> None:
    page = render(run_with("free", "too little"))
    assert not Tags(page).references
    assert "@import" not in page
    assert "url(" not in page


def test_page_says_what_it_is_not() -> None:
    page = render(run_with("free", "too little"))
    assert "no hardware" in Tags(page).text
    assert "NOT QUALIFIED" in Tags(page).text


@given(st.text(), st.text(min_size=1), st.integers())
def test_table_fits_and_holds_no_control_character(name: str, reason: str, number: int) -> None:
    qualification = run_with(name + str(number) * 20, reason)
    lines = [line for line, _ in table_lines(qualification)]
    lines += blocked_lines(qualification) + failed_lines(qualification)
    for line in lines:
        assert len(line) <= 100 or line.startswith("  reproduce:")
        assert line.isprintable()


def test_table_shows_the_value_nearest_to_its_limit() -> None:
    measured: list[dict[str, Any]] = []
    recorder = Recorder("t::A", ("A",), measured.append)
    for value in (100, 890, 500):
        recorder.measure("took", value, "us", max=1000)
    lines = [*measured, verdict("A", "PASS"), END]
    _, (line, word) = table_lines(qualify(results_of({**RUN, "requirements": [row("A")]}, lines)))
    assert re.fullmatch(r"A +PASS +took 890 us \(\+2\) +<= 1000 us +1", line)
    assert word == Verdict.PASS.value


def test_blocked_tests_are_told_once_per_reason() -> None:
    blocked = [{**verdict(one, "BLOCKED"), "reason": "no sync", "remedy": "plug in"} for one in "ABC"]
    header = {**RUN, "requirements": [row(one) for one in "ABC"]}
    assert blocked_lines(qualify(results_of(header, [*blocked, END]))) == [
        "no sync",
        "  remedy: plug in",
        "  concerns: A, B, C",
    ]


def test_the_end_of_a_long_log_is_kept() -> None:
    log = "".join(f"line {number}\n" for number in range(LOG_LINES + 5))
    shown = shorten_log(log).splitlines()
    assert shown[0] == "... 5 lines left out ..."
    assert (shown[1], shown[-1]) == ("line 5", f"line {LOG_LINES + 4}")
    assert shorten_log("one\r\n\x1b[2Jtwo") == "one\n\\x1b[2Jtwo"


def test_shortening_keeps_the_width() -> None:
    assert shorten("a\tb\n c", 10) == "a b c"
    assert shorten("abcdefghijk", 10) == "abcdefg..."
    assert printable("\x1b[31m\u2028é") == "\\x1b[31m\\u2028é"
