"""Checks constraints.txt and requirements.lock: each needed package has one version for each Python version."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from hotpin_hil.compat import tomllib
from hotpin_hil.paths import PROJECT_ROOT

PROJECT = tomllib.loads((PROJECT_ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PYTHONS = ["3.10", "3.11", "3.12", "3.13"]


def environment(python: str) -> dict[str, str]:
    return {"python_version": python, "python_full_version": f"{python}.0", "sys_platform": sys.platform}


def locked(file_name: str) -> list[Requirement]:
    text = (PROJECT_ROOT / file_name).read_text(encoding="utf-8").replace("\\\n", "")
    lines = [line.split(" --hash=")[0].strip() for line in text.splitlines() if not line.startswith("#")]
    return [Requirement(line) for line in lines]


def chosen(file_name: str, python: str) -> dict[str, str]:
    """Maps each package to its version for this Python version."""
    found: dict[str, str] = {}
    for requirement in locked(file_name):
        if requirement.marker is None or requirement.marker.evaluate(environment(python)):
            name = canonicalize_name(requirement.name)
            assert name not in found, f"{name} has two versions for Python {python}"
            found[name] = str(requirement.specifier).removeprefix("==")
    return found


def needed(extra: str, python: str) -> Mapping[str, SpecifierSet]:
    """Packages in pyproject.toml, including those of nested extras."""
    todo = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"][extra]]
    found: dict[str, Any] = {}
    while todo:
        requirement = Requirement(todo.pop())
        if requirement.name == PROJECT["name"]:
            for other in requirement.extras:
                todo += PROJECT["optional-dependencies"][other]
        elif requirement.marker is None or requirement.marker.evaluate(environment(python)):
            found[canonicalize_name(requirement.name)] = requirement.specifier
    return found


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("file_name", ["constraints.txt", "requirements.lock"])
def test_every_needed_package_has_a_version_that_fits(file_name: str, python: str) -> None:
    assert python in SpecifierSet(PROJECT["requires-python"])
    versions = chosen(file_name, python)
    for name, specifier in needed("dev", python).items():
        assert name in versions, f"{name} is not in {file_name}: run make lock"
        assert versions[name] in specifier, f"{name} {versions[name]} in {file_name}: run make lock"


@pytest.mark.parametrize("python", PYTHONS)
def test_locked_versions_are_the_constrained_ones(python: str) -> None:
    constrained = chosen("constraints.txt", python)
    for name, version in chosen("requirements.lock", python).items():
        assert constrained[name] == version


def test_every_locked_package_has_hashes() -> None:
    text = (PROJECT_ROOT / "requirements.lock").read_text(encoding="utf-8").replace("\\\n", "")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert len(lines) > 50
    assert all(re.search(r"--hash=sha256:[0-9a-f]{64}", line) for line in lines)
