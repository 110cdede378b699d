"""Opens the report in a browser, even with hostile texts: there must be no error, no request and no dead link."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from hotpin_hil.evidence import lines
from hotpin_hil.evidence.qualification import qualify
from hotpin_hil.evidence.recorder import Recorder
from hotpin_hil.evidence.results import Results
from hotpin_hil.report.html import render
from tests.evidence.test_evidence import END, RUN, passed, results_of, row, verdict
from tests.report.test_report import HOSTILE, MOMENT, TEST, lines_with, results_with

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="needs Chromium (chromium or google-chrome) on the path"
)

QUIET = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-extensions"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    # Only the page may be requested; any other request fails and appears on the console.
    *(
        "--host-resolver-rules=MAP * ~NOTFOUND",
        "--enable-logging=stderr",
        "--v=0",
        "--virtual-time-budget=2000",
    ),
)

# Appended to the page under test; reports dead links, requests, width and executed scripts.
PROBE = """<script>
window.addEventListener("load", () => {
  const dead = [...document.querySelectorAll("[href]")].map(link => link.getAttribute("href"))
    .filter(href => !href.startsWith("#") || !document.getElementById(href.slice(1)));
  const asked = performance.getEntriesByType("resource").map(entry => entry.name);
  const wide = document.documentElement.scrollWidth > document.documentElement.clientWidth;
  document.documentElement.setAttribute("data-probe", JSON.stringify({dead, asked, wide, ran: window.ran || 0,
    links: document.querySelectorAll("a[href]").length,
    figures: document.querySelectorAll("figure svg[role=img]").length}));
});
</script></body>"""


RUNS = HOSTILE + "<img src=x onerror='window.ran=1'>"
MEGABYTE = RUNS + "A" * 1_000_000
PHONE = 390
"""Width of a phone's screen in CSS pixels."""


def with_a_megabyte() -> Results:
    """Results with a line of a megabyte in every text: console, panic, and the texts of a test."""
    panic = next(line for line in lines_with(MEGABYTE) if isinstance(line, lines.PanicLog))
    more = [lines.SliceLog(TEST, None, "dut.log", MEGABYTE, 0), lines.ComplaintNote(MOMENT, MEGABYTE), panic]
    return results_with("free", MEGABYTE, RUNS, [*lines_with(RUNS), *more])


def page_of(results: Results) -> str:
    return render(qualify(results), results, "5ha256")


def browse(page: str, folder: Path, width: int) -> tuple[str, str]:
    """The page's DOM after Chromium has rendered it, and the browser console's output."""
    done = chromium(page.replace("</body>", PROBE), folder, f"--window-size={width},768", "--dump-dom")
    return done.stdout, "\n".join(line for line in done.stderr.splitlines() if "CONSOLE" in line)


def printed(page: str, folder: Path) -> Path:
    """Prints the page as a PDF file, on A4."""
    pdf = folder / "report.pdf"
    chromium(page, folder, "--no-pdf-header-footer", f"--print-to-pdf={pdf}")
    return pdf


def printed_pages(page: str, folder: Path) -> int:
    """Number of A4 pages of the printed page."""
    return len(re.findall(rb"/Type\s*/Page\b", printed(page, folder).read_bytes()))


