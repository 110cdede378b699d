"""Tests how the provenance of a run is gathered, and its errors."""

from __future__ import annotations

import hashlib
import html
import json
import platform
import subprocess
from pathlib import Path
from typing import Any

import pytest

from hotpin_hil.boards import in_use, ports
from hotpin_hil.boards.artifacts import read_build
from hotpin_hil.boards.build_facts import compiler_of, sdkconfig_of
from hotpin_hil.boards.kind import BoardKind
from hotpin_hil.boards.ports import SerialBridge
from hotpin_hil.evidence.git_tree import read_tree
from hotpin_hil.evidence.provenance import Provenance
from hotpin_hil.paths import PROJECT_ROOT
from hotpin_hil.pytest_plugin.run_provenance import JUDGES, ci_job
from tests.support.c_build import compiler
from tests.support.fake_build import ELF_SHA256, write_build
from tests.support.plugin_suite import REQUIREMENTS, Suite
from tests.support.provenance import PROVENANCE

pytest_plugins = ["pytester", "tests.support.plugin_suite"]

PASSES = """
@requirement("AAA-01")
def test_it(measure): measure("x", 1, exact=1)
"""


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_run_records_where_it_comes_from(
    suite: Suite, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI_JOB_URL", "https://ci.example.org/job/1")
    for folder in ("release_build_dir", "profile_build_dir"):
        monkeypatch.setattr(in_use, folder, lambda kind: pytester.path / "none")
    assert suite.run(PASSES, "hil_tests", "--order-seed", "7", "--time-scale", "3", "--allow-dirty").ret == 0
    suite.validate()
    found: dict[str, Any] = suite.lines[0]["provenance"]
    assert found == suite.qualification["provenance"]
    assert found["harness"] == vars(read_tree(PROJECT_ROOT, JUDGES))
    assert "not a git repository" in found["suite"]["unknown"]
    assert found["requirements_sha256"] == sha256(REQUIREMENTS.encode())
    assert found["command"].startswith("pytest ")
    assert found["command"].endswith("--board=virtual hil_tests --order-seed=7 --time-scale=3 --allow-dirty")
    assert (found["order_seed"], found["time_scale"], found["allow_dirty"]) == (7, 3.0, True)
    assert found["host"]["name"] == platform.node()
    assert found["host"]["ci_job"] == "https://ci.example.org/job/1"
    (firmware,) = found["firmware"]
    assert (firmware["image"], firmware["elf_sha256"]) == ("with test console", ELF_SHA256)
    assert firmware["tree"]["commit"] == ""
    build = read_build(pytester.path / "firmware" / "build-native", BoardKind.VIRTUAL)
    assert [(file["offset"], file["sha256"]) for file in firmware["flashed"]] == [
        (offset, sha256(path.read_bytes())) for offset, path in build.flash_files
    ]
    page = (suite.folder / "report.html").read_text(encoding="utf-8")
    doubt = 'The firmware image "with test console" is at an unknown commit (allowed by --allow-dirty).'
    assert doubt in html.unescape(page)
    assert f"bootloader/bootloader.bin, {firmware['flashed'][0]['size']} bytes" in page


def test_board_of_another_commit_than_the_flashed_image_blocks_the_run(suite: Suite) -> None:
    tests = PASSES.replace("measure)", "dut, measure)")
    suite.write("hil_tests/conftest.py", OTHER_COMMIT)
    assert suite.run(tests).ret == 7
    assert suite.qualification["overall"] == "BLOCKED"
    assert suite.lines[0]["provenance"]["allow_dirty"] is False
    (test,) = suite.qualification["requirements"]["AAA-01"]["tests"]
    assert test["reason"] == (
        f"the board reports firmware built from commit {'f' * 12}, but the flashed image was built from "
        "an unknown commit"
    )


OTHER_COMMIT = f"""
import pytest
@pytest.fixture
def measure(dut, measure):
    dut.confirm({{"build": "native", "mac": dut.mac, "commit": {"f" * 40!r}}})
    return measure
"""


@pytest.mark.parametrize(
    ("environment", "url"),
    [
        ({}, ""),
        (
            {
                "GITHUB_SERVER_URL": "https://github.com",
                "GITHUB_REPOSITORY": "o/r",
                "GITHUB_RUN_ID": "7",
            },
            "https://github.com/o/r/actions/runs/7",
        ),
        (
            {"GITHUB_RUN_ID": "7", "CI_JOB_URL": "https://gitlab.example.org/j/1"},
            "https://gitlab.example.org/j/1",
        ),
        ({"BUILD_URL": "https://jenkins.example.org/1/"}, "https://jenkins.example.org/1/"),
    ],
)
def test_ci_job(environment: dict[str, str], url: str) -> None:
    assert ci_job(environment) == url


def test_compiler_and_configuration_of_a_build(tmp_path: Path) -> None:
    build = read_build(write_build(tmp_path), BoardKind.VIRTUAL)
    assert (compiler_of(build), sdkconfig_of(build)) == ("", None)
    compile_empty_file = [compiler(), "-x", "c", "-c", "/dev/null", "-o", str(build.elf_file)]
    subprocess.run(compile_empty_file, check=True)
    assert "GCC" in compiler_of(build) or "clang" in compiler_of(build)
    build.elf_file.write_bytes(b"\x7fELF")
    assert compiler_of(build) == ""
    (tmp_path / "sdkconfig").write_text("CONFIG_X=y\n")
    (tmp_path / "project_description.json").write_text(
        json.dumps({"config_file": str(tmp_path / "sdkconfig")})
    )
    assert sdkconfig_of(build) == tmp_path / "sdkconfig"


def test_bridge_of_a_port_has_its_usb_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hotpin_hil.pytest_plugin import run_provenance

    device, link = tmp_path / "ttyUSB0", tmp_path / "by-id"
    device.touch()
    link.symlink_to(device)
    monkeypatch.setattr(ports, "find_ports", lambda: [SerialBridge(str(device), "CH340", "1-1.4", "")])
    assert vars(run_provenance._bridge(str(link))) == {
        "port": str(link),
        "bridge": "CH340",
        "usb": "1-1.4",
        "serial_number": "",
    }
    assert run_provenance._bridge("rfc2217://bench:4000").usb == ""


def test_flat_names_every_value_once() -> None:
    flat = PROVENANCE.flat()
    assert flat["harness.commit"] == PROVENANCE.harness.commit
    assert flat["firmware.with_test_console.0x10000"] == f"hotpin.bin, 394080 bytes, SHA-256 {'ab' * 32}"
    assert flat["bridge.1.usb"] == "1-1.4"
    assert flat["run.order_seed"] == "7"
    assert "harness.dirty" not in flat
    assert "run.time_scale" not in flat
    assert all(flat.values())
    assert Provenance.from_json(json.loads(json.dumps(PROVENANCE.as_json()))) == PROVENANCE
