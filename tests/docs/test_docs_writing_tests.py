"""Checks docs/writing-tests.md: its tests run on a virtual board with the stated outcomes, and its tables list every
method."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from fixtures.board import Power
from fixtures.faults import Faults
from fixtures.memory import Heaps, Monitor
from fixtures.modes import Modes
from hotpin_hil.device import Device
from hotpin_hil.paths import FIRMWARE_DIR, NATIVE_BUILD_DIR, PROJECT_ROOT, REQUIREMENTS_FILE

TEXT = (PROJECT_ROOT / "docs" / "writing-tests.md").read_text(encoding="utf-8")
RUN_TIMEOUT_S = 300.0

VERDICTS = {
    "test_stream_takes_at_most_64_kb": "FAIL",
    "test_power_cycle_is_a_power_on_reset": "BLOCKED",
}
"""Test → outcome that the page states; all other tests pass."""


def blocks(language: str) -> list[str]:
    """The page's code blocks in this language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Run:
    """A run of the page's tests: its output and its verdicts."""

    output: str
    verdicts: dict[str, str]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Runs the page's tests in a project without other tests."""
    if not (NATIVE_BUILD_DIR / "flasher_args.json").is_file():
        pytest.skip("the firmware's host build is missing: make native")
    project = tmp_path_factory.mktemp("project")
    for name in ("pytest.ini", "conftest.py"):
        shutil.copy(PROJECT_ROOT / name, project)
    for name in ("fixtures", FIRMWARE_DIR.name):
        (project / name).symlink_to(PROJECT_ROOT / name)
    suite = project / "hil_tests"
    suite.mkdir()
    requirements = REQUIREMENTS_FILE.read_text(encoding="utf-8") + "".join(blocks("toml"))
    (suite / REQUIREMENTS_FILE.name).write_text(requirements, encoding="utf-8")
    for code in blocks("python"):
        (project / file_of(code)).write_text(code, encoding="utf-8")
    unset = ("CI", "HOTPIN_BOARD", "HOTPIN_BENCH", "ESPPORT", "PYTEST_ADDOPTS", "PYTEST_XDIST_WORKER")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--target", "esp32", "--board", "virtual"],
        cwd=project,
        env={name: value for name, value in os.environ.items() if name not in unset},
        capture_output=True,
        text=True,
        timeout=RUN_TIMEOUT_S,
        check=False,
    )
    results = project / "build" / "qualification" / "latest" / "results.jsonl"
    assert results.is_file(), done.stdout + done.stderr
    lines = map(json.loads, results.read_text(encoding="utf-8").splitlines())
    verdicts = {
        line["test"].rpartition("::")[2]: line["verdict"] for line in lines if line["kind"] == "verdict"
    }
    return Run(done.stdout, verdicts)


def words(line: str) -> str:
    """The line without repeated spaces and rule characters, whose number depends on the terminal's width."""
    return re.sub(r"[ _=-]{2,}", " ", line).strip()


def file_of(code: str) -> Path:
    """The path that a code block names in its first line."""
    named = re.match(r"# (hil_tests/test_\w+\.py)\n", code)
    assert named, f"this block does not name its file:\n{code}"
    return Path(named[1])


def test_every_test_of_the_page_ends_as_the_page_says(run: Run) -> None:
    names = [name for code in blocks("python") for name in re.findall(r"^def (test_\w+)", code, re.MULTILINE)]
    assert len(names) > 5
    assert run.verdicts == {name: VERDICTS.get(name, "PASS") for name in names}, run.output


def test_a_failure_prints_what_the_page_shows(run: Run) -> None:
    [shown] = [block for block in blocks("text") if "out of limit" in block]
    printed = {words(line) for line in run.output.splitlines()}
    missing = [line for line in shown.splitlines() if line != "…" and words(line) not in printed]
    assert not missing, run.output


def methods(cls: type) -> set[str]:
    return {name for name in vars(cls) if not name.startswith("_")}


@pytest.mark.parametrize(
    ("fixture", "cls"),
    [("heaps", Heaps), ("monitor", Monitor), ("modes", Modes), ("faults", Faults), ("power", Power)],
)
def test_the_tables_list_every_method(fixture: str, cls: type) -> None:
    rows = "\n".join(line for line in TEXT.splitlines() if line.startswith(f"| `{fixture}."))
    assert set(re.findall(rf"`{fixture}\.(\w+)\(", rows)) == methods(cls)


def test_every_method_of_device_that_is_named_exists() -> None:
    table = TEXT.split("### `device`")[1].split("\n### ")[0]
    named = re.findall(r"^\| `(\w+)\(", table, re.MULTILINE) + re.findall(r"device\.(\w+)\(", TEXT)
    assert len(named) > 10
    assert [name for name in named if not hasattr(Device, name)] == []


def test_every_fixture_that_is_named_exists() -> None:
    table = TEXT.split("## Fixtures")[1].split("\n### ")[0]
    rows = re.findall(r"^\| (`.*?`) \|", table, re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    sources = "".join(path.read_text(encoding="utf-8") for path in (PROJECT_ROOT / "fixtures").glob("*.py"))
    defined = set(re.findall(r"^@pytest\.fixture\ndef (\w+)\(", sources, re.MULTILINE))
    assert named == defined | {"dut"}
