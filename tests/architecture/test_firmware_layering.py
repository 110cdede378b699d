"""Checks which headers and components the firmware's sources may use.

Components must not include files of the host build, because the chip's build does not have them. The pure files listed
here also compile and run on the host, without ESP-IDF.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from hotpin_hil.paths import FIRMWARE_DIR, PROJECT_ROOT
from tests.support.c_build import compiler

COMPONENTS = FIRMWARE_DIR / "components"
MAINS = (FIRMWARE_DIR / "main", *sorted(FIRMWARE_DIR.glob("examples/*/main")))
NATIVE = FIRMWARE_DIR / "native"

# Pure files and their headers. The only ESP-IDF headers that they include are esp_err.h and esp_attr.h.
PURE = (
    "audio_driver/src/audio_ring.c",
    "camera_controller/src/jpeg_markers.c",
    "hil_console/src/console/console_complete.c",
    "hil_console/src/console/console_parser.c",
    "hil_console/src/console/console_text.c",
    "hil_console/src/console/line_editor.c",
    "hil_console/src/console/reply_cache.c",
    "memory_crash/src/crash_story.c",
    "memory_history/src/history_group.c",
    "memory_history/src/history_window.c",
    "memory_adapt/src/adapt_logic.c",
    "memory_manager/src/mem_alloc_failed.c",
    "memory_manager/src/mem_layout.c",
    "memory_manager/src/mem_logic.c",
    "memory_manager/src/mem_observe.c",
    "memory_manager/src/mem_render.c",
    "memory_manager/src/mem_ring.c",
    "memory_optimize/src/optimize_logic.c",
    "memory_pool/src/pool_blocks.c",
    "memory_priority/src/priority_list.c",
    "memory_reclaim/src/reclaim_logic.c",
    "memory_predict/src/predict_logic.c",
    "memory_predict/src/trend.c",
    "memory_profile/src/profile_table.c",
    "state_manager/src/state_logic.c",
    "state_manager/src/transition.c",
    "telemetry/src/number_format.c",
    "telemetry/src/record.c",
    "telemetry/src/telemetry_crc.c",
    "tts_decoder/src/tts_logic.c",
    "tts_decoder/src/wav_parser.c",
)
PURE_MAY_INCLUDE = {"esp_attr.h", "esp_err.h"}
C_LIBRARY = {
    "assert.h",
    "ctype.h",
    "inttypes.h",
    "limits.h",
    "stdarg.h",
    "stdatomic.h",
    "stdbool.h",
    "stddef.h",
    "stdint.h",
    "stdio.h",
    "stdlib.h",
    "string.h",
}


def sources(*patterns: str) -> list[Path]:
    """Files that match the patterns, in the components, in main, and in the examples' main."""
    return sorted(path for folder in (COMPONENTS, *MAINS) for p in patterns for path in folder.rglob(p))


def name_of(path: Path) -> str:
    return path.relative_to(FIRMWARE_DIR).as_posix()


def without_comments(text: str) -> str:
    return re.sub(r"/\*.*?\*/|//[^\n]*", " ", text, flags=re.S)


def includes(path: Path) -> list[str]:
    text = without_comments(path.read_text(encoding="utf-8"))
    return re.findall(r"^[ \t]*#[ \t]*include[ \t]*[<\"]([^>\"]+)[>\"]", text, re.M)


def project_headers() -> dict[str, Path]:
    """Map of header name to file. Header names must be unique, so that the order of include paths does not matter."""
    found: dict[str, Path] = {}
    for path in sources("*.h"):
        assert path.name not in found, f"{name_of(path)} and {name_of(found[path.name])} have the same name"
        found[path.name] = path
    return found


def included_by_all_ways(start: Path) -> Iterator[tuple[Path, str]]:
    """Headers outside the project that `start` includes directly or through project headers, each with the file that
    includes it."""
    headers = project_headers()
    seen: set[Path] = set()
    todo = [start]
    while todo:
        path = todo.pop()
        if path in seen:
            continue
        seen.add(path)
        for header in includes(path):
            if header in headers:
                todo.append(headers[header])
            else:
                yield path, header


def test_no_component_includes_anything_of_the_host_build() -> None:
    # firmware/native/include holds ESP-IDF's headers; the host build's own are included by path (kernel/task.h).
    own = {path.relative_to(NATIVE).as_posix() for path in NATIVE.rglob("*.h")}
    assert "kernel/task.h" in own, "the host build's headers have moved: update this test"
    for path in sources("*.c", "*.h"):
        for header in includes(path):
            assert "native" not in header, f"{name_of(path)} includes {header}"
            assert header not in own, f"{name_of(path)} includes {header} of the host build"


def test_no_component_asks_whether_it_is_on_the_host() -> None:
    question = re.compile(r"\b(__linux__|__APPLE__|__x86_64__|__LP64__|\w*IDF_TARGET_LINUX|\w*NATIVE\w*)\b")
    for path in sources("*.c", "*.h", "CMakeLists.txt", "Kconfig*", "*.cmake"):
        text = path.read_text(encoding="utf-8")
        found = question.search(without_comments(text) if path.suffix in (".c", ".h") else text)
        assert found is None, f"{name_of(path)} contains {found[0] if found else ''}"


@pytest.mark.parametrize("name", PURE)
def test_pure_files_include_no_idf_header_but_error_codes_and_attributes(name: str) -> None:
    for path, header in included_by_all_ways(COMPONENTS / name):
        assert header in C_LIBRARY | PURE_MAY_INCLUDE, (
            f"{name} is pure, but {name_of(path)} includes {header}"
        )


