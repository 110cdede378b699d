"""Tests openmetrics.txt, which contains the figures of a run in the text format of OpenMetrics 1.0, with base units in
the metric names."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hotpin_hil.evidence.releases import read_release
from hotpin_hil.report.openmetrics import openmetrics
from tests.support.release_runs import CYCLES, SmallRun

LABEL = r'[a-z0-9_]+="(?:[^"\\\n]|\\[\\"n])*"'
SAMPLE = re.compile(rf"([a-z_]+)\{{{LABEL}(?:,{LABEL})*\}} -?\d+(\.\d+)?(e[+-]?\d+)?")


@pytest.fixture
def text(tmp_path: Path) -> str:
    return openmetrics(read_release(SmallRun(leak=16).write(tmp_path / "run"), "run"))


@pytest.mark.parametrize(
    "line",
    [
        'hotpin_memory_taken_bytes{place="voice mode",memory="internal",evidence="emulated"} 98544',
        'hotpin_memory_fragmentation_ratio{place="voice mode",memory="psram",evidence="emulated"} 0.01',
        'hotpin_step_taken_bytes{transition="camera to voice",step="audio.start",memory="internal",'
        'evidence="emulated"} 25996',
        f'hotpin_leak_bytes_per_cycle{{test="{CYCLES}",series="internal free",evidence="emulated"}} 16',
        'hotpin_image_size_bytes{image="with test console",section="static dram",evidence="emulated"} 28944',
        'hotpin_requirements{verdict="PASS",evidence="emulated"} 3',
    ],
)
def test_figure_is_a_sample_with_its_unit(text: str, line: str) -> None:
    assert line in text.splitlines()


def test_durations_are_seconds(text: str) -> None:
    found = re.search(
        r'^hotpin_transition_duration_seconds\{transition="camera to voice".*\} (\S+)$', text, re.M
    )
    assert found is not None
    assert 0.210 <= float(found[1]) <= 0.214


def test_text_keeps_the_grammar(text: str) -> None:
    """Checks that each family has a type, a unit suffix in its name, and consecutive samples, and that the text ends
    with EOF."""
    assert text.endswith("\n# EOF\n")
    families: list[str] = []
    for line in text.splitlines()[:-1]:
        if line.startswith("# TYPE "):
            families.append(line.split()[2])
        elif line.startswith("# UNIT "):
            _, _, family, unit = line.split()
            assert family == families[-1]
            assert family.endswith(f"_{unit}")
        elif not line.startswith(f"# HELP {families[-1]} "):
            found = SAMPLE.fullmatch(line)
            assert found, line
            assert found[1].removesuffix("_info") == families[-1]
    assert len(families) == len(set(families))


def test_label_values_are_escaped(tmp_path: Path) -> None:
    run = SmallRun(build='a"b\\c\n' + "\x1b")
    text = openmetrics(read_release(run.write(tmp_path / "run"), "run"))
    assert r'elf_sha256="a\"b\\c\n\\x1b"' in text
