"""Fuzzes the console's parser and line editor with libFuzzer, AddressSanitizer and UBSan, if clang is installed."""

from __future__ import annotations

from pathlib import Path

from hotpin_hil.paths import PROJECT_ROOT
from tests.support.c_build import COMPONENTS
from tests.support.c_program import fuzz

CONSOLE = COMPONENTS / "hil_console" / "src" / "console"
PARSER = [
    PROJECT_ROOT / "tests" / "firmware" / "fuzz" / "sources" / "console_parser_fuzz.c",
    CONSOLE / "console_parser.c",
    COMPONENTS / "telemetry" / "src" / "telemetry_crc.c",
]
EDITOR = [
    PROJECT_ROOT / "tests" / "firmware" / "fuzz" / "sources" / "line_editor_fuzz.c",
    *PARSER[1:],
    *(CONSOLE / name for name in ("console_complete.c", "console_text.c", "line_editor.c")),
]
SEEDS = [
    b"@1 heap.hold caps=DMA,8BIT leave=20483 block=1024\n",
    b'@12 mem.log context="a \\"b\\" c"*1234\nx@3 bench.run what=log n=5\n',
    b"@4 tts.write data=QUJDRA==\nmem.place caps=SPIRAM sizes=1,22,333\r\n",
]
KEYS = [
    b"x\x1b[0nmem.s\t\x15heap.hold ca\tDMA\n\x1b[A\x1b[D\x1b[3~!\r\n",
    b"first\nsecond\nhalf\x1b[A\x10\x1b[B\x03\x0c\x1c@7 mem.stats*1234\n",
    b'"free":1,"regions":[{"caps":"DMA,8BIT"}],"names":["a","b"]',
]


INCLUDES = [CONSOLE, *(COMPONENTS / name / "include" for name in ("common", "telemetry"))]


def test_parser_survives_any_bytes(tmp_path: Path) -> None:
    fuzz(tmp_path, PARSER, INCLUDES, SEEDS)


def test_line_editor_survives_any_keys(tmp_path: Path) -> None:
    fuzz(tmp_path, EDITOR, INCLUDES, KEYS)