def chromium(page: str, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    path = folder / "report.html"
    path.write_text(page, encoding="utf-8")
    assert CHROMIUM is not None
    return subprocess.run(
        [CHROMIUM, *QUIET, f"--user-data-dir={folder}/profile", *options, path.as_uri()],
        capture_output=True,
        text=True,
        errors="replace",
        check=True,
        timeout=120,
    )


@pytest.mark.parametrize(
    ("results", "width"),
    [
        (results_with(text, text, text, lines_with(text)), width)
        for text, width in (
            *(("the board's words", 1366), (RUNS, 1366), ("A" * 5_000, 800)),
            *(("the board's words", PHONE), ("A" * 5_000, PHONE)),
        )
    ]
    + [(with_a_megabyte(), 1366)],
    ids=["plain", "hostile", "long", "phone", "long-phone", "megabyte"],
)
def test_page_in_a_browser(results: Results, width: int, tmp_path: Path) -> None:
    found, console = browse(page_of(results), tmp_path, width)
    assert console == ""
    probe = re.search(r'data-probe="([^"]*)"', found)
    assert probe is not None
    said_by_page = probe[1].replace("&quot;", '"')
    assert '"dead":[],"asked":[],"wide":false,"ran":0' in said_by_page
    links, figures = map(int, re.findall(r'"(?:links|figures)":(\d+)', said_by_page))
    assert links > 15
    assert figures >= 6


def test_a_megabyte_in_one_line_takes_few_pages(tmp_path: Path) -> None:
    """A page with megabytes of text may print on at most twice as many pages as one with short texts; without
    shortening, hundreds would be needed."""
    short = printed_pages(page_of(results_with("free", "A", "A", lines_with("A"))), tmp_path)
    assert 1 < printed_pages(page_of(with_a_megabyte()), tmp_path) <= 2 * short


@pytest.mark.skipif(shutil.which("pdftotext") is None, reason="needs pdftotext (poppler-utils)")
def test_every_value_is_on_paper(tmp_path: Path) -> None:
    measured: list[Any] = []
    for test in ("t::A", "t::B"):
        recorder = Recorder(test, (test[-1],) if test == "t::A" else (), measured.append)
        for number in range(120):
            recorder.measure(f"value {test} number {number}", 1_000_000 + number, "B", max=2_000_000)
        measured.append({**verdict("A", "PASS"), "test": test, "requirement": list(recorder.requirements)})
    logs = [lines.RawLog("t::A", None, f"logs/{number}", 5, f"{number:064x}") for number in range(9)]
    waiting = lines.PlanNote({"t::waiting": ("A",)})
    results = results_of({**RUN, "requirements": [row("A")]}, [waiting, *measured, *logs])
    pdf = printed(render(qualify(results), results, "5ha256" * 9), tmp_path)
    command = ["pdftotext", "-raw", str(pdf), "-"]
    text = " ".join(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
    found = {*re.findall(r"value (t::[AB] number \d+) (\d+) B <= 2000000 B", text)}
    assert found == {
        (f"{test} number {number}", str(1_000_000 + number))
        for test in ("t::A", "t::B")
        for number in range(120)
    }
    together = text.replace(" ", "")
    assert all(f"{number:064x}" in together for number in range(9))
    assert "t::waiting (A)" in text
    assert "5ha256" * 9 in together
    for word in ("prepared by", "reviewed by", "approved by", f"INCOMPLETE (virtual), run {RUN['run']}"):
        assert word in text
    pages = int(text.rpartition(" of ")[2].split()[0])
    assert pages > 2
    assert all(f"page {number} of {pages}" in text for number in range(1, pages + 1))


# Appended to the page under test; reports the rows for each choice of the filter, and the target of a link.
CLICKS = """<script>
window.addEventListener("load", () => {
  const shown = {};
  for (const choice of document.querySelectorAll("input[name=show]")) {
    choice.click();
    shown[document.querySelector(`label[for=${choice.id}]`).textContent] =
      [...document.querySelectorAll("table.requirements tbody tr")].filter(row => row.offsetHeight).map(row => row.id);
  }
  const details = [...document.querySelectorAll("details")];
  details.forEach(each => each.open = false);
  document.querySelector("a[href='#evidence-c']").click();
  setTimeout(() => {
    const opened = details.filter(each => each.open).map(each => each.textContent.trim().split(" ")[0]);
    document.documentElement.setAttribute("data-probe", JSON.stringify({shown, opened}));
  }, 200);
});
</script></body>"""


def test_filter_and_links_work_without_scripts(tmp_path: Path) -> None:
    """The report itself has no script; the test's script only clicks elements."""
    words = {"A": "PASS", "B": "FAIL", "C": "MARGINAL", "D": "NOT APPLICABLE", "E": "BLOCKED"}
    judged = [
        line
        for id_, word in words.items()
        for line in (passed(id_, word) if word in ("PASS", "MARGINAL") else [verdict(id_, word)])
    ]
    results = results_of({**RUN, "requirements": [row(id_) for id_ in words]}, [*judged, END])
    page = page_of(results).replace("</body>", CLICKS)
    done = chromium(page, tmp_path, "--window-size=1366,768", "--dump-dom")
    probe = re.search(r'data-probe="([^"]*)"', done.stdout)
    assert probe is not None
    assert json.loads(probe[1].replace("&quot;", '"')) == {
        "shown": {
            "all (5)": ["a", "b", "c", "d", "e"],
            "not passed (3)": ["b", "d", "e"],
            "marginal or waived (1)": ["c"],
        },
        "opened": ["C"],
    }


def test_probe_detects_script_request_and_dead_link(tmp_path: Path) -> None:
    """Proves that the checks of the other tests work: they must report the script, the external address and the dead
    link of this page."""
    bad = "<body><a href='#nowhere'>x</a><script>console.error('x'); window.ran = 1</script><img src='http://example.com/x'></body>"
    found, console = browse(bad, tmp_path, 1366)
    assert "CONSOLE" in console
    assert "#nowhere" in found.split("data-probe=", 1)[1]
    assert "example.com/x" in found.split("data-probe=", 1)[1].split("}", 1)[0]
    assert "ran&quot;:1" in found
