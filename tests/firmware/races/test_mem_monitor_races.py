"""The monitor task and the log queue with many tasks at once, under ThreadSanitizer and AddressSanitizer.

The component's own files run on FreeRTOS calls made of pthreads (tests/fakes/), with real parallelism: 1,000
starts and stops by two tasks while three others log, with a UART that is sometimes full and task creation that
sometimes fails.
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
        for name in ("alloc_failed", "log", "logic", "monitor", "render", "ring")
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
def test_tasks_that_log_start_and_stop_at_once(sanitizer: str, tmp_path: Path) -> None:
    run_threads(build_threads(tmp_path, sanitizer, SOURCES, INCLUDES))
