"""Checks that each run has its own folder and changes nothing in the folders of earlier runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hotpin_hil.cli.main import main
from hotpin_hil.evidence import run_folders
from hotpin_hil.evidence.lines import RunLine
from hotpin_hil.evidence.results import ResultsWriter
from tests.evidence.test_evidence import RUN
from tests.support.plugin_suite import CONFTEST, REGISTERED, Suite

pytest_plugins = ["pytester", "tests.support.plugin_suite"]

PASSES = "@requirement('AAA-01')\ndef test_it(measure): measure('x', 1, exact=1)\n"
FAILS = PASSES.replace("exact=1", "exact=2")
WITHOUT_BOARD = """
from hotpin_hil.pytest_plugin.plugin import recorder_of
@requirement("AAA-01")
def test_it(request): recorder_of(request.node).measure("x", 1, exact=1)
"""


def content(folder: Path) -> dict[str, bytes]:
    """Maps every file below a folder to its content."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_each_run_has_a_folder_and_latest_names_the_newest(
    suite: Suite, capsys: pytest.CaptureFixture[str]
) -> None:
    suite.run(PASSES)
    first = suite.folder.resolve()
    assert re.fullmatch(r"\d{8}T\d{6}Z-[0-9a-f]{8}", first.name)
    assert first.name.endswith(suite.lines[0]["run"][:8])
    before = content(first)
    result = suite.run(FAILS, "--allure", "hil_tests")
    second = suite.folder.resolve()
    assert content(first) == before
    assert second != first
    assert list((second / "allure-results").glob("*-result.json"))
    assert f"{second.relative_to(Path.cwd())}/report.html" in result.stdout.str()
    # The command that reproduces the failure must not write into this run's folder.
    (line,) = [line for line in suite.lines if line["kind"] == "verdict"]
    assert "--qualification-dir" not in line["reproduce"]

    capsys.readouterr()
    assert main(["runs"]) == 0
    rows = capsys.readouterr().out.splitlines()
    assert [Path(row.split()[0]).name for row in rows] == sorted([first.name, second.name])
    assert [row.endswith("(latest)") for row in rows].count(True) == 1
    assert main(["report"]) == 0
    assert "build/qualification/latest/report.html" in capsys.readouterr().out
    assert main(["runs", "--latest"]) == 0
    assert capsys.readouterr().out == f"build/qualification/{second.name}\n"


@pytest.mark.parametrize(
    ("tests", "options", "status"),
    [
        (PASSES, ("-k", "typo", "hil_tests"), 5),
        (PASSES, ("hil_tests/test_typo.py",), 4),
        (PASSES, ("--collect-only", "hil_tests"), 0),
        ("import nothing_of_this_name\n", ("--allure", "hil_tests"), 2),
        (PASSES, ("--port", "/dev/not-there", "hil_tests"), 4),
    ],
    ids=["-k", "path", "--collect-only", "collection error", "usage error"],
)
def test_run_without_a_test_leaves_no_folder_and_earlier_runs_as_they_are(
    suite: Suite, tests: str, options: tuple[str, ...], status: int
) -> None:
    named = suite.runs.parent / "named"
    suite.run(PASSES)
    suite.run(PASSES, f"--qualification-dir={named}", "hil_tests")
    before = content(suite.runs.parent)
    assert suite.run(tests, *options).ret == status
    assert suite.run(tests, f"--qualification-dir={named}", "--overwrite", *options).ret == status
    assert suite.run(tests, "--qualification-dir=build/new", *options).ret == status
    assert content(suite.runs.parent) == before
    assert sorted(path.name for path in suite.runs.iterdir()) == [suite.folder.resolve().name, "latest"]
    assert not (suite.runs.parent / "new").exists()


def test_named_folder_is_overwritten_only_on_request(suite: Suite) -> None:
    suite.folder = suite.runs / "named"
    where = f"--qualification-dir={suite.folder}"
    suite.run(FAILS, where, "hil_tests")
    before = content(suite.folder)
    result = suite.run(PASSES, where, "hil_tests")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: *named holds the results of another run (*--overwrite)"])
    assert content(suite.folder) == before
    assert suite.run(PASSES, where, "--overwrite", "hil_tests").ret == 0
    assert suite.verdict("AAA-01") == "PASS"
    assert not list(suite.folder.glob("overwritten-*"))


