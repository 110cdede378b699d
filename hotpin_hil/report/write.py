"""Makes qualification.json, report.html, openmetrics.txt and the CSV files from results.jsonl alone."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from hotpin_hil.evidence.fidelity import Run
from hotpin_hil.evidence.qualification import qualify
from hotpin_hil.evidence.releases import Release
from hotpin_hil.evidence.results import FILE_NAME, Results, read_results
from hotpin_hil.report.csv_matrix import csv_by_requirement, csv_by_test
from hotpin_hil.report.html import render
from hotpin_hil.report.openmetrics import openmetrics
from hotpin_hil.report.whole_file import write_whole

QUALIFICATION_FILE = "qualification.json"
REPORT_FILE = "report.html"
REQUIREMENTS_CSV = "requirements.csv"
TESTS_CSV = "tests.csv"
METRICS_FILE = "openmetrics.txt"


def write_reports(folder: Path, results: Results | None = None) -> dict[str, Any]:
    """Write qualification.json, report.html and openmetrics.txt into `folder`, next to results.jsonl.

    Args:
        folder: Folder of the run.
        results: Content of its results.jsonl; without it, the file is read.

    Returns:
        The qualification.

    Raises:
        UsageError: The results cannot be read or a file cannot be written.
    """
    results = results or read_results(folder)
    qualification = qualify(results)
    write_whole(folder / QUALIFICATION_FILE, json.dumps(qualification, indent=1) + "\n")
    write_whole(folder / METRICS_FILE, openmetrics(Release(Run("run", results), qualification)))
    write_whole(folder / REPORT_FILE, render(qualification, results, _sha256(folder)))
    return qualification


def write_csv(folder: Path) -> None:
    """Write the requirement matrix both ways into `folder`: REQUIREMENTS_CSV and TESTS_CSV.

    Raises:
        UsageError: The results cannot be read or a file cannot be written.
    """
    results = read_results(folder)
    write_whole(folder / REQUIREMENTS_CSV, csv_by_requirement(qualify(results), results))
    write_whole(folder / TESTS_CSV, csv_by_test(results))


def _sha256(folder: Path) -> str:
    return hashlib.sha256((folder / FILE_NAME).read_bytes()).hexdigest()
