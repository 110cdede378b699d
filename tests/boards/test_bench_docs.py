"""Checks the examples in docs/bench.md and docs/ci.md: the files must parse, and every command in them must exist."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
import yaml

from hotpin_hil.boards.bench import FEATURES, POWER, load_bench
from hotpin_hil.boards.ports import BRIDGES
from hotpin_hil.cli import main as cli
from hotpin_hil.evidence.qualification import EXIT_BLOCKED
from hotpin_hil.paths import PROJECT_ROOT

DOCS = PROJECT_ROOT / "docs"
BENCH = (DOCS / "bench.md").read_text(encoding="utf-8")
GITHUB = yaml.safe_load((DOCS / "ci/github-actions.yml").read_text(encoding="utf-8"))
GITLAB = yaml.safe_load((DOCS / "ci/gitlab-ci.yml").read_text(encoding="utf-8"))
PIPELINES = {"github": GITHUB, "gitlab": GITLAB}

JOBS = {"virtual", "firmware", "boards"}
NOT_OURS = ("apt-get", ".", "python")
"""External commands: package manager, ESP-IDF's export.sh and idf_tools.py."""


def jobs(pipeline: str) -> dict[str, Any]:
    if pipeline == "github":
        found: dict[str, Any] = GITHUB["jobs"]
        return found
    return {name: job for name, job in GITLAB.items() if name not in ("stages", "variables")}


def commands(pipeline: str) -> Iterator[tuple[str, list[str]]]:
    """Pairs of job name and words, one for each command in a pipeline."""
    for name, job in jobs(pipeline).items():
        steps = job.get("steps", [])
        scripts = [step["run"] for step in steps if "run" in step] if pipeline == "github" else job["script"]
        for script in scripts:
            yield from ((name, shlex.split(line)) for line in script.splitlines())


