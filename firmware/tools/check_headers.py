#!/usr/bin/env python3
"""Checks the firmware against a checkout of ESP-IDF, without its toolchain.

    check_headers.py --idf PATH

For each configuration the check evaluates ESP-IDF's own Kconfig tree with the project's defaults files, derives each
component's include path from the REQUIRES lists as ESP-IDF's build system does, and compiles each source of the project
against ESP-IDF's headers with the available compilers. It reports by file and line:

- names, types, arguments and formats that do not match ESP-IDF's declarations,
- headers of components that are missing in REQUIRES,
- public headers that need a component listed only in PRIV_REQUIRES,
- options that ESP-IDF does not have, or that have no effect.

Of ESP-IDF's code, only the CMake files are run, up to `idf_component_register`.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from idfcheck import compilers, components, kconfig, static_memory

FIRMWARE = Path(__file__).resolve().parents[1]

BLIND = """Not checked: errors that only the linker finds (functions that the configuration excludes, linker fragments,
--wrap, sizes of memory and flash), inline assembly, whether the registry can resolve idf_component.yml, differences
between the toolchain's newlib headers and {newlib}, and run-time errors."""


def configurations() -> dict[str, list[str]]:
    """Reads the build names (HOTPIN_BUILD) in CMakeLists.txt → their defaults files, in order."""
    text = (FIRMWARE / "CMakeLists.txt").read_text(encoding="utf-8")
    found = re.findall(r'HOTPIN_BUILD STREQUAL "([\w-]+)"\)\s+set\(hotpin_defaults ([^)]+)\)', text)
    return {name: files.split() for name, files in found}


class CannotCheck(Exception):
    """A prerequisite of the check is missing. The message contains the remedy."""


@dataclass
class Report:
    """Problems with their file, line and configurations."""

    found: dict[tuple[str, int, str], list[str]] = field(default_factory=dict)
    unseen: dict[str, str] = field(default_factory=dict)
    compiled: set[Path] = field(default_factory=set)

    def add(self, file: Path, line: int, text: str, where: str) -> None:
        places = self.found.setdefault((relative(file), line, text), [])
        if where not in places:
            places.append(where)


@dataclass(frozen=True)
class Project:
    """The project in one configuration, with its components."""

    configuration: str
    directories: list[Path]
    """Directories of all available components."""
    tree: dict[str, components.Component]
    """Name → component, for the components of this configuration."""


@dataclass(frozen=True)
class Job:
    """One file to compile, with its include path."""

    file: Path
    source: Path
    """`file` itself; for a header, a generated source that includes it."""
    component: components.Component
    own: list[Path]
    system: list[Path]
    public_header: bool = False


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        epilog="Exit status: 0 no problems, 1 problems found, 2 cannot check.",
    )
    parser.add_argument(
        "--idf",
        type=Path,
        default=os.environ.get("IDF_PATH"),
        help="checkout of ESP-IDF (default: $IDF_PATH)",
    )
    parser.add_argument(
        "--component",
        type=Path,
        action="append",
        default=[],
        help="sources of a component from the registry (can be repeated); default: those in managed_components/",
    )
    parser.add_argument("--config", choices=configurations(), help="one build only (default: all)")
    parser.add_argument("--newlib", type=Path, default=Path("/usr/include/newlib"), help="headers of newlib")
    parser.add_argument(
        "--work", type=Path, default=FIRMWARE / "build-check", help="directory for generated files"
    )
    parser.add_argument(
        "--static",
        action="store_true",
        help="also print each component's static memory (needs gcc-xtensa-lx106)",
    )
    args = parser.parse_args()
    try:
        return check(args)
    except (CannotCheck, components.ComponentError) as error:
        print(f"check-headers: {error}", file=sys.stderr)
        return 2


