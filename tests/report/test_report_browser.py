"""The report in a browser, also with hostile texts: no error, no request, no dead link."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from hotpin_hil.evidence import lines
from hotpin_hil.evidence.qualification import qualify
from hotpin_hil.evidence.results import Results
from hotpin_hil.report.html import render
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
PAGES_MAX = 12
"""Limit in A4 pages; unshortened texts of a megabyte would take thousands."""


def with_a_megabyte() -> Results:
    """Results with a line of a megabyte in every possible place: console, panic, and the texts of a test."""
    panic = next(line for line in lines_with(MEGABYTE) if isinstance(line, lines.PanicLog))
    more = [lines.SliceLog(TEST, None, "dut.log", MEGABYTE, 0), lines.ComplaintNote(MOMENT, MEGABYTE), panic]
    return results_with("free", MEGABYTE, RUNS, [*lines_with(RUNS), *more])


def page_of(results: Results) -> str:
    return render(qualify(results), results, "5ha256")


def browse(page: str, folder: Path, width: int) -> tuple[str, str]:
    """The page as rendered by Chromium, and Chromium's log about it."""
    done = chromium(page.replace("</body>", PROBE), folder, f"--window-size={width},768", "--dump-dom")
    return done.stdout, "\n".join(line for line in done.stderr.splitlines() if "CONSOLE" in line)


def printed_pages(page: str, folder: Path) -> int:
    """Number of A4 pages when printed."""
    pdf = folder / "report.pdf"
    chromium(page, folder, "--no-pdf-header-footer", f"--print-to-pdf={pdf}")
    return len(re.findall(rb"/Type\s*/Page\b", pdf.read_bytes()))


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
        for text, width in (("the board's words", 1366), (RUNS, 1366), ("A" * 5_000, 800))
    ]
    + [(with_a_megabyte(), 1366)],
    ids=["plain", "hostile", "long", "megabyte"],
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
    pages = printed_pages(page_of(with_a_megabyte()), tmp_path)
    assert 1 < pages <= PAGES_MAX


def test_probe_detects_script_request_and_dead_link(tmp_path: Path) -> None:
    """The sample page has a script, an external address and a dead link."""
    bad = "<body><a href='#nowhere'>x</a><script>console.error('x'); window.ran = 1</script><img src='http://example.com/x'></body>"
    found, console = browse(bad, tmp_path, 1366)
    assert "CONSOLE" in console
    assert "#nowhere" in found.split("data-probe=", 1)[1]
    assert "example.com/x" in found.split("data-probe=", 1)[1].split("}", 1)[0]
    assert "ran&quot;:1" in found