@cache
def pytest_options() -> set[str]:
    """All long pytest options in this project, including those of pytest-embedded and this plugin."""
    usage = subprocess.run(
        [sys.executable, "-m", "pytest", "--help"],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return set(re.findall(r"--[a-z][a-z-]+", usage.stdout))


def check_pytest(words: list[str]) -> None:
    options = [word.split("=")[0] for word in words if word.startswith("--")]
    assert set(options) <= pytest_options(), words


def check_make(words: list[str]) -> None:
    makefile = (PROJECT_ROOT / "Makefile").read_text(encoding="utf-8")
    for word in words:
        variable, is_setting, _ = word.partition("=")
        if is_setting:
            assert f"$({variable})" in makefile, word
        else:
            assert re.search(rf"^{word}:", makefile, re.MULTILINE), word


def check_command(words: list[str]) -> None:
    """Fails unless the words are a command of this project with valid arguments, or an external command."""
    program = words[0].removeprefix(".venv/bin/")
    if program == "pytest":
        check_pytest(words[1:])
    elif program == "hotpin-hil":
        cli._parser().parse_args(words[1:])
    elif program == "make":
        check_make(words[1:])
    elif program == ".ci/run":
        assert (PROJECT_ROOT / program).is_file()
    else:
        assert program in NOT_OURS, words


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_every_command_of_a_pipeline_exists(pipeline: str) -> None:
    ran = {job: [words for name, words in commands(pipeline) if name == job] for job in jobs(pipeline)}
    assert set(ran) == JOBS
    for job, lines in ran.items():
        assert lines, f"the job {job} runs no command"
        for words in lines:
            check_command(words)
    flat = [" ".join(words) for lines in ran.values() for words in lines]
    assert any("install qemu-xtensa" in line for line in flat)
    assert "make check-idf" in flat
    assert any(line.startswith("make qualify BOARD=qemu") for line in flat)
    assert all("--require-complete" in line for line in flat if line.startswith(".venv/bin/pytest"))


@pytest.mark.parametrize(
    "line",
    [
        "pytest --no-such-option",
        "hotpin-hil bords",
        "hotpin-hil boards --loud",
        "make qualfy",
        "make qualify BORD=qemu",
    ],
)
def test_unknown_command_is_detected(line: str) -> None:
    with pytest.raises((AssertionError, SystemExit)):
        check_command(shlex.split(line))


def test_both_pipelines_run_the_same_commands() -> None:
    github, gitlab = (
        [(job, words) for job, words in commands(name) if words[0] not in NOT_OURS] for name in PIPELINES
    )
    assert sorted(github) == sorted(gitlab)


def test_github_jobs_are_complete() -> None:
    assert GITHUB[True].keys() == {"push", "pull_request"}  # YAML reads the key `on` as True
    for name, job in GITHUB["jobs"].items():
        assert {"runs-on", "steps", "timeout-minutes"} <= job.keys(), name
        assert job.get("needs", "firmware") in GITHUB["jobs"], name
        for step in job["steps"]:
            assert ("run" in step) != ("uses" in step), step
            assert re.search(r"@[0-9a-f]{40}$", step.get("uses", "@" + "0" * 40)), (
                f"{step} is not pinned by commit"
            )
        assert any("upload-artifact" in step.get("uses", "") for step in job["steps"]), name
    assert GITHUB["permissions"] == {"contents": "read"}
    assert "concurrency" in GITHUB
    assert "pull_request" not in GITHUB["jobs"]["boards"]["if"]


@pytest.mark.parametrize(
    ("schema", "file"), [("github-workflows", "github-actions.yml"), ("gitlab-ci", "gitlab-ci.yml")]
)
def test_pipeline_follows_its_published_schema(schema: str, file: str) -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}"]
    done = subprocess.run([*command, DOCS / "ci" / file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_gitlab_retries_only_what_the_bench_blocked_and_keeps_the_evidence() -> None:
    assert GITLAB["boards"]["retry"] == {"max": 1, "exit_codes": EXIT_BLOCKED}
    assert {"if": '$CI_PIPELINE_SOURCE == "merge_request_event"', "when": "never"} in GITLAB["boards"][
        "rules"
    ]
    for name, job in jobs("gitlab").items():
        assert job["artifacts"]["when"] == "always", name
    assert [job["needs"] for job in (GITLAB["virtual"], GITLAB["firmware"])] == [[], []]


def test_gitlab_jobs_are_complete() -> None:
    for name, job in jobs("gitlab").items():
        assert job["stage"] in GITLAB["stages"], name
        for need in job.get("needs", []):
            made = jobs("gitlab")[need["job"]]["parallel"]["matrix"][0]
            assert need["parallel"]["matrix"][0]["IDF"] in made["IDF"], name


def test_board_jobs_use_a_build_made_by_an_earlier_job() -> None:
    versions = GITHUB["jobs"]["firmware"]["strategy"]["matrix"]["idf"]
    (download,) = [step for step in GITHUB["jobs"]["boards"]["steps"] if "download" in step.get("uses", "")]
    assert download["with"]["name"] in [f"firmware-{version}" for version in versions]
    assert GITLAB["firmware"]["parallel"]["matrix"] == [{"IDF": versions}]


def test_every_supported_version_of_esp_idf_is_built() -> None:
    """The pipeline must build exactly the versions that the README names as supported."""
    named = set(re.findall(r"ESP-IDF (v5\.\d) or (v5\.\d)", (PROJECT_ROOT / "README.md").read_text()).pop())
    built = GITHUB["jobs"]["firmware"]["strategy"]["matrix"]["idf"]
    assert {".".join(version.split(".")[:2]) for version in built} == named


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_runs_on_boards_name_the_kind_and_wait_for_a_lease(pipeline: str) -> None:
    """If the variable CI is set, a run ends with an error at once unless it names the kind of board."""
    job = jobs(pipeline)["boards"]
    assert (job.get("env") or job["variables"])["HOTPIN_BOARD"] == "hardware"
    (run,) = [words for name, words in commands(pipeline) if name == "boards" and "pytest" in words[0]]
    assert "--lease-timeout" in run


# --- docs/bench.md ---


def blocks(language: str) -> list[str]:
    fences = re.findall(r"^```(\w*)\n(.*?)^```$", BENCH, re.DOTALL | re.MULTILINE)
    return [text for label, text in fences if label == language]


def test_example_bench_file_is_valid(tmp_path: Any) -> None:
    example, labgrid = blocks("toml")
    assert labgrid == (DOCS / "labgrid/bench.toml").read_text(encoding="utf-8")
    path = tmp_path / "bench.toml"
    path.write_text(example)
    boards = load_bench(path).boards
    assert [board.name for board in boards] == ["cam-1", "cam-2", "upstairs", "rehearsal"]
    assert [board.kind.value for board in boards] == ["hardware"] * 3 + ["virtual"]


def test_udev_rules_cover_every_usb_bridge() -> None:
    (rules,) = [block for block in blocks("") if "SUBSYSTEM" in block]
    found = re.findall(r'idVendor}=="([0-9a-f]{4})", ATTRS{idProduct}=="([0-9a-f]{4})"', rules)
    assert {(int(vendor, 16), int(product, 16)) for vendor, product in found} == set(BRIDGES)


def test_every_need_and_every_option_is_documented() -> None:
    for name in (*FEATURES, POWER):
        assert f"`{name}`" in BENCH, name
    check_pytest(
        re.findall(
            r"(--(?:bench|board-name|board-mac|labgrid-coordinator|lease-timeout|port|qualification-dir))",
            BENCH,
        )
    )
