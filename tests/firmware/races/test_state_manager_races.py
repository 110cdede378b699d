"""Runs the state manager under concurrent use, with ThreadSanitizer and AddressSanitizer.

The component runs on a fake FreeRTOS on top of pthreads (tests/fakes/), so its tasks really run in parallel. Fake
drivers check their caller and sometimes fail.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from hotpin_hil.paths import FIRMWARE_DIR, PROJECT_ROOT
from tests.support.c_build import COMPONENTS
from tests.support.c_program import build_threads, run_threads

FAKES = PROJECT_ROOT / "tests" / "fakes"
USED = (
    "audio_driver",
    "camera_controller",
    "common",
    "memory_manager",
    "stt_pipeline",
    "tasks",
    "telemetry",
    "tts_decoder",
)
INCLUDES = [
    FAKES,
    FIRMWARE_DIR / "native/include",
    COMPONENTS / "state_manager/include",
    COMPONENTS / "state_manager/src",
    *(COMPONENTS / component / "include" for component in USED),
]
SOURCES = [
    FAKES / "state_races.c",
    *(
        COMPONENTS / "state_manager/src" / f"{name}.c"
        for name in ("mode_admission", "mode_steps", "state_logic", "state_manager", "transition", "watch")
    ),
]


@pytest.mark.parametrize("sanitizer", ["thread", "address,undefined"])
def test_concurrent_requests_with_failing_drivers(sanitizer: str, tmp_path: Path) -> None:
    program = build_threads(tmp_path, sanitizer, SOURCES, INCLUDES)
    for seed in (1, 2, 3):
        run_threads(program, str(seed))
