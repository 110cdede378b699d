"""Tests that mutants that do not compile or do not change the code are discarded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.mutation.compiled import COMMANDS_FILE, Compiler
from tests.support.c_build import compiler

FILE = "firmware/components/cups/src/cups.c"


@pytest.mark.parametrize(
    ("changed", "judged"),
    [("return a + 1 - 1;", "equal code"), ("return b;", "not compiled"), ("return a - 1;", "")],
)
def test_changed_file_is_judged_by_its_code(tmp_path: Path, changed: str, judged: str) -> None:
    source = tmp_path / FILE
    source.parent.mkdir(parents=True)
    source.write_text("int cups(int a)\n{\n    return a;\n}\n")
    commands = tmp_path / COMMANDS_FILE
    commands.parent.mkdir(parents=True)
    command = f"{compiler()} -O1 -g -c {source} -o cups.o"
    commands.write_text(json.dumps([{"file": str(source), "directory": str(tmp_path), "command": command}]))
    found = Compiler(tmp_path)
    assert found.files() == [FILE]
    found.learn(FILE)
    source.write_text(f"int cups(int a)\n{{\n    {changed}\n}}\n")
    assert found.judge(FILE) == judged
