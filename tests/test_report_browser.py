"""The report in a browser: no error, no request, every link leads somewhere, with hostile texts too."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from hotpin_hil.evidence.qualification import qualify
from hotpin_hil.evidence.results import Results
from hotpin_hil.report.html import render

from .test_report import HOSTILE, results_with, said

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="needs Chromium (chromium or google-chrome) on the path"
)

QUIET = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-extensions"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    # Nothing but the page may be asked for: whatever else is has nowhere to go, and says so on the console.
    *(
        "--host-resolver-rules=MAP * ~NOTFOUND",
        "--enable-logging=stderr",
        "--v=0",
        "--virtual-time-budget=2000",
    ),
)

# Put into the page under test only: says what the page itself cannot.
PROBE = """<script>
window.addEventListener("load", () => {
  const dead = [...document.querySelectorAll("[href]")].map(one => one.getAttribute("href"))
    .filter(href => !href.startsWith("#") || !document.getElementById(href.slice(1)));
  const asked = performance.getEntriesByType("resource").map(one => one.name);
  const wide = document.documentElement.scrollWidth > document.documentElement.clientWidth;
  document.documentElement.setAttribute("data-probe", JSON.stringify({dead, asked, wide, ran: window.ran || 0,
    links: document.querySelectorAll("a[href]").length,
    figures: document.querySelectorAll("figure svg[role=img]").length}));
});
</script></body>"""


def page_of(results: Results) -> str:
    return render(qualify(results), results, "5ha256")


def browse(page: str, folder: Path, width: int) -> tuple[str, str]:
    """What Chromium makes of the page, and what it logs about it."""
    path = folder / "report.html"
    path.write_text(page.replace("</body>", PROBE), encoding="utf-8")
    assert CHROMIUM is not None
    done = subprocess.run(
        [
            CHROMIUM,
            *QUIET,
            f"--user-data-dir={folder}/profile",
            f"--window-size={width},768",
            "--dump-dom",
            path.as_uri(),
        ],
        capture_output=True,
        text=True,
        errors="replace",
        check=True,
        timeout=120,
    )
    return done.stdout, "\n".join(line for line in done.stderr.splitlines() if "CONSOLE" in line)


@pytest.mark.parametrize(
    ("text", "width"),
    [("the board's words", 1366), (HOSTILE + "<img src=x onerror='window.ran=1'>", 1366), ("A" * 5_000, 800)],
    ids=["plain", "hostile", "long"],
)
def test_page_in_a_browser(text: str, width: int, tmp_path: Path) -> None:
    found, console = browse(page_of(results_with(text, text, text, said(text))), tmp_path, width)
    assert console == ""
    probe = re.search(r'data-probe="([^"]*)"', found)
    assert probe is not None
    said_by_page = probe[1].replace("&quot;", '"')
    assert '"dead":[],"asked":[],"wide":false,"ran":0' in said_by_page
    links, figures = map(int, re.findall(r'"(?:links|figures)":(\d+)', said_by_page))
    assert links > 15
    assert figures >= 6


def test_probe_sees_what_it_is_for(tmp_path: Path) -> None:
    """A script that runs, an address outside, and a link to nowhere."""
    bad = "<body><a href='#nowhere'>x</a><script>console.error('x'); window.ran = 1</script><img src='http://example.com/x'></body>"
    found, console = browse(bad, tmp_path, 1366)
    assert "CONSOLE" in console
    assert "#nowhere" in found.split("data-probe=", 1)[1]
    assert "example.com/x" in found.split("data-probe=", 1)[1].split("}", 1)[0]
    assert "ran&quot;:1" in found
