"""The console's parser under libFuzzer with AddressSanitizer and UBSan, where clang has it."""

from __future__ import annotations

from pathlib import Path

from hotpin_hil.paths import PROJECT_ROOT
from tests.c_build import COMPONENTS
from tests.c_program import fuzz

CONSOLE = COMPONENTS / "hil_console" / "src" / "console"
SOURCES = [
    PROJECT_ROOT / "tests" / "fuzz" / "console_parser_fuzz.c",
    CONSOLE / "console_parser.c",
    CONSOLE / "console_text.c",
    COMPONENTS / "telemetry" / "src" / "telemetry_crc.c",
]
SEEDS = [
    b"@1 heap.hold caps=DMA,8BIT leave=20483 block=1024\n",
    b'@12 mem.log context="a \\"b\\" c"*1234\nx@3 bench.run what=log n=5\n',
    b"@4 tts.write data=QUJDRA==\nmem.place caps=SPIRAM sizes=1,22,333\r\n",
    b'"free":1,"regions":[{"caps":"DMA,8BIT"}]',
]


def test_parser_survives_any_bytes(tmp_path: Path) -> None:
    fuzz(tmp_path, SOURCES, [CONSOLE, COMPONENTS / "telemetry" / "include"], SEEDS)