def test_files_compiled_alone_by_tests_are_listed_as_pure() -> None:
    folders = "|".join(path.name for path in COMPONENTS.iterdir())
    named = re.compile(rf"\"((?:{folders})/[\w/]+\.c)\"")
    for module in sorted((PROJECT_ROOT / "tests").rglob("test_*.py")):
        text = module.read_text(encoding="utf-8")
        if "c_build" in text and "fakes" not in text:
            unlisted = sorted(set(named.findall(text)) - set(PURE))
            assert not unlisted, f"{module.name} compiles {unlisted}: add them to PURE in this file"


def test_file_that_uses_a_config_option_includes_sdkconfig() -> None:
    """Without sdkconfig.h the code still compiles, but the preprocessor treats every option as undefined."""
    for path in sources("*.c", "*.h"):
        text = without_comments(path.read_text(encoding="utf-8"))
        # options in macro definitions do not count: a macro is expanded in the file that uses it
        if path.suffix == ".h":
            text = re.sub(r"^[ \t]*#[ \t]*define(\\\n|[^\n])*", "", text, flags=re.M)
        uses = re.search(r"\bCONFIG_[A-Z]\w*", text)
        if uses:
            assert "sdkconfig.h" in includes(path), f"{name_of(path)} uses {uses[0]} without sdkconfig.h"


def test_every_source_is_built() -> None:
    for script in sources("CMakeLists.txt"):
        text = script.read_text(encoding="utf-8")
        named = set(re.findall(r"\"([\w/]+\.c)\"", text))
        there = {path.relative_to(script.parent).as_posix() for path in script.parent.rglob("*.c")}
        assert named == there, (
            f"{name_of(script)}: named {sorted(named - there)}, not named {sorted(there - named)}"
        )


def test_every_folder_in_components_is_a_component() -> None:
    for folder in COMPONENTS.iterdir():
        assert (folder / "CMakeLists.txt").is_file(), (
            f"{name_of(folder)} is not a component: it has no CMakeLists.txt"
        )


def test_requirements_do_not_depend_on_the_configuration() -> None:
    """ESP-IDF evaluates REQUIRES before the configuration exists, when no CONFIG_ option is set."""
    for script in sources("CMakeLists.txt"):
        text = re.sub(r"#[^\n]*", "", script.read_text(encoding="utf-8"))
        calls = re.findall(r"idf_component_register\(([^)]*)\)", text)
        asked = {tuple(re.findall(r"(?:PRIV_)?REQUIRES[^A-Z]*", call)) for call in calls}
        stripped = {tuple(" ".join(part.split()) for part in parts) for parts in asked}
        assert len(stripped) == 1, (
            f"{name_of(script)}: the calls of idf_component_register differ: {stripped}"
        )
        for block in re.findall(r"if\([^)]*CONFIG_.*?endif\(\)", text, re.S):
            assert not re.search(r"set\(\w*requires", block, re.I), (
                f"{name_of(script)} sets requirements under CONFIG_"
            )


def cycle_in(graph: dict[str, set[str]]) -> str:
    """Names on one of the cycles, joined by arrows; empty if there is no cycle."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return " -> ".join(reversed(error.args[1]))
    return ""


def test_no_include_cycle_among_the_components_files() -> None:
    headers = project_headers()
    graph = {
        name_of(path): {name_of(headers[header]) for header in includes(path) if header in headers}
        for path in sources("*.c", "*.h")
    }
    assert all(graph[name_of(folder / "main.c")] for folder in MAINS), (
        "the test found no #include of a component's header"
    )
    assert cycle_in(graph) == ""


def requirements(component: Path) -> set[str]:
    """Components of this project that a component requires, publicly or privately."""
    text = re.sub(r"#[^\n]*", "", (component / "CMakeLists.txt").read_text(encoding="utf-8"))
    words = set(re.findall(r"[\w-]+", " ".join(re.findall(r"(?:REQUIRES|set\(requires)([^)]*)", text))))
    return {path.name for path in COMPONENTS.iterdir() if path.name in words} - {component.name}


def all_requirements(name: str) -> set[str]:
    """Components of this project that a component needs in a build, without itself."""
    needed: set[str] = set()
    todo = requirements(COMPONENTS / name)
    while todo:
        needed |= todo
        todo = {more for one in todo for more in requirements(COMPONENTS / one)} - needed
    return needed


def test_no_cycle_among_the_components_requirements() -> None:
    graph = {path.name: requirements(path) for path in COMPONENTS.iterdir()}
    assert "state_manager" in graph["hil_console"], "the test found no REQUIRES in the components"
    assert cycle_in(graph) == ""


def test_cycle_is_named() -> None:
    assert cycle_in({"a": {"b"}, "b": {"c"}, "c": {"b"}}) in ("b -> c -> b", "c -> b -> c")


@pytest.mark.parametrize("header", sorted(COMPONENTS.glob("*/include/*.h")), ids=lambda path: path.name)
def test_public_header_compiles_alone(header: Path, tmp_path: Path) -> None:
    """Compiles a header with only its component's headers and ESP-IDF on the include path."""
    (tmp_path / "sdkconfig.h").write_text("#pragma once\n")
    unit = tmp_path / "unit.c"
    unit.write_text(f'#include "{header.name}"\n')
    paths = [f"-I{folder}" for folder in (header.parent, NATIVE / "include", tmp_path)]
    done = subprocess.run(
        [compiler(), "-std=gnu17", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", *paths, str(unit)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
