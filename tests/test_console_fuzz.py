"""The console's parser under libFuzzer with AddressSanitizer and UBSan, where clang has it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from hotpin_hil.paths import FIRMWARE_DIR, PROJECT_ROOT

COMPONENTS = FIRMWARE_DIR / "components"
CONSOLE = COMPONENTS / "hil_console"
SOURCES = [
    PROJECT_ROOT / "tests" / "fuzz" / "console_parser_fuzz.c",
    CONSOLE / "console_parser.c",
    CONSOLE / "console_text.c",
    COMPONENTS / "telemetry" / "src" / "telemetry_crc.c",
]
RUNS = os.environ.get("HOTPIN_FUZZ_RUNS", "20000")
"""Inputs to try; a million take about a minute on an idle core."""
RUN_BUDGET_S = 600

SEEDS = [
    b"@1 heap.hold caps=DMA,8BIT leave=20483 block=1024\n",
    b'@12 mem.log context="a \\"b\\" c"*1234\nx@3 bench.run what=log n=5\n',
    b"@4 tts.write data=QUJDRA==\nmem.place caps=SPIRAM sizes=1,22,333\r\n",
    b'"free":1,"regions":[{"caps":"DMA,8BIT"}]',
]


def test_parser_survives_any_bytes(tmp_path: Path) -> None:
    clang = shutil.which("clang")
    if clang is None:
        pytest.skip("clang is not installed: libFuzzer is part of it")
    program = tmp_path / "fuzz"
    flags = ["-g", "-O1", "-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=all"]
    includes = [f"-I{CONSOLE}", f"-I{COMPONENTS / 'telemetry' / 'include'}"]
    built = subprocess.run(
        [clang, *flags, *includes, *map(str, SOURCES), "-o", str(program)],
        capture_output=True,
        text=True,
        check=False,
    )
    if "libclang_rt.fuzzer" in built.stderr:
        pytest.skip("this clang has no libFuzzer")
    assert built.returncode == 0, built.stderr
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for number, seed in enumerate(SEEDS):
        (corpus / str(number)).write_bytes(seed)
    done = subprocess.run(
        [program, f"-runs={RUNS}", "-max_len=600", "-seed=1", "-verbosity=0", corpus],
        cwd=tmp_path,
        capture_output=True,
        timeout=RUN_BUDGET_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode(errors="replace")[-4000:]
