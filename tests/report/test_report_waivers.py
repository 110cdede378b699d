"""Tests how waivers appear on the terminal and on the first page of the report."""

from __future__ import annotations

from hotpin_hil.evidence.qualification import qualify
from hotpin_hil.report.table import WIDTH
from hotpin_hil.report.waiver_lines import waiver_lines
from tests.evidence.test_waivers import run_of, waiver
from tests.report.test_report import HOSTILE, Tags, page_of


def test_terminal_lists_each_waiver() -> None:
    used = waiver(measurement="free", reason="board rev 2 " * 20)
    rest = waiver(requirement="B", expires="2024-12-31")
    lines = waiver_lines(qualify(run_of(used, rest)))
    assert lines[0] == 'A "free": used; bound 12 B, until 2025-01-01, by R. Lead'
    assert "  value: free = 11 B, limit <= 10 B" in lines
    assert "B: expired; bound 12 B, until 2024-12-31, by R. Lead" in lines
    assert lines[-1] == "  the waiver of B expired on 2024-12-31: renew it or remove it"
    assert all(len(line) <= WIDTH for line in lines)
    assert waiver_lines(qualify(run_of())) == []


def test_first_page_lists_each_waiver() -> None:
    text = " ".join(Tags(page_of(run_of(waiver(), waiver(requirement="B")))).text.split())
    start = text[: text.index("What was tested Firmware")]
    assert "1 ◇ WAIVED" in start
    assert "A used free = 11 B, limit <= 10 B 12 B board rev 2 R. Lead 2025-01-01" in start
    assert "B unneeded the waiver of B is unneeded" in start
    assert "Waivers" not in Tags(page_of(run_of())).text


def test_hostile_waiver_stays_text() -> None:
    hostile = waiver(measurement="free", reason=HOSTILE, approved_by=HOSTILE)
    tags = Tags(page_of(run_of(hostile)))
    assert "script" not in tags.names
    assert tags.text.count("<script>alert(1)</script>") == 2
    assert all(line.isprintable() for line in waiver_lines(qualify(run_of(hostile))))
