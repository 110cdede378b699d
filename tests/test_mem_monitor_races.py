"""The monitor task and the log queue with many tasks at once, under ThreadSanitizer and AddressSanitizer.

The component's own files run on FreeRTOS calls made of pthreads (c_fakes/), with real parallelism: 1,000
starts and stops by two tasks while three others log, with the UART full and tasks not to be had at times.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.c_build import COMPONENTS, ESP_ERR_STUB, compiler

FAKES = Path(__file__).parent / "c_fakes"
SOURCES = [
    FAKES / "monitor_races.c",
    *(
        COMPONENTS / "memory_manager/src" / f"mem_{name}.c"
        for name in ("alloc_failed", "log", "logic", "monitor", "render", "ring")
    ),
    *(COMPONENTS / "telemetry/src" / f"{name}.c" for name in ("record", "number_format", "telemetry_crc")),
]
INCLUDES = [FAKES, *(COMPONENTS / c / d for c in ("memory_manager", "telemetry") for d in ("include", "src"))]
RUN_BUDGET_S = 120
"""A run takes 2 s on an idle machine; a deadlock takes for ever."""


@pytest.mark.parametrize("sanitizer", ["thread", "address,undefined"])
def test_tasks_that_log_start_and_stop_at_once(sanitizer: str, tmp_path: Path) -> None:
    (tmp_path / "esp_err.h").write_text(ESP_ERR_STUB)
    program = tmp_path / "monitor_races"
    flags = ["-std=gnu17", "-g", "-O1", "-Wall", "-Wextra", "-Werror", "-pthread", f"-fsanitize={sanitizer}"]
    includes = [f"-I{directory}" for directory in (*INCLUDES, tmp_path)]
    built = subprocess.run(
        [compiler(), *flags, *includes, *map(str, SOURCES), "-o", str(program)],
        capture_output=True,
        text=True,
        check=False,
    )
    if "cannot find" in built.stderr and "san" in built.stderr:
        pytest.skip(f"this compiler has no -fsanitize={sanitizer}")
    assert built.returncode == 0, built.stderr
    done = subprocess.run([str(program)], capture_output=True, text=True, check=False, timeout=RUN_BUDGET_S)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("ok: ")
