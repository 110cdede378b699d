"""Tests the Allure results: what is attached, what is left out, and the category of each failure."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from hotpin_hil.pytest_plugin.allure import CATEGORIES, write_run_files
from tests.support.plugin_suite import Suite

pytest_plugins = ["pytester", "tests.support.plugin_suite"]

SUITE = """
from hotpin_hil.evidence import lines
from hotpin_hil.pytest_plugin.plugin import recorder_of

@pytest.fixture
def prepared(measure):
    yield

@requirement("AAA-01")
@pytest.mark.parametrize("mode", ["camera"])
def test_good(measure, mode, prepared, tmp_path, request):
    measure("took", 950, "us", max=1000, source="guide")
    measure("hostile", "<script>\\x1b[2J", exact="<script>\\x1b[2J")
    recorder_of(request.node).series("free", [50_000] * 20, "B", 1.024)

@requirement("AAA-02")
def test_bad(measure):
    measure("took", 1950, "us", max=1000)
"""


def results(folder: str, pattern: str) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in Path(folder).glob(pattern)]


@pytest.fixture
def ran(suite: Suite) -> Suite:
    suite.run(SUITE, "--alluredir=allure", "--clean-alluredir")
    return suite


def test_measurements_and_charts_are_attached(ran: Suite) -> None:
    good = next(result for result in results("allure", "*-result.json") if "test_good" in result["name"])
    attached = {
        attachment["name"]: Path("allure") / attachment["source"] for attachment in good["attachments"]
    }
    header, took, hostile = attached["measurements"].read_text().splitlines()
    assert header.startswith("name,value,limit,margin,verdict")
    assert took == "took,950 us,<= 1000 us,50 us,MARGINAL,measured,AAA-01,guide"
    assert "\x1b" not in hostile
    (chart,) = (path for name, path in attached.items() if name.startswith("free: "))
    assert chart.read_text().startswith("<svg")
    assert "var(" not in chart.read_text()


def test_history_does_not_depend_on_the_board(ran: Suite) -> None:
    for result in results("allure", "*-result.json"):
        assert not re.search(r"24:0a:c4|rfc2217", json.dumps(result.get("parameters", [])))
        assert result["historyId"]


def test_fixtures_of_tools_are_left_out(ran: Suite) -> None:
    names: Counter[str] = Counter()
    for container in results("allure", "*-container.json"):
        names.update(part["name"] for part in (*container.get("befores", ()), *container.get("afters", ())))
    assert names["prepared"] == 1
    assert "tmp_path" not in names
    assert not any("<lambda>" in name for name in names)


def test_site_names_board_firmware_and_verdict(ran: Suite) -> None:
    """These files must not be deleted when allure removes the files of an older run from the folder."""
    environment = dict(
        line.split("=", 1) for line in Path("allure/environment.properties").read_text().splitlines()
    )
    assert environment["evidence"] == "virtual"
    assert environment["board.mac"] == "24:0a:c4:00:00:01"
    assert environment["firmware.elf_sha256"]
    assert environment["verdict"] == "NOT QUALIFIED"
    assert json.loads(Path("allure/categories.json").read_text()) == CATEGORIES


@pytest.mark.parametrize(
    ("message", "category"),
    [
        ("FAIL: took = 1950 us, limit <= 1000 us", "Firmware"),
        ("BLOCKED: /dev/ttyUSB0 is gone (remedy: plug in)", "Bench"),
        ("BLOCKED: the test's setup raised KeyError: 'x'", "Harness"),
        ("UNSET: nothing was measured for it", "Harness"),
    ],
)
def test_each_verdict_has_one_category(message: str, category: str) -> None:
    found = [row["name"] for row in CATEGORIES if re.fullmatch(row.get("messageRegex", "(?!)"), message)]  # type: ignore[arg-type]
    assert len(found) == 1
    assert found[0].startswith(category)


@pytest.mark.parametrize(
    ("environ", "executor"),
    [
        ({}, None),
        (
            {
                "GITHUB_ACTIONS": "true",
                "GITHUB_RUN_NUMBER": "7",
                "GITHUB_SERVER_URL": "https://github.com",
                "GITHUB_REPOSITORY": "o/r",
                "GITHUB_RUN_ID": "99",
                "GITHUB_WORKFLOW": "bench",
            },
            {"type": "github", "buildOrder": 7, "buildUrl": "https://github.com/o/r/actions/runs/99"},
        ),
        (
            {"GITLAB_CI": "true", "CI_PIPELINE_IID": "8", "CI_JOB_URL": "https://x/1", "CI_JOB_NAME": "hil"},
            {"type": "gitlab", "buildOrder": 8, "buildUrl": "https://x/1", "buildName": "hil #8"},
        ),
    ],
)
def test_site_links_to_the_ci_job(
    tmp_path: Path, environ: dict[str, str], executor: dict[str, Any] | None
) -> None:
    write_run_files(tmp_path, None, environ)
    path = tmp_path / "executor.json"
    if executor is None:
        assert not path.exists()
    else:
        assert executor.items() <= json.loads(path.read_text()).items()


def test_allure_is_not_loaded_without_its_option(suite: Suite) -> None:
    result = suite.run(SUITE)
    assert "AAA-01" in result.stdout.str()
    assert not Path("allure").exists()
