"""Repeats the tests of the pure C files with AddressSanitizer, which is preloaded into a second Python process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hotpin_hil.paths import PROJECT_ROOT
from tests.support.c_build import compiler

FILES = [
    "test_line_editor.py",
    "test_mem_crash.py",
    "test_mem_history.py",
    "test_mem_logic.py",
    "test_mem_render.py",
    "test_profile_table.py",
    "test_telemetry_c.py",
    "test_transition_engine.py",
    "test_wav_parser.py",
    "test_drivers_logic.py",
    "test_trend.py",
    "test_adapt_logic.py",
]
PLUGINS_NOT_NEEDED = ["pytest_embedded", "hotpin_hil", "allure_pytest", "xdist"]
RUN_BUDGET_S = 300


def test_pure_c_files_under_address_sanitizer() -> None:
    if os.environ.get("HOTPIN_C_SANITIZE"):
        pytest.skip("these tests already run under a sanitizer")
    found = subprocess.run(
        [compiler(), "-print-file-name=libasan.so"], capture_output=True, text=True, check=False
    )
    library = Path(found.stdout.strip())
    if not library.is_absolute() or not library.exists():
        pytest.skip("this compiler has no libasan.so to start Python with")
    environment = {
        **os.environ,
        "HOTPIN_C_SANITIZE": "address,undefined",
        "LD_PRELOAD": str(library),
        "ASAN_OPTIONS": "detect_leaks=0",  # Python itself leaks memory
    }
    # Without capture, which would hide a sanitizer's report. Without plugins, because some start processes, and thus
    # without the root's conftest.py, which needs plugins.
    options = [
        "-q",
        "-s",
        "--confcutdir=tests",
        "-p",
        "no:cacheprovider",
        "-o",
        "addopts=--import-mode=importlib",
    ]
    for plugin in PLUGINS_NOT_NEEDED:
        options += ["-p", f"no:{plugin}"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *(f"tests/firmware/logic/{name}" for name in FILES)],
        cwd=PROJECT_ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=RUN_BUDGET_S,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
