"""report.html: the qualification as one file for offline reading and for printing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hotpin_hil.evidence.model import MARGINAL_SHARE, Verdict, limit_text, with_unit
from hotpin_hil.evidence.qualification import NATIVE_BUILD, headline
from hotpin_hil.evidence.results import Results
from hotpin_hil.report.chart import Table
from hotpin_hil.report.compare_page import baseline_view
from hotpin_hil.report.content import Content, anchor, collect, short_name
from hotpin_hil.report.page import environment, render_page
from hotpin_hil.report.waiver_lines import waived_values, waiver_name


def render(qualification: Mapping[str, Any], results: Results, results_sha256: str = "") -> str:
    """Render the page. All text from logs and boards is escaped.

    Args:
        qualification: Content of qualification.json.
        results: Content of results.jsonl.
        results_sha256: Hash of results.jsonl, which contains the hashes of all raw logs.
    """
    filters = environment().filters
    filters["value"] = lambda line: with_unit(line.value, line.unit)
    filters["limit"] = lambda line: limit_text(line.limit, line.unit)
    filters["anchor"] = anchor
    filters["short_name"] = short_name
    filters["waiver_name"] = waiver_name
    filters["waived_values"] = waived_values
    filters["bound"] = lambda waiver: with_unit(waiver["bound"], waiver["unit"])
    content = collect(results, qualification)
    common, boards = _boards(qualification)
    compared = qualification.get("since_last_release")
    since = baseline_view(compared) if compared else None
    return render_page(
        "report.html",
        q=qualification,
        c=content,
        since=since,
        sections=_sections(content, has_baseline=since is not None),
        firmware=named(qualification["firmware"]),
        harness=named(qualification["harness"]),
        provenance=results.run.provenance,
        headline=headline(qualification),
        common=common,
        boards=boards,
        results_sha256=results_sha256,
        marginal_share=MARGINAL_SHARE,
        filters=_filters(content),
    )


_SHOWN = {
    "all": tuple(Verdict),
    "not passed": (Verdict.FAIL, Verdict.UNSET, Verdict.BLOCKED, Verdict.NOT_APPLICABLE),
    "marginal or waived": (Verdict.MARGINAL, Verdict.WAIVED),
}
"""The options of the requirement matrix's filter, and the verdicts that each shows."""


def _filters(content: Content) -> list[tuple[str, str, int, list[str]]]:
    """For each option of the matrix filter: anchor, name, number of rows, and the verdicts that it hides."""
    words = [row.entry["verdict"] for row in content.matrix]
    return [
        (
            f"show-{anchor(name)}",
            name,
            sum(word in shown for word in words),
            [verdict.value for verdict in Verdict if verdict not in shown],
        )
        for name, shown in _SHOWN.items()
    ]


def _sections(content: Content, *, has_baseline: bool) -> list[tuple[str, str]]:
    """Anchor and name of each section of the page."""
    return [
        (place, name)
        for place, name, is_shown in (
            ("identities", "What was tested", True),
            ("failures", "What failed", content.failures),
            ("since-last-release", "Since the last release", has_baseline),
            ("requirements", "Requirements", True),
            ("sizes", "Sizes", content.sizes),
            ("memory", "Memory over time", content.timelines),
            ("transitions", "Mode transitions", content.changes),
            ("history", "History", content.histories),
            ("predictions", "Predictions", content.predictions),
            ("burn-in", "Burn-in", content.burn_in),
            ("leaks", "Leaks", content.leaks),
            ("profile", "Profile", content.profile),
            ("deviations", "What this does not prove", True),
            ("not-tested", "Not tested", True),
            ("evidence", "Evidence", True),
            ("raw-logs", "Raw logs", True),
        )
        if is_shown
    ]


VIRTUAL_CHIP = "virtual"
"""The chip that a virtual board reports (firmware/components/telemetry/src/identity.c)."""

_NAMES = {
    "mac": "MAC",
    "kind": "kind",
    "chip": "chip",
    "psram": "PSRAM",
    "flash": "flash",
    "idf": "ESP-IDF",
    "build": "build",
    "image": "image",
    "project": "project",
    "version": "version",
    "elf_sha256": "ELF SHA-256",
    "time_scale": "clock",
    "python": "Python",
    "dirty": "uncommitted changes",
}
"""Names of the fields of boards and builds, in display order."""


def named(fields: Mapping[str, Any]) -> dict[str, str]:
    """The fields under their display names."""
    return {_NAMES.get(name, name.replace("_", " ")): _shown(name, value) for name, value in fields.items()}


def _shown(name: str, value: Any) -> str:
    """A field's value as text: sizes in MB, tables flattened."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {item}" for key, item in value.items())
    if name in ("psram", "flash") and isinstance(value, int):
        return f"{value / 1024 / 1024:g} MB" if value else "none"
    if name == "time_scale" and isinstance(value, (int, float)):
        return f"up to {value:g} times the host's"
    if name == "idf" and value == NATIVE_BUILD:
        return "none: built for the host"
    return str(value)


def _boards(qualification: Mapping[str, Any]) -> tuple[dict[str, str], Table | None]:
    """Fields that all boards of the run share, and a table of the differing fields.

    Fields that the firmware's own list already shows are omitted.
    """
    board, firmware = qualification["board"], qualification["firmware"]
    run = {name: value for name, value in board.items() if name != "boards"}
    rows = [_with_chip({**run, **reported}) for reported in board.get("boards", [{}])]
    rows.sort(key=lambda row: str(row.get("mac", "")))
    known = {name for row in rows for name in row}
    columns = [name for name in _NAMES if name in known] + sorted(known - _NAMES.keys())
    same = {
        name: rows[0].get(name) for name in columns if all(row.get(name) == rows[0].get(name) for row in rows)
    }
    common = named({name: value for name, value in same.items() if value != firmware.get(name)})
    columns = [name for name in columns if name not in same]
    if not columns:
        return common, None
    return common, Table(
        tuple(_NAMES.get(name, name.replace("_", " ")) for name in columns),
        tuple(
            tuple(
                "as above"
                if name in firmware and row.get(name) == firmware[name]
                else _shown(name, row.get(name, ""))
                for name in columns
            )
            for row in rows
        ),
    )


def _with_chip(board: Mapping[str, Any]) -> dict[str, Any]:
    """The board with chip and revision (100 * major + minor, as in ESP-IDF's esp_chip_info) in one field."""
    row = {name: value for name, value in board.items() if name != "rev"}
    if "chip" in board:
        revision = board.get("rev")
        shown = f" rev v{revision // 100}.{revision % 100}" if isinstance(revision, int) else ""
        chip = "none: a model of an ESP32" if board["chip"] == VIRTUAL_CHIP else board["chip"]
        row["chip"] = f"{chip}{shown}"
    return row
