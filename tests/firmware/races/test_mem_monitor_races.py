"""Runs the monitor task and the log queue under concurrent use, with ThreadSanitizer and AddressSanitizer.

The component runs on a fake FreeRTOS on top of pthreads (tests/fakes/), so its tasks really run in parallel. Two tasks
start and stop the monitor 1,000 times while three other tasks log. Sometimes the UART is full, or the creation of a
task fails.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from hotpin_hil.paths import FIRMWARE_DIR, PROJECT_ROOT
from tests.support.c_build import COMPONENTS
from tests.support.c_program import build_threads, run_threads

FAKES = PROJECT_ROOT / "tests" / "fakes"
SOURCES = [
    FAKES / "monitor_races.c",
    *(
        COMPONENTS / "memory_manager/src" / f"mem_{name}.c"
        for name in ("alloc_failed", "log", "logic", "monitor", "observe", "render", "ring")
    ),
    *(COMPONENTS / "telemetry/src" / f"{name}.c" for name in ("record", "number_format", "telemetry_crc")),
]
USED = ("common", "memory_manager", "tasks", "telemetry")
INCLUDES = [
    FAKES,
    FIRMWARE_DIR / "native/include",
    *(COMPONENTS / c / d for c in USED for d in ("include", "src")),
]


@pytest.mark.parametrize("sanitizer", ["thread", "address,undefined"])
def test_concurrent_logging_starting_and_stopping(sanitizer: str, tmp_path: Path) -> None:
    run_threads(build_threads(tmp_path, sanitizer, SOURCES, INCLUDES))
