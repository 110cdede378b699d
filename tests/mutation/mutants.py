"""Mutants of a C file, each with one changed line, made by universalmutator's rules for C."""

from __future__ import annotations

import contextlib
import hashlib
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from universalmutator import mutator

RULES = ["universal.rules", "c_like.rules", "c.rules"]
NOT_MUTATED = [
    # preprocessor conditions, which depend only on the configuration
    r"^\s*#\s*(if|el|end|include|pragma|error|undef)",
    r"_Static_assert|^\s*ESP_LOG[EWIDV]\(|^\s*assert\(",  # checks that cannot fail, and log messages
]
_COMMENT = re.compile(r'"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'|/\*.*?\*/|//[^\n]*', re.DOTALL)


@dataclass(frozen=True)
class Mutant:
    """A file with one changed line."""

    component: str
    file: str
    """Path in the project."""
    line: int
    """Number of the changed line, from 1."""
    before: str
    after: str

    @property
    def name(self) -> str:
        """Short name: file, line and a digest of the change."""
        digest = hashlib.sha256(f"{self.before}\0{self.after}".encode()).hexdigest()[:6]
        return f"{Path(self.file).name}:{self.line}:{digest}"


def component_of(file: str) -> str:
    """Name of a source's component: `tts_decoder`, or `main`."""
    parts = Path(file).parts
    return parts[2] if parts[1] == "components" else parts[1]


def mutants_of(root: Path, file: str) -> list[Mutant]:
    """All mutants of a file, line by line; comments and the content of strings are not changed."""
    text = (root / file).read_text(encoding="utf-8")
    lines = text.splitlines(keepends=True)
    bare = [f"{line.rstrip()}\n" for line in _without_comments(text).splitlines()]
    with contextlib.redirect_stdout(io.StringIO()):
        found = mutator.mutants_regexp(
            bare, ruleFiles=RULES, ignorePatterns=NOT_MUTATED, ignoreStringOnly=True
        )
    return [
        Mutant(component_of(file), file, line, lines[line - 1].rstrip("\n"), after.rstrip("\n"))
        for line, after, *_ in found
        if "\n" not in after.rstrip("\n")  # an added break or continue
        and _squeezed(after) != _squeezed(bare[line - 1])
    ]


@contextmanager
def planted(mutant: Mutant, root: Path) -> Iterator[None]:
    """Context manager: changes the line in the copy of the project at `root`.

    Raises:
        ValueError: the line differs from the mutant's original line.
    """
    path = root / mutant.file
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines(keepends=True)
    if not 0 < mutant.line <= len(lines) or lines[mutant.line - 1].rstrip("\n") != mutant.before:
        raise ValueError(
            f"mutant {mutant.name}: line {mutant.line} of {mutant.file} is not {mutant.before!r} "
            "(the file has changed; draw the mutants again)"
        )
    lines[mutant.line - 1] = mutant.after + "\n"
    try:
        path.write_text("".join(lines), encoding="utf-8")
        yield
    finally:
        path.write_text(text, encoding="utf-8")


def _without_comments(text: str) -> str:
    """The text with its comments replaced with spaces, because the mutator skips lines that have a comment."""

    def blank(found: re.Match[str]) -> str:
        return found[0] if found[0][0] in "\"'" else re.sub(r"[^\n]", " ", found[0])

    return _COMMENT.sub(blank, text)


def _squeezed(line: str) -> str:
    return "".join(line.split())
