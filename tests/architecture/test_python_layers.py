"""Checks the layers of hotpin_hil: allowed imports, no import cycles, unique class names, no overlong classes.

An import under `if TYPE_CHECKING:` or inside a function counts like any other: both are dependencies.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from functools import cache

import pytest

from hotpin_hil.paths import PROJECT_ROOT

PACKAGE = "hotpin_hil"
SOURCE = PROJECT_ROOT / PACKAGE

LAYERS = (
    ("compat", "printable"),
    ("errors", "paths", "__init__"),
    ("protocol",),
    ("link",),
    ("device", "logs", "symbols"),
    ("analysis",),
    ("boards", "evidence"),
    ("report",),
    ("pytest_plugin", "cli"),
)
"""Layers from the bottom up. A layer imports only layers below it. Packages in the same layer do not import each
other."""
VIRTUAL = "virtual"
VIRTUAL_IMPORTS = {"compat", "errors", "paths", "printable"}
MAY_IMPORT_VIRTUAL = {"boards", "cli"}

ENTRY_POINT = "__main__"
"""Entry point of `python -m hotpin_hil`; counts as part of `cli`."""

CLASS_LINES_MAX = 200
LARGE_CLASSES = {
    "Esp32Cam",
    "Connection",
    "Stub",
    "Device",
    "Console",
    "Channel",
    "HilIdfSerial",
    "HilQemu",
    "Serial",
}
"""Classes that are still too long. Never add classes to this list."""


@cache
def modules() -> dict[str, ast.Module]:
    """Every module of the package, by its dotted name."""
    found = {}
    for path in sorted(SOURCE.rglob("*.py")):
        parts = path.relative_to(PROJECT_ROOT).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 2 else parts)
        found[name] = ast.parse(path.read_text(encoding="utf-8"))
    return found


def imported(name: str, tree: ast.Module) -> set[str]:
    """The modules of the package that a module imports, anywhere in its code."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                found.add(submodule if submodule in modules() else node.module)
        elif isinstance(node, ast.ImportFrom):
            pytest.fail(f"{name}, line {node.lineno}: a relative import; write {PACKAGE}.… instead")
    package = f"{PACKAGE}.__init__"
    found = {package if module == PACKAGE else module for module in found}
    return {module for module in found if module in modules() and module != name}


def wing(module: str) -> str:
    """The subpackage of hotpin_hil that a module belongs to; the entry point belongs to "cli"."""
    first = module.split(".")[1]
    return "cli" if first == ENTRY_POINT else first


def rank(name: str) -> int:
    return next(number for number, wings in enumerate(LAYERS) if name in wings)


def is_allowed(importer: str, used: str) -> bool:
    if importer == used:
        return True
    if importer == VIRTUAL:
        return used in VIRTUAL_IMPORTS
    if used == VIRTUAL:
        return importer in MAY_IMPORT_VIRTUAL
    return rank(used) < rank(importer)


def test_a_layer_imports_only_those_below_it() -> None:
    wrong = [
        f"{name} imports {other}"
        for name, tree in modules().items()
        for other in sorted(imported(name, tree))
        if not is_allowed(wing(name), wing(other))
    ]
    assert wrong == []


def test_diagram_shows_the_imports() -> None:
    """Every edge of the diagram in docs/architecture.md is an import, and every import follows a path of one or more
    edges."""
    text = (PROJECT_ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    diagram = re.findall(r"^```mermaid\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)[0]
    edges = set(re.findall(r"^  (\w+) --> (\w+)$", diagram, re.MULTILINE))
    edges |= set(re.findall(r"^  (\w+) -\. \w+ \.-> (\w+)$", diagram, re.MULTILINE))
    found = {(wing(name), wing(other)) for name, tree in modules().items() for other in imported(name, tree)}
    undrawn = {*LAYERS[0], *LAYERS[1]}
    found = {pair for pair in found if pair[0] != pair[1] and undrawn.isdisjoint(pair)}
    assert edges <= found
    reach = set(edges)
    while more := {(a, d) for a, b in reach for c, d in edges if b == c} - reach:
        reach |= more
    assert found <= reach


def test_no_import_cycle() -> None:
    graph = {name: imported(name, tree) for name, tree in modules().items()}
    cycles = cycles_in(graph)
    assert cycles == []


def cycles_in(graph: dict[str, set[str]]) -> list[list[str]]:
    """Modules on an import cycle.

    Repeatedly removes modules that import none of the remaining modules. The modules left are on a cycle or import a
    module on a cycle.
    """
    left = dict(graph)
    while True:
        settled = [name for name, others in left.items() if not others & left.keys()]
        if not settled:
            # Modules that only import a module on a cycle are not on the cycle.
            while outer := [name for name in left if not any(name in others for others in left.values())]:
                for name in outer:
                    del left[name]
            return [sorted(left)] if left else []
        for name in settled:
            del left[name]


def test_cycle_is_detected() -> None:
    graph = {"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set(), "e": {"a"}}
    assert cycles_in(graph) == [["b", "c"]]


def test_class_names_are_unique() -> None:
    places = defaultdict(list)
    for name, tree in modules().items():
        for node in tree.body:
            if isinstance(node, ast.ClassDef):
                places[node.name].append(name)
    twice = {name: where for name, where in places.items() if len(where) > 1}
    assert twice == {}


def test_no_class_is_too_long() -> None:
    lines = {
        node.name: (node.end_lineno or 0) - node.lineno + 1
        for tree in modules().values()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    }
    large = {name: count for name, count in lines.items() if count > CLASS_LINES_MAX}
    assert {name: count for name, count in large.items() if name not in LARGE_CLASSES} == {}
    assert large.keys() >= LARGE_CLASSES, "remove the classes that are no longer too long from LARGE_CLASSES"


def test_every_module_is_in_a_wing() -> None:
    wings = {name for wings in LAYERS for name in wings} | {VIRTUAL}
    assert {wing(name) for name in modules()} <= wings


@pytest.mark.parametrize("folder", ["tests/model", "tests/mutation", "tests/system"])
def test_tools_end_on_a_signal(folder: str) -> None:
    """A tool must call `run_command`, so that it leaves no process and no copy of the checkout behind after SIGTERM."""
    tools = [
        path for path in (PROJECT_ROOT / folder).rglob("*.py") if '__name__ == "__main__"' in path.read_text()
    ]
    assert tools
    assert [path.name for path in tools if not path.read_text().endswith("    run_command(main)\n")] == []
