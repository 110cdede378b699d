"""Makes qualification.json and report.html from results.jsonl and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hotpin_hil.evidence.qualification import qualify
from hotpin_hil.evidence.results import read_results
from hotpin_hil.report.html import render

QUALIFICATION_FILE = "qualification.json"
REPORT_FILE = "report.html"


def write_reports(folder: Path) -> dict[str, Any]:
    """Writes both files into `folder`, which holds results.jsonl; returns the qualification. UsageError if it
    can't."""
    qualification = qualify(read_results(folder))
    (folder / QUALIFICATION_FILE).write_text(json.dumps(qualification, indent=1) + "\n", encoding="ascii")
    (folder / REPORT_FILE).write_text(render(qualification), encoding="utf-8")
    return qualification