def check(args: argparse.Namespace) -> int:
    idf = prerequisites(args)
    version = kconfig.idf_version(idf)
    tools = compilers.available()
    report = Report()
    for name in [args.config] if args.config else configurations():
        check_configuration(idf, name, tools, args, report)

    for (file, line, text), places in sorted(report.found.items()):
        print(f"{file}{f':{line}' if line else ''}: {text} [{', '.join(places)}]")
    for file, reason in sorted(report.unseen.items()):
        print(f"not checked: {file}: {reason}")
    names = ", ".join(f"{tool.name} ({tool.sees})" for tool in tools)
    print(
        f"ESP-IDF {version}: {len(report.compiled)} files, {len(report.found)} problems, "
        f"{len(report.unseen)} files not checked. Compiled with {names}."
    )
    print(BLIND.format(newlib=args.newlib))
    return 1 if report.found else 0


def prerequisites(args: argparse.Namespace) -> Path:
    """Returns the checkout of ESP-IDF.

    Raises:
        CannotCheck: the checkout, a compiler, newlib's headers or esp-idf-kconfig is missing.
    """
    if args.idf is None:
        raise CannotCheck("no ESP-IDF given: make check-headers IDF=~/esp/esp-idf, or set IDF_PATH")
    idf: Path = args.idf.expanduser().resolve()
    if not (idf / "tools" / "cmake" / "version.cmake").is_file():
        raise CannotCheck(f"{idf} is not a checkout of ESP-IDF (it has no tools/cmake/version.cmake)")
    if not compilers.available():
        raise CannotCheck("no suitable compiler found: apt install gcc-xtensa-lx106 (better), or clang")
    if not (args.newlib / "sys" / "reent.h").is_file():
        raise CannotCheck(
            f"no newlib headers in {args.newlib}: apt install libnewlib-dev, or give their directory: --newlib"
        )
    try:
        import esp_kconfiglib  # type: ignore[import-untyped]  # noqa: F401
    except ImportError as error:
        raise CannotCheck(
            f"{sys.executable} has no esp-idf-kconfig: {sys.executable} -m pip install esp-idf-kconfig"
        ) from error
    return idf


