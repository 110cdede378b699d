"""Evaluates ESP-IDF's and the project's Kconfig files with the project's defaults files."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "native" / "tools"))

from genconfig import header, value_of

__all__ = ["Assignment", "Resolved", "header", "read_defaults", "resolve"]

Value = bool | int | str


@dataclass(frozen=True)
class Assignment:
    """One line of a defaults file; the name without CONFIG_."""

    file: Path
    line: int
    name: str
    value: str


@dataclass(frozen=True)
class Resolved:
    """A configuration: each option's value, and (file, line, message) of each line without the intended effect."""

    values: dict[str, Value]
    problems: list[tuple[Path, int, str]]


def resolve(idf: Path, components: Iterable[Path], defaults: Iterable[Path], work: Path) -> Resolved:
    """Evaluates the configuration that idf.py would generate, without a toolchain."""
    from esp_kconfiglib import Kconfig  # type: ignore[import-untyped]

    work.mkdir(parents=True, exist_ok=True)
    directories = list(components)
    version = idf_version(idf)
    os.environ.update(
        IDF_PATH=str(idf),
        IDF_TARGET="esp32",
        IDF_TOOLCHAIN="gcc",
        IDF_VERSION=version,
        IDF_INIT_VERSION=version,
        IDF_ENV_FPGA="",
        KCONFIG_REPORT_VERBOSITY="quiet",  # no messages about ESP-IDF's own Kconfig files
        COMPONENT_KCONFIGS_SOURCE_FILE=str(sources(work / "kconfigs.in", directories, "Kconfig")),
        COMPONENT_KCONFIGS_PROJBUILD_SOURCE_FILE=str(
            sources(work / "kconfigs_projbuild.in", directories, "Kconfig.projbuild")
        ),
    )
    config = Kconfig(str(idf / "Kconfig"), warn_to_stderr=False, info=False, suppress_traceback=True)
    renamed = renames([idf / "sdkconfig.rename", *(path / "sdkconfig.rename" for path in directories)])
    assignments: dict[str, Assignment] = {}  # in order, since the last assignment to a choice counts
    problems = []
    for path in defaults:
        for item in read_defaults(path):
            assignments.pop(item.name, None)
            assignments[item.name] = item
            if item.name in config.syms and config.syms[item.name].nodes:
                continue
            if item.name in renamed:
                text = f"ESP-IDF {version} calls it CONFIG_{renamed[item.name]}"
            else:
                text = f"neither ESP-IDF {version} nor this project has such an option"
            problems.append((item.file, item.line, f"CONFIG_{item.name}: {text}"))
        config.load_config(str(path), replace=False)
    selected = {
        config.syms[item.name].choice: item.name
        for item in assignments.values()
        if item.name in config.syms and item.value == "y"
    }
    for item in assignments.values():
        symbol = config.syms.get(item.name)
        if symbol is None or not symbol.nodes or (symbol.str_value or "n") == item.value:
            continue
        if symbol.choice and selected[symbol.choice] != item.name:
            continue  # a later line selects another option of the choice
        problems.append(
            (
                item.file,
                item.line,
                f"CONFIG_{item.name}={item.value} has no effect in ESP-IDF {version}: the option is "
                f"'{symbol.str_value}'. An option it depends on is off, or the value is out of range.",
            )
        )
    values = {}
    for name, symbol in config.syms.items():
        value = value_of(symbol) if symbol.nodes and symbol.orig_type else None
        if value is not None:
            values[name] = value
    return Resolved(values, problems)


def idf_version(idf: Path) -> str:
    """Reads ESP-IDF's version, such as "5.4.2"."""
    text = (idf / "tools" / "cmake" / "version.cmake").read_text(encoding="utf-8")
    return ".".join(re.findall(r"IDF_VERSION_(?:MAJOR|MINOR|PATCH) (\d+)", text)[:3])


def sources(listing: Path, directories: Iterable[Path], name: str) -> Path:
    files = [path / name for path in directories if (path / name).is_file()]
    listing.write_text("".join(f'source "{path}"\n' for path in files), encoding="utf-8")
    return listing


def read_defaults(path: Path) -> list[Assignment]:
    found = []
    for number, raw in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        off = re.fullmatch(r"# CONFIG_(\w+) is not set", raw.strip())
        on = re.fullmatch(r"CONFIG_(\w+)=(.*)", raw.strip())
        if off:
            found.append(Assignment(path, number, off[1], "n"))
        elif on:
            found.append(Assignment(path, number, on[1], on[2].strip('"')))
    return found


def renames(files: Iterable[Path]) -> dict[str, str]:
    """Reads the renamed options: old name → new name."""
    found = {}
    for path in files:
        if path.is_file():
            for match in re.finditer(
                r"^CONFIG_(\w+)\s+!?CONFIG_(\w+)", path.read_text(encoding="utf-8"), re.M
            ):
                found[match[1]] = match[2]
    return found
