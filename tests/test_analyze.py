"""`hotpin-hil analyze` on recorded logs, and on what is none."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hotpin_hil.analysis.log_analysis import analyze
from hotpin_hil.cli import main
from hotpin_hil.paths import PROJECT_ROOT

from .conftest import shared_data

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
def test_facts_of_a_recorded_log_are_those_that_were_counted(name: str, size: int) -> None:
    expected = json.loads(shared_data("real_logs/facts.json").read_text())[name]
    analysis = analyze(pieces(shared_data(f"real_logs/{name}").read_bytes(), size), name)
    assert analysis.facts.keys() == expected.keys()
    wrong = {
        key: (analysis.facts[key], value) for key, value in expected.items() if analysis.facts[key] != value
    }
    assert wrong == {}
    assert analysis.not_kept == {}
    assert analysis.unreadable == {}


def test_json_is_one_line_per_log_with_the_facts_of_each() -> None:
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
    ("content", "said"),
    [
        (None, "cannot be read: No such file or directory"),
        ("folder", "is a folder (name the logs in it)"),
        (b"", "is empty"),
        (b"\x7fELF\x02\x01" + bytes(range(256)) * 50, "is no console log: "),
        (b"Dear diary,\nnothing happened.\n", "is no console log: 2 lines, 30 bytes"),
    ],
)
def test_what_is_no_log_gets_one_clear_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes | str | None, said: str
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
    assert said in output.err
    assert output.err.count("\n") == 1
    assert "\x1b" not in output.err
    assert "good.txt" in output.out, "the other logs are read all the same"
