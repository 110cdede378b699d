"""The state manager with many tasks at once, under ThreadSanitizer and AddressSanitizer.

The component's own files run on FreeRTOS calls made of pthreads (c_fakes/state), with real parallelism, above
drivers that check who calls them, and fail now and then.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.c_build import COMPONENTS, ESP_ERR_STUB, compiler

FAKES = Path(__file__).parent / "c_fakes/state"
ESP_ERR = f"""{ESP_ERR_STUB}
#define ESP_ERR_TIMEOUT 0x107
const char *esp_err_to_name(esp_err_t err);
"""
USED = ("audio_driver", "camera_controller", "memory_manager", "stt_pipeline", "telemetry", "tts_decoder")
INCLUDES = [
    FAKES,
    FAKES.parent,
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
RUN_BUDGET_S = 120
"""A run takes 3 s on an idle machine; a deadlock takes for ever."""


@pytest.mark.parametrize("sanitizer", ["thread", "address,undefined"])
def test_requests_from_many_tasks_with_failing_drivers(sanitizer: str, tmp_path: Path) -> None:
    (tmp_path / "esp_err.h").write_text(ESP_ERR)
    program = tmp_path / "state_races"
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
    for seed in (1, 2, 3):
        done = subprocess.run(
            [str(program), str(seed)], capture_output=True, text=True, check=False, timeout=RUN_BUDGET_S
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout.startswith("ok: ")
