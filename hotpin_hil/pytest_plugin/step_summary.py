"""The summary of a run on the page of a GitHub job: Markdown in the file that GITHUB_STEP_SUMMARY names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hotpin_hil.evidence.model import Verdict
from hotpin_hil.evidence.qualification import headline
from hotpin_hil.printable import printable

ENV_STEP_SUMMARY = "GITHUB_STEP_SUMMARY"
_UNREMARKABLE = (Verdict.PASS.value, Verdict.NOT_APPLICABLE.value)


def add_step_summary(qualification: Mapping[str, Any], environ: Mapping[str, str]) -> None:
    """Append the verdict of the run to the job's summary, if the run is a step of a GitHub job.

    Raises:
        OSError: The file cannot be written.
    """
    path = environ.get(ENV_STEP_SUMMARY)
    if path:
        with open(path, "a", encoding="utf-8") as file:
            file.write(summary(qualification))


def summary(qualification: Mapping[str, Any]) -> str:
    """The headline, and a table of the requirements that are neither PASS nor NOT APPLICABLE."""
    lines = [
        f"## {qualification['overall']} ({qualification['evidence']})",
        "",
        _cell(headline(qualification)),
    ]
    rows = [
        f"| {id_} | {entry['verdict']} | {_reason(entry)} |"
        for id_, entry in qualification["requirements"].items()
        if entry["verdict"] not in _UNREMARKABLE
    ]
    if rows:
        lines += ["", "| requirement | verdict | reason |", "|---|---|---|", *rows]
    return "\n".join(lines) + "\n\n"


def _reason(entry: Mapping[str, Any]) -> str:
    reasons = (test["reason"] for test in entry["tests"] if test["verdict"] == entry["verdict"])
    return _cell(next(filter(None, reasons), ""))


def _cell(text: str) -> str:
    """The text, escaped for a Markdown table."""
    text = printable(text).replace("\n", " ")
    for sign in "\\`*_|<>[]#":
        text = text.replace(sign, f"\\{sign}")
    return text