def test_workers_write_to_the_folder_of_their_run(suite: Suite) -> None:
    suite.write("conftest.py", CONFTEST + REGISTERED)
    result = suite.run(WITHOUT_BOARD, "-n", "2", "--allure", "hil_tests")
    assert result.ret == 0
    (folder,) = [path for path in suite.runs.iterdir() if path.name != "latest"]
    assert suite.verdict("AAA-01") == "PASS"
    assert list((folder / "allure-results").glob("*-result.json"))


@pytest.mark.parametrize("how", ["option", "variable"])
def test_state_folder_holds_the_runs_of_a_checkout_that_cannot_be_written(
    suite: Suite, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], how: str
) -> None:
    state = suite.runs.parents[1] / "state of mine"
    options: tuple[str, ...] = ("hil_tests",)
    if how == "option":
        options = ("--state-dir", str(state), *options)
    else:
        monkeypatch.setenv("HOTPIN_STATE_DIR", str(state))
    suite.folder = state / "qualification" / "latest"
    assert suite.run(PASSES, *options).ret == 0
    assert suite.verdict("AAA-01") == "PASS"
    assert not suite.runs.exists()
    monkeypatch.setenv("HOTPIN_STATE_DIR", str(state))
    capsys.readouterr()
    assert main(["runs", "--latest"]) == 0
    assert capsys.readouterr().out == f"{suite.folder.resolve()}\n"


def test_what_only_the_run_needs_is_in_its_folder_and_removed_at_its_end(suite: Suite) -> None:
    suite.run(
        "@requirement('AAA-01')\ndef test_it(measure, request):\n"
        "    cache = Path(request.config.option.cache_dir)\n"
        "    assert cache.parent.name == 'state'\n    cache.mkdir(parents=True)\n"
        "    measure('x', str(cache.parents[1]), exact=str(cache.parents[1]))\n"
        "from pathlib import Path\n"
    )
    folder = suite.folder.resolve()
    (value,) = [line["value"] for line in suite.lines if line["kind"] == "measurement"]
    assert value == str(folder)
    assert not (folder / "state").exists()


def run_in(folder: Path) -> ResultsWriter:
    return ResultsWriter(folder, RunLine.from_json(RUN))


def test_old_runs_are_removed_but_not_the_newest_nor_a_running_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [f"2025010{day}T000000Z-00000000" for day in range(1, 6)]
    writers = [run_in(tmp_path / name) for name in names]
    for writer in writers[1:]:
        writer.close()
    run_folders.point_latest(tmp_path / names[1])
    (tmp_path / "allure-history.jsonl").touch()
    assert main(["runs", str(tmp_path), "--prune", "1"]) == 0
    assert capsys.readouterr().out.splitlines() == [f"removed {tmp_path / name}" for name in names[2:4]]
    assert [path.name for path in run_folders.list_runs(tmp_path)] == [names[0], names[1], names[4]]
    writers[0].close()


def test_latest_is_a_text_file_where_links_cannot_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("a required privilege is not held")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    for name in ("one", "two"):
        run_in(tmp_path / name).close()
        run_folders.point_latest(tmp_path / name)
    assert (tmp_path / "latest").read_text() == "two\n"
    assert run_folders.find_run(tmp_path) == run_folders.find_run(tmp_path / "latest") == tmp_path / "two"
    assert run_folders.latest_run(tmp_path) == tmp_path / "two"


def test_no_run_is_a_one_line_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for option in ([], ["--latest"]):
        assert main(["runs", str(tmp_path), *option]) == 2
        assert capsys.readouterr().err.startswith(f"error: there is no run in {tmp_path} (")
    assert main(["report", str(tmp_path)]) == 2
    assert "cannot read" in capsys.readouterr().err