def check_configuration(
    idf: Path, name: str, tools: list[compilers.Compiler], args: argparse.Namespace, report: Report
) -> None:
    work = args.work.resolve() / kconfig.idf_version(idf) / name
    own = [*component_directories(FIRMWARE / "components"), FIRMWARE / "main"]
    managed = [path.resolve() for path in args.component]
    managed = managed or component_directories(FIRMWARE / "managed_components")
    directories = [*component_directories(idf / "components"), *managed, *own]

    resolved = kconfig.resolve(idf, directories, [FIRMWARE / file for file in configurations()[name]], work)
    absent = components.absent(own, directories)
    for file, line, text in resolved.problems:
        if absent:
            report.unseen[f"{relative(file)}:{line}"] = f"{text}; {without(absent)}"
        else:
            report.add(file, line, text, name)
    (work / "sdkconfig.h").write_text(kconfig.header(resolved.values), encoding="utf-8")
    for template in sorted((FIRMWARE / "components").glob("*/*.h.in")):  # the build generates these headers
        text = re.sub(r"@\w+@", "", template.read_text(encoding="utf-8"))
        (work / template.stem).write_text(text, encoding="utf-8")

    tree = components.read(idf, directories, own + managed, resolved.values, work)
    project = Project(name, directories, tree)
    include_last = [work, *compilers.newlib_headers(args.newlib, work)]
    for path in own:
        for file, text in component_problems(tree[path.name]):
            report.add(file, 0, text, name)
    work_list = [job for path in own for job in jobs(tree, tree[path.name], include_last)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        if args.static:
            print_static_memory(name, work_list, pool)
        results = pool.map(lambda job: complaints(job, tools), work_list)
        for job, found in zip(work_list, results, strict=True):
            record(job, found, project, report)


def print_static_memory(configuration: str, work_list: list[Job], pool: ThreadPoolExecutor) -> None:
    """Prints one line per component: bytes of its variables on the 32-bit chip, by memory."""
    tool = compilers.gcc()
    if tool is None:
        raise CannotCheck("--static needs GCC for Xtensa: apt install gcc-xtensa-lx106")
    sources = [job for job in work_list if not job.public_header]
    texts = pool.map(lambda job: tool.assembly(job.source, job.own, job.system), sources)
    taken: dict[str, Counter[str]] = {}
    for job, text in zip(sources, texts, strict=True):
        taken.setdefault(job.component.name, Counter()).update(static_memory.of(text))
    for component, places in sorted(taken.items()):
        figures = ", ".join(f"{size:,} B {place}" for place, size in sorted(places.items()))
        print(f"static memory, {configuration}: {component}: {figures or 'none'}")


def component_directories(folder: Path) -> list[Path]:
    return [path.parent for path in sorted(folder.glob("*/CMakeLists.txt"))]


def component_problems(component: components.Component) -> Iterator[tuple[Path, str]]:
    """Yields problems in a component's CMakeLists.txt itself: (file, message)."""
    script = component.directory / "CMakeLists.txt"
    if not component.fixed_requires:
        yield (
            script,
            "REQUIRES depends on the configuration, but ESP-IDF reads it before the configuration is known",
        )
    for source in component.sources:
        if not source.is_file():
            yield script, f"SRCS lists {source.name}, which does not exist"


def jobs(
    tree: dict[str, components.Component], component: components.Component, base: list[Path]
) -> Iterator[Job]:
    """Yields a component's compilations: its sources, and each public header as another component would include it."""

    def job(file: Path, source: Path, paths: list[Path], public: bool) -> Job:
        own = [
            path
            for path in paths
            if path.is_relative_to(FIRMWARE / "components") or path == FIRMWARE / "main"
        ]
        return Job(file, source, component, own, [path for path in paths if path not in own] + base, public)

    private = components.includes_of(tree, component)
    yield from (job(source, source, private, False) for source in component.sources if source.is_file())
    public = components.public_includes(tree, [component.name, *components.COMMON])
    for directory in component.include_dirs:
        for header in sorted(directory.glob("*.h")):
            alone = base[0] / f"include_{component.name}_{header.stem}.c"
            alone.write_text(f'#include "{header.name}"\n', encoding="utf-8")
            yield job(header, alone, public, True)


def complaints(job: Job, tools: list[compilers.Compiler]) -> list[compilers.Diagnostic]:
    found: dict[tuple[Path, int], compilers.Diagnostic] = {}
    for tool in tools:
        for item in tool.check(job.source, job.own, job.system):
            found.setdefault((item.file, item.line), item)
    return list(found.values())


def record(job: Job, found: list[compilers.Diagnostic], project: Project, report: Report) -> None:
    """Adds the compilers' diagnostics for one file to the report, with the remedy if it is known."""
    absent = sorted({name for name in job.component.needs if name not in project.tree})
    if found and absent:
        report.unseen[relative(job.file)] = without(absent)
        return
    report.compiled.add(job.file)
    for item in found:
        text = item.text
        if item.missing_header:
            if not job.public_header and is_public(item.file, project.tree):
                continue  # reported when that header is compiled by itself
            text = f"{item.missing_header} not found"
            offered = components.owners(project.directories, item.missing_header)
            if offered:
                kind = "REQUIRES" if job.public_header else "PRIV_REQUIRES"
                script = relative(job.component.directory / "CMakeLists.txt")
                text += f": it belongs to {' or '.join(offered)}; add that to {kind} in {script}"
        report.add(item.file, item.line, text, project.configuration)


def without(absent: list[str]) -> str:
    return (
        f"{', '.join(absent)} is missing: run idf.py reconfigure once, or give its directory with --component"
    )


def is_public(file: Path, tree: dict[str, components.Component]) -> bool:
    """True if a file is a public header of one of this project's components."""
    return file.is_relative_to(FIRMWARE) and any(file.parent in item.include_dirs for item in tree.values())


def relative(path: Path) -> str:
    """Makes a path inside the project relative to the project's root; returns other paths unchanged."""
    return os.path.relpath(path, FIRMWARE.parent) if path.is_relative_to(FIRMWARE) else str(path)


if __name__ == "__main__":
    raise SystemExit(main())
