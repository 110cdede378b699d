"""Gathers the provenance of a run at its start."""

from __future__ import annotations

import hashlib
import os
import platform
import shlex
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import pytest

from hotpin_hil.boards import ports
from hotpin_hil.boards.artifacts import FirmwareBuild
from hotpin_hil.boards.build_facts import compiler_of, sdkconfig_of
from hotpin_hil.boards.in_use import BoardInUse
from hotpin_hil.boards.lease import user_name
from hotpin_hil.errors import BuildError
from hotpin_hil.evidence.git_tree import read_tree
from hotpin_hil.evidence.lines import PROFILE, RELEASE, WITH_CONSOLE
from hotpin_hil.evidence.provenance import Bridge, FirmwareSource, FlashedFile, Host, Provenance, Tree
from hotpin_hil.paths import PROJECT_ROOT

JUDGES = ("hotpin_hil", "fixtures", "hil_tests", "conftest.py", "pytest.ini", "pyproject.toml")
"""The files and folders of a checkout that determine the verdicts."""

_JENKINS_JOB, _GITLAB_JOB = "BUILD_URL", "CI_JOB_URL"
_GITHUB_JOB = ("GITHUB_SERVER_URL", "GITHUB_REPOSITORY", "GITHUB_RUN_ID")


def read_provenance(config: pytest.Config, board: BoardInUse, requirements: Path) -> Provenance:
    """Gather the provenance of a run. The board must be chosen and leased.

    Args:
        config: Configuration of the run.
        board: Board of the run.
        requirements: requirements.toml, in the folder of the suite.
    """
    environment = board.session.environment
    harness = read_tree(PROJECT_ROOT, JUDGES, environment)
    is_same = config.rootpath.resolve() == PROJECT_ROOT
    return Provenance(
        harness=harness,
        suite=harness if is_same else read_tree(config.rootpath, JUDGES, environment),
        firmware=tuple(_firmware(board)),
        requirements_sha256=_sha256(requirements),
        command=shlex.join(["pytest", *map(str, config.invocation_params.args)]),
        order_seed=config.option.order_seed,
        time_scale=board.time_scale if board.session.board.is_modelled else None,
        host=Host(platform.node(), platform.platform(), user_name(), ci_job(environment)),
        bridges=tuple(map(_bridge, board.session.leases.leased_ports)),
        allow_dirty=config.option.allow_dirty,
    )


def ci_job(environment: Mapping[str, str] = os.environ) -> str:
    """URL of the running job in GitHub Actions, GitLab or Jenkins; empty elsewhere."""
    server, repository, run = (environment.get(name, "") for name in _GITHUB_JOB)
    if server and repository and run:
        return f"{server}/{repository}/actions/runs/{run}"
    return environment.get(_GITLAB_JOB) or environment.get(_JENKINS_JOB, "")


def _firmware(board: BoardInUse) -> list[FirmwareSource]:
    sources = [_source(WITH_CONSOLE, board.build)]
    for image in (RELEASE, PROFILE):
        with suppress(BuildError):  # the tests that need the build report that it is missing
            sources.append(_source(image, board.build_of(image)))
    return sources


def _source(image: str, build: FirmwareBuild) -> FirmwareSource:
    sdkconfig = sdkconfig_of(build)
    return FirmwareSource(
        image=image,
        elf_sha256=build.elf_sha256,
        tree=Tree(commit=build.origin.commit, dirty=build.origin.dirty),
        idf_version=build.idf,
        idf_commit=build.origin.idf_commit,
        compiler=compiler_of(build),
        sdkconfig_sha256=_sha256(sdkconfig) if sdkconfig else "",
        flashed=tuple(
            FlashedFile(offset, _name(file, build.folder), file.stat().st_size, _sha256(file))
            for offset, file in build.flash_files
        ),
    )


def _name(file: Path, folder: Path) -> str:
    return file.relative_to(folder).as_posix() if folder in file.parents else str(file)


def _bridge(port: str) -> Bridge:
    device = os.path.realpath(port)
    for found in ports.find_ports():
        if os.path.realpath(found.device) == device:
            return Bridge(port, found.bridge, found.location, found.serial_number)
    return Bridge(port, "", "", "")


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
