"""`check_headers.py` finds each kind of error that it checks for.

The script runs on a small sample project and a few fake ESP-IDF headers.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hotpin_hil.paths import FIRMWARE_DIR

pytestmark = pytest.mark.skipif(
    not any(map(shutil.which, ("clang", "xtensa-lx106-elf-gcc"))) or shutil.which("cmake") is None,
    reason="needs cmake, and clang or xtensa-lx106-elf-gcc",
)

IDF = {
    "tools/cmake/version.cmake": "set(IDF_VERSION_MAJOR 5)\nset(IDF_VERSION_MINOR 4)\nset(IDF_VERSION_PATCH 9)\n",
    "tools/cmake/utilities.cmake": "",
    "Kconfig": """\
        mainmenu "IDF"
            config RADIO
                bool "Radio"
            config RADIO_POWER
                int "Power"
                range 1 9
                default 3
                depends on RADIO
            choice SPEED
                prompt "Speed"
                config SPEED_LOW
                    bool "low"
                config SPEED_HIGH
                    bool "high"
            endchoice
            osource "$COMPONENT_KCONFIGS_PROJBUILD_SOURCE_FILE"
            osource "$COMPONENT_KCONFIGS_SOURCE_FILE"
        """,
    "sdkconfig.rename": "CONFIG_WIRELESS CONFIG_RADIO\n",
    "components/log/CMakeLists.txt": 'idf_component_register(INCLUDE_DIRS "include")',
    "components/log/include/log.h": """\
        #pragma once
        #include <stdint.h>
        void log_line(const char *format, ...) __attribute__((format(printf, 1, 2)));
        """,
    "components/radio/CMakeLists.txt": 'idf_component_register(INCLUDE_DIRS "include" REQUIRES waves)',
    "components/radio/include/radio.h": '#pragma once\n#include "waves.h"\nint radio_send(wave_t wave);\n',
    "components/waves/CMakeLists.txt": 'idf_component_register(INCLUDE_DIRS "include")',
    "components/waves/include/waves.h": "#pragma once\ntypedef struct { int length; } wave_t;\n",
}
NEWLIB = {
    "stdint.h": "#pragma once\ntypedef __INT32_TYPE__ int32_t;\ntypedef __UINT32_TYPE__ uint32_t;\n",
    "sys/reent.h": "extern struct _reent *const _global_impure_ptr;\n",
}
PROJECT = {
    "CMakeLists.txt": 'if(HOTPIN_BUILD STREQUAL "hil")\n    set(hotpin_defaults sdkconfig.defaults)\nendif()\n',
    "sdkconfig.defaults": "CONFIG_RADIO=y\nCONFIG_RADIO_POWER=5\nCONFIG_SPEED_HIGH=y\n",
    "main/CMakeLists.txt": 'idf_component_register(SRCS "main.c" PRIV_REQUIRES caller)',
    "main/main.c": '#include "caller.h"\nvoid app_main(void);\nvoid app_main(void)\n{\n    caller_call(1);\n}\n'
    '#include "commit.h"\n',
    "components/caller/CMakeLists.txt": """\
        idf_component_register(SRCS "caller.c" INCLUDE_DIRS "include" PRIV_REQUIRES radio)
        """,
    "components/caller/include/caller.h": "#pragma once\nvoid caller_call(int length);\n",
    "components/caller/commit.h.in": '#define COMMIT "@COMMIT@"\n',
    "components/caller/caller.c": """\
        #include "caller.h"
        #include "log.h"
        #include "radio.h"
        #include "sdkconfig.h"

        void caller_call(int length)
        {
            uint32_t power = CONFIG_RADIO_POWER;
            log_line("%lu: %d", power, radio_send((wave_t){.length = length}));
        }
        """,
}


class Bench:
    """Sample project, fake ESP-IDF, and the check."""

    def __init__(self, folder: Path) -> None:
        self.firmware = folder / "firmware"
        self.idf = folder / "idf"
        self.newlib = folder / "newlib"
        for root, files in ((self.firmware, PROJECT), (self.idf, IDF), (self.newlib, NEWLIB)):
            for name, text in files.items():
                write(root / name, text)
        shutil.copytree(FIRMWARE_DIR / "tools", self.firmware / "tools")
        shutil.copytree(FIRMWARE_DIR / "native" / "tools", self.firmware / "native" / "tools")

    def change(self, name: str, old: str, new: str) -> None:
        path = self.firmware / name
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new), encoding="utf-8")

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        tool = self.firmware / "tools" / "check_headers.py"
        command = [
            sys.executable,
            str(tool),
            "--idf",
            str(self.idf),
            "--newlib",
            str(self.newlib),
            *arguments,
        ]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)

    def problems(self) -> list[str]:
        done = self.run()
        assert done.returncode == 1, done.stdout + done.stderr
        return [line for line in done.stdout.splitlines() if line.startswith("firmware/")]


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = text.splitlines(keepends=True)
    indent = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
    path.write_text("".join(line[indent:] if line.strip() else line for line in lines), encoding="utf-8")


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    pytest.importorskip("esp_kconfiglib")
    return Bench(tmp_path)


def test_a_good_project_is_clean(bench: Bench) -> None:
    done = bench.run()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ESP-IDF 5.4.9: 3 files, 0 problems, 0 files not checked" in done.stdout


def test_static_memory_is_listed_per_component(bench: Bench) -> None:
    bench.change("components/caller/caller.c", "#include", "char g_caller_buffer[1234];\n#include")
    done = bench.run("--static")
    if "gcc-xtensa-lx106" in done.stderr:
        pytest.skip("gcc-xtensa-lx106 is not installed")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "caller: 1,234 B internal RAM" in done.stdout


def test_a_component_missing_in_requires_is_named(bench: Bench) -> None:
    bench.change("components/caller/CMakeLists.txt", "PRIV_REQUIRES radio", "")
    (problem,) = bench.problems()
    assert problem.startswith(
        "firmware/components/caller/caller.c:3: radio.h not found: it belongs to radio; add that to"
    )


def test_a_public_header_needs_public_requires(bench: Bench) -> None:
    bench.change("components/caller/include/caller.h", "#pragma once", '#pragma once\n#include "radio.h"')
    (problem,) = bench.problems()
    assert "caller.h:2: radio.h not found" in problem
    assert "add that to REQUIRES in firmware/components/caller/CMakeLists.txt" in problem


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("%lu", "%u", "caller.c:9: format"),  # on the chip, uint32_t is unsigned long
        ("radio_send(", "radio_transmit(", "radio_transmit"),
        (".length", ".width", "width"),
        ("CONFIG_RADIO_POWER", "CONFIG_RADIO_FORCE", "CONFIG_RADIO_FORCE"),
    ],
)
def test_use_that_contradicts_the_idf_headers_is_found(
    bench: Bench, old: str, new: str, expected: str
) -> None:
    bench.change("components/caller/caller.c", old, new)
    assert any(expected in problem for problem in bench.problems())


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("CONFIG_RADIO=y", "CONFIG_RADIO=y\nCONFIG_RADAR=y", "sdkconfig.defaults:2: CONFIG_RADAR: neither"),
        ("CONFIG_RADIO=y", "CONFIG_RADIO=y\nCONFIG_WIRELESS=y", "calls it CONFIG_RADIO"),
        ("POWER=5", "POWER=50", "CONFIG_RADIO_POWER=50 has no effect in ESP-IDF 5.4.9: the option is '"),
        (
            "CONFIG_SPEED_HIGH=y",
            "CONFIG_SPEED_HIGH=y\nCONFIG_SPEED_LOW=y",
            None,
        ),  # if several options of a Kconfig choice are set, the last one is used
    ],
)
def test_sdkconfig_options_without_effect_are_found(
    bench: Bench, old: str, new: str, expected: str | None
) -> None:
    bench.change("sdkconfig.defaults", old, new)
    if expected is None:
        assert bench.run().returncode == 0
    else:
        assert any(expected in problem for problem in bench.problems())


def test_requires_under_an_option_is_found(bench: Bench) -> None:
    bench.change(
        "components/caller/CMakeLists.txt",
        'idf_component_register(SRCS "caller.c" INCLUDE_DIRS "include" PRIV_REQUIRES radio)',
        "if(CONFIG_RADIO)\n    set(needs radio)\nendif()\n"
        'idf_component_register(SRCS "caller.c" INCLUDE_DIRS "include" PRIV_REQUIRES ${needs})',
    )
    assert any("REQUIRES depends on the configuration" in problem for problem in bench.problems())


def test_file_that_cannot_be_checked_is_listed_with_the_reason(bench: Bench) -> None:
    write(bench.firmware / "components/caller/idf_component.yml", 'dependencies:\n  vendor/lens: ">=1.0"\n')
    bench.change("components/caller/caller.c", '#include "radio.h"', '#include "lens.h"\n#include "radio.h"')
    done = bench.run()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "not checked: firmware/components/caller/caller.c: lens is missing" in done.stdout


def test_a_missing_prerequisite_is_named_with_its_remedy(bench: Bench) -> None:
    shutil.rmtree(bench.newlib)
    done = bench.run()
    assert done.returncode == 2
    assert "apt install libnewlib-dev" in done.stderr
    (bench.idf / "tools" / "cmake" / "version.cmake").unlink()
    assert "is not a checkout of ESP-IDF" in bench.run().stderr
