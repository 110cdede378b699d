"""Checks the layers of firmware/native: a file calls only its own layer and the layers below, and no calls form a
cycle.

The test reads the symbols of the compiled objects, so it also finds calls through ESP-IDF's headers.
"""

from __future__ import annotations

import re
import subprocess
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.support.native_board import build_runtime_test
from tests.support.native_build import NATIVE

LAYERS = ("heap", "kernel", "chip", "idf", "drivers")
"""Layers from the bottom up."""

IS_LIBC = {"__assert_fail"}
"""Functions of the C library that the host build replaces (idf/panic.c): a call to them does not count."""


@pytest.fixture(scope="module")
def calls() -> dict[str, set[str]]:
    """Map of each `layer/file` to the files that it calls."""
    build = build_runtime_test().parent
    objects = {}
    for source in (path for name in LAYERS for path in (NATIVE / name).glob("*.c")):
        name = f"{source.parent.name}/{source.stem}"
        [objects[name]] = [
            path
            for path in build.rglob(f"{source.name}.o")
            if path.parent.name in (source.parent.name, "heap_model.dir", "heap_model_objects.dir")
        ]
    defined: dict[str, str] = {}
    wanted: dict[str, set[str]] = {}
    for name, path in objects.items():
        wanted[name] = set()
        for kind, symbol in symbols(path):
            if kind == "U":
                wanted[name].add(symbol)
            elif kind.isupper():
                defined[symbol] = name
    return {
        name: {defined[symbol] for symbol in found - IS_LIBC if symbol in defined} - {name}
        for name, found in wanted.items()
    }


def symbols(path: Path) -> list[tuple[str, str]]:
    done = subprocess.run(["nm", str(path)], capture_output=True, text=True, check=True)
    return re.findall(r"^[0-9a-f ]+ ([A-Za-z]) (\S+)$", done.stdout, re.M)


def layer(name: str) -> int:
    return LAYERS.index(name.partition("/")[0])


def test_no_file_calls_a_layer_above_its_own(calls: dict[str, set[str]]) -> None:
    upward = [
        f"{caller} calls {callee}"
        for caller, callees in calls.items()
        for callee in callees
        if layer(callee) > layer(caller)
    ]
    assert not upward, "\n".join(sorted(upward))


def test_no_call_cycle_among_the_files(calls: dict[str, set[str]]) -> None:
    try:
        TopologicalSorter(calls).prepare()
    except CycleError as error:
        pytest.fail(" calls ".join(reversed(error.args[1])))
