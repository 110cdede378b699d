"""Compiles single files with the host build's options, to discard mutants that do not compile or do not change the
object code."""

from __future__ import annotations

import json
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path

COMMANDS_FILE = "firmware/build-native/compile_commands.json"
HIGHER_OPTIMISATION = "-O2"
"""Higher optimisation level, at which more mutants turn out to compile to equal code."""


@dataclass(frozen=True)
class Code:
    """Object code of a file, compiled with the build's options and with a higher optimisation level."""

    as_built: bytes
    optimised: bytes


class Compiler:
    """Compiles files with the commands of a built copy of the project."""

    def __init__(self, root: Path) -> None:
        self._root = root
        entries = json.loads((root / COMMANDS_FILE).read_text(encoding="utf-8"))
        self._commands = {
            str(Path(entry["file"]).relative_to(root)): (shlex.split(entry["command"]), entry["directory"])
            for entry in entries
            if Path(entry["file"]).is_relative_to(root)
        }
        self._unchanged: dict[str, Code | None] = {}

    def files(self) -> list[str]:
        """C files of components and main that the host build compiles."""
        return sorted(
            file for file in self._commands if file.startswith(("firmware/components/", "firmware/main/"))
        )

    def learn(self, file: str) -> None:
        """Compiles the unchanged file. `judge` compares the changed file with this code."""
        if file not in self._unchanged:
            self._unchanged[file] = self.compile(file)

    def judge(self, file: str) -> str:
        """`not compiled`, `equal code`, or an empty string if the changed file compiles to different code."""
        code, unchanged = self.compile(file), self._unchanged[file]
        if code is None:
            return "not compiled"
        assert unchanged is not None, f"{file} does not compile without a mutant either"
        if code.as_built == unchanged.as_built or code.optimised == unchanged.optimised:
            return "equal code"
        return ""

    def compile(self, file: str) -> Code | None:
        """The file's code without debug information; None if it does not compile."""
        as_built = self._compile(file)
        optimised = self._compile(file, HIGHER_OPTIMISATION, "-w") if as_built else None
        return Code(as_built, optimised) if as_built and optimised else None

    def _compile(self, file: str, *options: str) -> bytes | None:
        command, folder = self._commands[file]
        output = self._root / "build" / "mutant.o"
        output.parent.mkdir(exist_ok=True)
        replaced = [*command, *options, "-g0", "-o", str(output)]
        done = subprocess.run(replaced, cwd=folder, capture_output=True, check=False)
        return output.read_bytes() if done.returncode == 0 else None
