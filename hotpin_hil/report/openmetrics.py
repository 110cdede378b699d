"""The figures of a run as OpenMetrics text, for Prometheus and Grafana: base units, and the unit in each name.

Format: OpenMetrics 1.0 (github.com/prometheus/OpenMetrics). Single measurements are left out: they would be thousands
of label sets that few runs share, which are useless as time series.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from hotpin_hil.evidence.model import Verdict
from hotpin_hil.evidence.releases import Release
from hotpin_hil.evidence.run_figures import RunFigure, Topic
from hotpin_hil.printable import printable

_FAMILIES = {
    "hotpin_requirements": ("", "Requirements by verdict"),
    "hotpin_memory_free_bytes": ("bytes", "Free memory in a mode, median of all tests"),
    "hotpin_memory_largest_block_bytes": ("bytes", "Largest free block in a mode, median of all tests"),
    "hotpin_memory_fragmentation_ratio": ("ratio", "Fragmentation in a mode, median of all tests"),
    "hotpin_memory_taken_bytes": (
        "bytes",
        "Memory taken since the firmware's start, by mode, median of all tests",
    ),
    "hotpin_transition_duration_seconds": ("seconds", "Duration of a mode transition, median of all tests"),
    "hotpin_step_taken_bytes": ("bytes", "Memory that a step of a transition takes"),
    "hotpin_leak_bytes_per_cycle": ("bytes_per_cycle", "Slope of a leak test"),
    "hotpin_image_size_bytes": ("bytes", "Size of a section of an image"),
}
"""Name of each family of gauges -> its unit and help."""

_MEMORY = {
    "free": "hotpin_memory_free_bytes",
    "largest block": "hotpin_memory_largest_block_bytes",
    "fragmentation": "hotpin_memory_fragmentation_ratio",
    "taken since the start": "hotpin_memory_taken_bytes",
}

_BASE_UNITS = {"ms": 1_000, "%": 100}
"""Unit of a figure -> number of these units in one base unit."""

_Sample = tuple[str, Mapping[str, str], float]


def openmetrics(release: Release) -> str:
    """The figures of a run as OpenMetrics text."""
    evidence = str(release.qualification["evidence"])
    firmware = release.results.run.firmware
    about = {
        "run": release.results.run.run,
        "evidence": evidence,
        "overall": str(release.qualification["overall"]),
        **{
            name: str(firmware[name])
            for name in ("project", "version", "idf", "elf_sha256")
            if name in firmware
        },
    }
    lines = ["# TYPE hotpin_run info", "# HELP hotpin_run The run and its firmware"]
    lines.append(f"hotpin_run_info{_labels(about)} 1")
    samples = list(_samples(release))
    for family, (unit, text) in _FAMILIES.items():
        found = [(labels, value) for name, labels, value in samples if name == family]
        if found:
            lines += [f"# TYPE {family} gauge", *([f"# UNIT {family} {unit}"] if unit else [])]
            lines.append(f"# HELP {family} {text}")
            lines += [
                f"{family}{_labels({**labels, 'evidence': evidence})} {value:.12g}" for labels, value in found
            ]
    return "\n".join([*lines, "# EOF", ""])


def _samples(release: Release) -> Iterator[_Sample]:
    counts = release.qualification["counts"]
    for verdict in Verdict:
        yield "hotpin_requirements", {"verdict": verdict.value}, counts[verdict.value]
    for figure in release.figures.values():
        yield _sample(figure)


def _sample(figure: RunFigure) -> _Sample:
    value = figure.value / _BASE_UNITS.get(figure.unit, 1)
    match figure.topic:
        case Topic.MEMORY:
            memory, _, what = figure.name.partition(" ")
            return _MEMORY[what], {"place": figure.place, "memory": memory}, value
        case Topic.TRANSITION:
            return "hotpin_transition_duration_seconds", {"transition": figure.place}, value
        case Topic.LEDGER:
            step, _, what = figure.name.partition(": ")
            labels = {"transition": figure.place, "step": step, "memory": what.partition(" ")[0]}
            return "hotpin_step_taken_bytes", labels, value
        case Topic.LEAK:
            return "hotpin_leak_bytes_per_cycle", {"test": figure.place, "series": figure.name}, value
        case Topic.SIZE:
            return "hotpin_image_size_bytes", {"image": figure.place, "section": figure.name}, value


def _labels(labels: Mapping[str, str]) -> str:
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items()) + "}"


def _escaped(text: str) -> str:
    return printable(text).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
