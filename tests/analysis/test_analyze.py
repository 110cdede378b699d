"""`hotpin-hil analyze` on recorded logs and on input that is not a log."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from hotpin_hil.analysis.analyze import analyze
from hotpin_hil.cli.main import main
from hotpin_hil.paths import PROJECT_ROOT
from hotpin_hil.protocol.box import render
from hotpin_hil.protocol.fields import DELTA_LABELS, MemoryStats
from tests.conftest import shared_data

LOGS = [
    "SerialMonitor_Logs_17cac49.txt",
    "SerialMonitor_Logs_e2a27ac.txt",
    "serial_monitor_2a9fccf.txt",
    "serial_monitor_a794485.txt",
    "serialmonitorlogs_a67f01a.txt",
]


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


def run(*arguments: str | Path, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "hotpin_hil", "analyze", *map(str, arguments)]
    return subprocess.run(
        command, cwd=PROJECT_ROOT, input=stdin, capture_output=True, timeout=60, check=False
    )


@pytest.mark.parametrize("name", LOGS)
@pytest.mark.parametrize("size", [1 << 18, 97])
def test_facts_of_a_recorded_log_match_the_reference_counts(name: str, size: int) -> None:
    expected = json.loads(shared_data("real_logs/facts.json").read_text())[name]
    analysis = analyze(pieces(shared_data(f"real_logs/{name}").read_bytes(), size), name)
    assert analysis.facts.keys() == expected.keys()
    wrong = {
        key: (analysis.facts[key], value) for key, value in expected.items() if analysis.facts[key] != value
    }
    assert wrong == {}
    assert analysis.not_kept == {}
    assert analysis.unreadable == {}


def test_json_has_one_line_of_facts_per_log() -> None:
    paths = [shared_data(f"real_logs/{name}") for name in LOGS[:2]]
    done = run("--json", *paths)
    assert (done.returncode, done.stderr) == (0, b"")
    documents = [json.loads(line) for line in done.stdout.splitlines()]
    facts: dict[str, Any] = json.loads(shared_data("real_logs/facts.json").read_text())
    assert [document["facts"] | {"file": name} for document, name in zip(documents, LOGS, strict=False)] == [
        facts[name] for name in LOGS[:2]
    ]


def test_standard_input_is_read() -> None:
    done = run("-", "--json", stdin=b"I (29) boot: ESP-IDF v5.4.2 2nd stage bootloader\n")
    assert json.loads(done.stdout)["facts"]["boots"]["bootloader_starts"] == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read: No such file or directory"),
        ("folder", "is a folder without files (name a log, or a folder with logs)"),
        (b"", "is empty"),
        (b"\x7fELF\x02\x01" + bytes(range(256)) * 50, "is not a console log: "),
        (b"Dear diary,\nnothing happened.\n", "is not a console log: 2 lines, 30 bytes"),
    ],
)
def test_input_that_is_not_a_log_is_a_one_line_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes | str | None, message: str
) -> None:
    path = tmp_path / "log\x1b[31m.txt"
    if isinstance(content, str):
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)
    good = tmp_path / "good.txt"
    good.write_bytes(b"I (29) boot: ESP-IDF v5.4.2 2nd stage bootloader\n")
    status = main(["analyze", str(path), str(good)])
    output = capsys.readouterr()
    assert status == 2
    assert output.err.startswith("error: ")
    assert message in output.err
    assert output.err.count("\n") == 1
    assert "\x1b" not in output.err
    assert "good.txt" in output.out, "the other logs are still read"


# --- The page ---

HOSTILE = "<script>alert(1)</script>\x1b]0;gone\x07\x00<img src=x onerror=alert(1)>"


class Page(HTMLParser):
    """Collects the tags, attributes, links and ids of an HTML page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.links: set[str] = set()
        self.ids: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            self.attributes.add(name)
            if name == "id":
                self.ids.append(value or "")
            elif name in ("href", "xlink:href", "src"):
                self.links.add(value or "")


def hostile_log() -> bytes:
    box = render(f"Before {HOSTILE}", MemoryStats(1, *[5] * 11), dict.fromkeys(DELTA_LABELS, 0))
    lines = ["I (29) boot: ESP-IDF v5.4 2nd stage bootloader", f"I (30) app_init: Project name: {HOSTILE}"]
    lines += [f"I (30) app_init: ELF file SHA256: {HOSTILE}", f"I (30) app_init: App version: {HOSTILE}"]
    lines += [f"I (100) MEM_MGR: {line}" for line in box]
    lines += [f"E (110) TTS: Failed to allocate memory {HOSTILE}", f"rst:0x99 {HOSTILE}", f"@! {{{HOSTILE}"]
    lines += [f"E (120) MEM_MGR: CRITICAL: PSRAM {HOSTILE} very low! 5 bytes", "x" * (1 << 20)]
    lines += [f"I (130) TAG{HOSTILE[:8]}:   Free DMA-capable: 5 bytes"]
    lines += [
        f"abort() was called at PC 0x400d70f4 on core 0 {HOSTILE}",
        "",
        "Backtrace: 0x400d:0x3ffb",
        "Rebooting...",
    ]
    return "\n".join(lines).encode()


def test_page_escapes_the_text_of_a_hostile_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log, page = tmp_path / "<b>log.txt", tmp_path / "page.html"
    log.write_bytes(hostile_log())
    assert main(["analyze", str(log), str(log), "--html", str(page)]) == 0
    assert "\x1b" not in capsys.readouterr().out
    text = page.read_text(encoding="utf-8")
    found = Page(text)
    assert not found.tags & {"script", "img", "link", "iframe", "b"}
    assert not {name for name in found.attributes if name.startswith("on")}
    assert {link for link in found.links if not link.startswith("#")} == set()
    assert {link[1:] for link in found.links} <= set(found.ids)
    assert len(found.ids) == len(set(found.ids))
    assert "&lt;script&gt;alert(1)" in text
    assert [char for char in text if ord(char) < 32 and char not in "\n\t"] == []
    assert len(text) < 1_000_000


def test_page_has_diagnoses_boots_and_pictures(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    log = shared_data("real_logs/SerialMonitor_Logs_17cac49.txt")
    assert main(["analyze", str(log), "--html", str(page)]) == 0
    text = page.read_text(encoding="utf-8")
    for expected in (
        "Task watchdog: a task was leaked",
        "POWERON_RESET",
        "71,575 B",
        "Boot 0: memory over time",
    ):
        assert expected in text
    assert Page(text).tags >= {"svg", "table", "figure"}
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


def test_unwritable_page_is_a_one_line_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "log.txt"
    log.write_bytes(b"I (29) boot: ESP-IDF v5.4 2nd stage bootloader\n")
    assert main(["analyze", str(log), "--html", str(tmp_path / "missing" / "page.html")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "page.html cannot be written: No such file or directory" in error


def test_page_never_overwrites_a_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log, page = tmp_path / "log.txt", tmp_path / "page.html"
    log.write_bytes(b"I (29) boot: ESP-IDF v5.4 2nd stage bootloader\n")
    kept = log.read_bytes()
    assert main(["analyze", "--html", str(log), str(log)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "would overwrite" in error
    assert log.read_bytes() == kept
    for _ in range(2):  # an earlier page may be overwritten, but not a log
        assert main(["analyze", str(log), "--html", str(page)]) == 0
