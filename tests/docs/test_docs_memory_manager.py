"""Compiles the C code of docs/memory-manager.md and of the components' READMEs against the components' headers."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from hotpin_hil.paths import FIRMWARE_DIR, PROJECT_ROOT
from tests.architecture.test_firmware_layering import all_requirements
from tests.support.c_build import compiler

COMPONENTS = FIRMWARE_DIR / "components"
PAGE = PROJECT_ROOT / "docs" / "memory-manager.md"
PAGES = (PAGE, *sorted(COMPONENTS.glob("*/README.md")))
HEADERS = sorted(COMPONENTS.glob("*/include/*.h"))
INCLUDES = ("inttypes.h", "stdio.h", "esp_err.h", "esp_heap_caps.h", "esp_log.h", "nvs_flash.h", "freertos/FreeRTOS.h",
            "freertos/task.h", *(path.name for path in HEADERS))  # fmt: skip
OF_THE_READER = {
    "s_worker": "TaskHandle_t s_worker;",
    "task": "TaskHandle_t task;",
    "upload": "void upload(void *argument);",
    "on_memory_warning": "void on_memory_warning(const memory_warning_t *warning);",
    "on_memory_predicted": "void on_memory_predicted(const memory_prediction_t *prediction);",
    "drop_cache": "void drop_cache(void);",
    "cache_bytes": "uint32_t cache_bytes(void);",
    "reserve_drivers": "bool reserve_drivers(void);",
    "restart_drivers": "esp_err_t restart_drivers(void);",
    "release_drivers": "void release_drivers(void);",
    "other_mode_misses_a_block": "bool other_mode_misses_a_block(void);",
    "samples": "int16_t samples[512];",
    "data": "uint8_t data[1024];",
    "bytes": "size_t bytes;",
    "size": "size_t size;",
    "stream_bytes": "size_t stream_bytes;",
    "on_done": "void on_done(const tts_playback_t *playback, void *context);",
}
"""Names that the code blocks use but do not define: name → declaration."""


def blocks(page: Path) -> list[str]:
    return re.findall(r"^```c\n(.*?)^```$", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


BLOCKS = [
    pytest.param(code, id=f"{page.parent.name}-{i}") for page in PAGES for i, code in enumerate(blocks(page))
]


def unit(code: str) -> str:
    """Turns a code block into a C source file, with its statements in a function."""
    code = re.sub(r"^\s*…$", "", code, flags=re.MULTILINE)
    lines = [f'#include "{name}"' for name in INCLUDES]
    for name, declaration in OF_THE_READER.items():
        if re.search(rf"\b{name}\b", code) and not re.search(rf"^(static )?\w+ {name}\b", code, re.MULTILINE):
            lines.append(declaration)
    has_functions = re.search(r"^\w[^;=]*\)\n\{$", code, re.MULTILINE)
    return "\n".join([*lines, code if has_functions else f"void statements(void)\n{{\n{code}}}", ""])


@pytest.mark.parametrize("code", BLOCKS)
def test_code_compiles(code: str, tmp_path: Path) -> None:
    source = tmp_path / "block.c"
    source.write_text(unit(code), encoding="utf-8")
    folders = [
        FIRMWARE_DIR / "native" / "include",
        PROJECT_ROOT / "tests" / "fakes",
        *{path.parent for path in HEADERS},
    ]
    done = subprocess.run(
        [compiler(), "-std=gnu17", "-Wall", "-Wextra", "-Werror", "-Wno-unused", "-fsyntax-only", str(source)]
        + [f"-I{folder}" for folder in folders],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_folders_that_each_component_needs_are_those_of_the_page() -> None:
    text = PAGE.read_text(encoding="utf-8")
    manager, extensions, alone = re.findall(r"^\| (`memory_.*) \| (.*) \|$", text, re.MULTILINE)
    names = {"memory_manager": set(re.findall(r"`(\w+)`", manager[1]))}
    names |= {
        name: {"memory_manager", *names["memory_manager"]} for name in re.findall(r"`(\w+)`", extensions[0])
    }
    names |= {name: set() for name in re.findall(r"`(\w+)`", alone[0])}
    for folder in COMPONENTS.glob("memory_*"):
        needed = all_requirements(folder.name)
        assert needed <= names[folder.name], f"{folder.name} needs {sorted(needed)}"
        assert folder.name != "memory_manager" or needed == names[folder.name]
        assert f"\n### {folder.name}\n" in text or folder.name == "memory_manager"


def test_code_with_a_wrong_name_does_not_compile(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="memory_manager_begin"):
        test_code_compiles("memory_manager_begin(15000);\n", tmp_path)
