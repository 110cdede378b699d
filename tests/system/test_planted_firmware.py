"""Memory defects planted in the firmware's sources, built and tested by the suite. For the failed requirement the
report, and for the log of the same run the analyser, must make the expected diagnosis.

`make selftest` plants all defects of the catalogue; these tests plant those with a stated diagnosis.
"""

from __future__ import annotations

import html
import json
import re
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hotpin_hil.cli.main import main
from tests.system.defects.catalogue import Defect, load, planted
from tests.system.defects.checkout import Checkout, Processes

DEFECTS = [defect for defect in load() if defect.diagnoses]
HEAP_MAP = {"DIAG-01", "DIAG-02"}
"""Diagnoses that include a heap map, which shows why a block did not fit."""


@dataclass(frozen=True)
class Article:
    """Section of report.html about one failure."""

    title: str
    text: str
    diagnoses: list[str]
    figures: list[str]


@dataclass(frozen=True)
class Run:
    """Files left by a run of the suite."""

    folder: Path

    def failures(self) -> list[Article]:
        page = (self.folder / "report.html").read_text(encoding="utf-8")
        return [
            _article(markup)
            for markup in re.findall(r'<article class="failure".*?</article>', page, re.DOTALL)
        ]

    def failed(self) -> set[str]:
        """Requirements that failed."""
        qualification = json.loads((self.folder / "qualification.json").read_text(encoding="utf-8"))
        return {
            requirement
            for requirement, row in qualification["requirements"].items()
            if row["verdict"] == "FAIL"
        }

    def analysed(self, capsys: pytest.CaptureFixture[str]) -> list[list[str]]:
        """Output of `hotpin-hil analyze --json` for each log of a board."""
        logs = sorted(self.folder.rglob("dut.log"))
        assert logs, "the run saved no log"
        return [_analysed(log, capsys) for log in logs]


def _article(markup: str) -> Article:
    def texts(pattern: str) -> list[str]:
        return [_text(found) for found in re.findall(pattern, markup, re.DOTALL)]

    return Article(
        title=texts(r"<h3>(.*?)</h3>")[0],
        text=_text(markup),
        diagnoses=texts(r'<div class="diagnosis">\s*<h4>(.*?)(?: \(\d+ times\))?</h4>'),
        figures=texts(r"<figure[^>]*>\s*<h3>(.*?)</h3>"),
    )


def _text(markup: str) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", markup)).split())


def _analysed(log: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    capsys.readouterr()
    assert main(["analyze", "--json", str(log)]) == 0
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return [f"{diagnosis['id']} {diagnosis['name']}" for diagnosis in document["diagnoses"]]


class Firmware:
    """Private copy of the project; only changed files are rebuilt."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._processes = Processes()
        self._checkout = Checkout(folder / "checkout", self._processes)

    def run_with(self, defect: Defect) -> Run:
        """Plants a defect and runs the tests that must catch it; they must fail."""
        with planted(defect, self._checkout.root):
            return self.run(defect.requirement, good=(1,))

    def run(self, *requirements: str, good: tuple[int, ...]) -> Run:
        """Runs the tests of these requirements with the current firmware."""
        self._checkout.build_without_release()
        folder = self._folder / "qualification"
        shutil.rmtree(folder, ignore_errors=True)
        options = [option for requirement in requirements for option in ("--requirement", requirement)]
        # The defects were sized for the memory of the boards in the recorded logs.
        options += ["--board-profile", "recorded"]
        # The tests of this requirement also need the build with the allocation profile, which these tests do not build.
        options += ["--deselect", "hil_tests/test_profile.py"]
        self._checkout.run(*options, "--qualification-dir", str(folder), good=good)
        return Run(folder)

    def end(self) -> None:
        self._processes.end()


@pytest.fixture(scope="module")
def firmware(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Firmware]:
    private = Firmware(tmp_path_factory.mktemp("firmware"))
    yield private
    private.end()


def test_each_kind_of_defect_is_planted() -> None:
    planted_for = " ".join(name for defect in DEFECTS for name in defect.diagnoses)
    for name in ("DIAG-01", "DIAG-02", "DIAG-03", "DIAG-04", "PSRAM exhausted"):
        assert name in planted_for


def ids(diagnoses: Iterable[str]) -> set[str]:
    """The ids in diagnoses that consist of an id and a name."""
    return {diagnosis.split()[0] for diagnosis in diagnoses}


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.name)
def test_defect_gets_its_diagnosis_in_report_and_analyser(
    firmware: Firmware, defect: Defect, capsys: pytest.CaptureFixture[str]
) -> None:
    run = firmware.run_with(defect)
    assert run.failed() == {defect.requirement}
    # Other tests of the requirement also fail, some in a comparison for which no diagnosis is made.
    failures = run.failures()
    failure = next((failure for failure in failures if failure.diagnoses == list(defect.diagnoses)), None)
    assert failure is not None, [failure.diagnoses for failure in failures]
    for other in failures:  # another test may fail at another mode change, so only the ids are compared
        assert ids(other.diagnoses) <= ids(defect.diagnoses), other.title
    assert all(f"FAIL {defect.requirement}: " in failure.title for failure in failures)
    command = "pytest --target esp32 --board virtual --board-profile recorded hil_tests/"
    assert f"Reproduce: {command}" in failure.text
    assert "Last lines of the console" in failure.text
    if HEAP_MAP & ids(defect.diagnoses):
        assert any(figure.startswith("Heap map") for figure in failure.figures)
    if "DIAG-03" in failure.text:
        # the article must have a link to the chart of the failure
        assert "internal free in camera mode: test_nothing_leaks" in failure.text
    analysed = run.analysed(capsys)
    assert sorted(defect.diagnoses) in map(sorted, analysed)  # the analyser sorts diagnoses by severity
    assert all(ids(found) <= ids(defect.diagnoses) for found in analysed), analysed


def test_unharmed_firmware_gets_no_diagnosis(firmware: Firmware, capsys: pytest.CaptureFixture[str]) -> None:
    run = firmware.run(*{defect.requirement for defect in DEFECTS}, good=(0,))
    assert run.failures() == []
    assert '<div class="diagnosis">' not in (run.folder / "report.html").read_text(encoding="utf-8")
    logs = run.analysed(capsys)
    assert len(logs) >= len({defect.requirement for defect in DEFECTS})
    assert not any(logs), logs
