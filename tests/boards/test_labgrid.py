"""Runs on boards of a real labgrid: runs share its places, and a run that ends early must not keep a place."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from getpass import getuser
from pathlib import Path
from socket import gethostname

import pytest

from hotpin_hil.boards.artifacts import read_build
from hotpin_hil.boards.kind import BoardKind
from hotpin_hil.errors import BuildError
from hotpin_hil.paths import NATIVE_BUILD_DIR, NATIVE_ELFS_FILE, PROJECT_ROOT
from tests.support.labgrid_lab import Lab, labgrid_programs
from tests.support.parallel_runs import Project, Run
from tests.support.until import PATIENCE_S
from tests.support.virtual_board import Boards, Build

INTERRUPTED = 2
BLOCKED = 7
SUITE_TEST = "hil_tests/test_tts.py::test_stream_buffer_is_64_kb_of_psram"


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    labgrid_programs()
    return Build(tmp_path_factory.mktemp("build"))


@pytest.fixture(scope="module")
def boards(build: Build, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Boards]:
    """A board with a small fake firmware."""
    boards = Boards(tmp_path_factory.mktemp("state"), build.registry)
    yield boards
    boards.stop()


@pytest.fixture(scope="module")
def lab(boards: Boards, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """One place on one machine."""
    lab = Lab(tmp_path_factory.mktemp("lab"), {"cam-1": {"board": "esp32-cam"}})
    try:
        lab.start_exporter("shelf", {"cam-1": boards.url})
        yield lab
    finally:
        lab.stop()


@pytest.fixture
def project(lab: Lab, build: Build, tmp_path: Path) -> Iterator[Project]:
    project = Project(build, tmp_path, f'[labgrid]\ncoordinator = "{lab.address}"\n')
    yield project
    for run in project.runs:
        run.kill()


def start(project: Project, lab: Lab, *options: str, tests: int = 1) -> Run:
    return project.run("--board", "virtual", *options, tests=tests, HOTPIN_LABGRID_CLIENT=lab.client.program)


def test_ctrl_c_releases_the_place(project: Project, lab: Lab, boards: Boards) -> None:
    run = start(project, lab)
    assert run.boards() == [f"{boards.url}?ign_set_control"]
    assert lab.places()["cam-1"].acquired
    run.interrupt()
    run.end()
    assert run.process.returncode == INTERRUPTED, run.output
    assert run.has_left_nothing()
    assert lab.is_free()


def test_killed_run_frees_its_place_and_the_queue_keeps_its_order(project: Project, lab: Lab) -> None:
    first = start(project, lab)
    first.boards()
    second = start(project, lab, "--lease-timeout", str(PATIENCE_S))
    second.wait_until(lambda: "waiting up to" in second.output, "message that names the holder")
    assert f"in use: cam-1 by {getuser()}@{gethostname()} since " in second.output
    third = start(project, lab, "--lease-timeout", str(PATIENCE_S))
    third.wait_until(lambda: "waiting up to" in third.output, "message that names the holder")
    first.kill()
    second.boards()
    assert not third.has_board(), "two runs have the same place"
    assert second.end() == 0, second.output
    third.boards()
    assert third.end() == 0, third.output
    assert lab.is_free()


# Checks the place before each test; a BLOCKED test waits for the gate, so that this test can act before the next.
CHECKS = """
import os
from pathlib import Path
from hotpin_hil.boards import labgrid_watch
labgrid_watch.CHECK_S = 0.0
labgrid_watch.BACK_S = 0.0

pytest_plugins = ['fixtures.console']
folder = Path(os.environ["FOLDER"])

def pytest_runtest_logreport(report):
    if report.failed:
        labgrid_watch.BACK_S = 60.0
        (folder / "blocked").write_text(report.longreprtext)
        with open(folder / f"gate-{os.environ['RUN']}") as gate:
            gate.read()
"""


def test_place_is_used_again_when_exporter_and_coordinator_are_back(project: Project, lab: Lab) -> None:
    (project.folder / "conftest.py").write_text(CHECKS)
    run = start(project, lab, tests=5)
    run.wait_until(lambda: run.has_board(0), "board")
    lab.kill_exporter("shelf")
    run.go_on()
    blocked = project.folder / "blocked"
    run.wait_until(blocked.exists, "BLOCKED test")
    run.wait_until(blocked.read_text, "reason")
    assert f"labgrid's exporter shelf of place cam-1 is not connected to {lab.address}" in blocked.read_text()
    assert "start labgrid-exporter there again" in blocked.read_text()
    lab.start_exporter("shelf")
    run.go_on()
    run.wait_until(lambda: run.has_board(2), "board after the exporter is back")
    lab.stop_coordinator()
    run.go_on()
    run.wait_until(lambda: run.has_board(3), "board without a coordinator")
    lab.exporters["shelf"].wait(PATIENCE_S)  # labgrid's exporter exits when its coordinator exits
    lab.start_coordinator()
    lab.start_exporter("shelf")
    assert lab.is_free(), "the restarted coordinator still reports a user of the place"
    run.go_on()
    run.wait_until(lambda: run.has_board(4), "board after the coordinator is back")
    assert lab.places()["cam-1"].acquired
    assert run.end() == BLOCKED, run.output
    assert not run.has_board(1)
    assert lab.is_free()


# --- the real firmware ---


@pytest.fixture
def real_lab(tmp_path: Path) -> Iterator[Lab]:
    """A board with the firmware of this checkout at two places, one of which states a wrong MAC."""
    labgrid_programs()
    try:
        read_build(NATIVE_BUILD_DIR, BoardKind.VIRTUAL)
    except BuildError as error:
        pytest.skip(str(error))
    (tmp_path / "state").mkdir()
    boards = Boards(tmp_path / "state", NATIVE_ELFS_FILE)
    (board,) = boards.found
    (tmp_path / "lab").mkdir()
    lab = Lab(
        tmp_path / "lab",
        {
            "right": {"board": "esp32-cam", "group": "cam", "mac": board["mac"].replace(":", "")},
            "wrong": {"board": "esp32-cam", "group": "cam", "mac": "24:0a:c4:ff:ff:ff"},
        },
    )
    try:
        lab.start_exporter("shelf", {"cam": boards.url})
        yield lab
    finally:
        lab.stop()
    boards.stop()


@pytest.mark.parametrize(("place", "verdict"), [("right", "PASS"), ("wrong", "BLOCKED")])
def test_suite_runs_on_a_place_and_a_wrong_board_is_refused(
    real_lab: Lab, tmp_path: Path, place: str, verdict: str
) -> None:
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "HOTPIN"))
    }
    environment |= {
        "HOTPIN_LABGRID_CLIENT": real_lab.client.program,
        "HOTPIN_LEASES": str(tmp_path / "leases"),
        "CI": "",
    }
    options = ["--board", "virtual", "--labgrid-coordinator", real_lab.address, "--board-name", place]
    options += ["--qualification-dir", str(tmp_path / "evidence")]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--target", "esp32", *options, SUITE_TEST],
        cwd=PROJECT_ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    results = (tmp_path / "evidence/results.jsonl").read_text()
    lines = [line for line in map(json.loads, results.splitlines()) if line["kind"] == "verdict"]
    assert {line["verdict"] for line in lines} == {verdict}, done.stdout + done.stderr
    if verdict == "BLOCKED":
        assert "not 24:0a:c4:ff:ff:ff" in lines[0]["reason"]
    assert real_lab.is_free()
