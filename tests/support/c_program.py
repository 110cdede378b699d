"""Builds C programs from firmware sources with a sanitizer, and runs libFuzzer on parsers."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest

from hotpin_hil.virtual import profile as profiles
from tests.support.c_build import COVERAGE, compiler

RUN_BUDGET_S = 120
"""Timeout of a run in seconds, to end a deadlock; a run takes 2 to 3 s on an idle machine."""

FUZZ_RUNS = os.environ.get("HOTPIN_FUZZ_RUNS", "20000")
"""Number of inputs of a fuzz test; a million inputs take about a minute on an idle core."""
FUZZ_BUDGET_S = 600


def build_threads(folder: Path, sanitizer: str, sources: Sequence[Path], includes: Sequence[Path]) -> Path:
    """Builds a program whose tasks are pthreads; skips the test if the compiler does not have the sanitizer."""
    flags = ["-std=gnu17", "-O1", "-Wall", "-Wextra", "-Werror", "-pthread", f"-fsanitize={sanitizer}"]
    return _build([compiler(), *flags, *COVERAGE], sources, includes, folder / "races")


def build_driver(folder: Path, sources: Sequence[Path], includes: Sequence[Path], *flags: str) -> Path:
    """Builds a test program for firmware sources, usually with the heap model; undefined behaviour ends the program."""
    options = ["-std=gnu17", "-O1", "-Wall", "-Wextra", "-Werror", "-pthread"]
    sanitize = ["-fsanitize=undefined", "-fno-sanitize-recover=all"]
    return _build([compiler(), *options, *sanitize, *COVERAGE, *flags], sources, includes, folder / "driver")


def run_driver(program: Path, *arguments: object) -> dict[str, int]:
    """Runs a self-checking test program with the default profile's memory; returns the NAME=NUMBER pairs that it
    prints."""
    done = subprocess.run(
        [str(program), *map(str, arguments)],
        input="".join(f"{line}\n" for line in profiles.load().boot_lines()),
        capture_output=True,
        text=True,
        check=False,
        timeout=RUN_BUDGET_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return {name: int(value) for name, value in re.findall(r"(\w+)=(\d+)", done.stdout)}


def run_threads(program: Path, *arguments: str) -> None:
    """Runs a program that checks itself; it must exit with 0 and print ok."""
    done = subprocess.run(
        [program, *arguments], capture_output=True, text=True, check=False, timeout=RUN_BUDGET_S
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("ok: ")


def fuzz(folder: Path, sources: Sequence[Path], includes: Sequence[Path], seeds: Iterable[bytes]) -> None:
    """Fuzzes a parser with FUZZ_RUNS inputs, derived from `seeds`, under ASan and UBSan; skips the test without
    libFuzzer."""
    clang = shutil.which("clang")
    if clang is None:
        pytest.skip("clang is not installed: libFuzzer is part of it")
    flags = ["-O1", "-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=all"]
    program = _build([clang, *flags], sources, includes, folder / "fuzz")
    corpus = folder / "corpus"
    corpus.mkdir()
    for number, seed in enumerate(seeds):
        (corpus / str(number)).write_bytes(seed)
    done = subprocess.run(
        [program, f"-runs={FUZZ_RUNS}", "-max_len=600", "-seed=1", "-verbosity=0", corpus],
        cwd=folder,
        capture_output=True,
        timeout=FUZZ_BUDGET_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode(errors="replace")[-4000:]


def _build(command: Sequence[str], sources: Sequence[Path], includes: Sequence[Path], program: Path) -> Path:
    built = subprocess.run(
        [
            *command,
            "-g",
            *(f"-I{include}" for include in includes),
            *map(str, sources),
            "-o",
            str(program),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if _lacks_sanitizer(built.stderr):
        pytest.skip(f"no library for {' '.join(command)}")
    assert built.returncode == 0, built.stderr
    return program


def _lacks_sanitizer(errors: str) -> bool:
    return "libclang_rt" in errors or ("cannot find" in errors and "san" in errors)
