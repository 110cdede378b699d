"""Checks that the repository's text files contain no phrases that sound like word-by-word translations."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from hotpin_hil.paths import PROJECT_ROOT

PHRASES = {
    r"\b(can(not|'t)?|to) be had\b": "is available, is free, fits",
    r"\banew\b": "again, from the start",
    r"\bfor ever\b": "permanently, endlessly",
    r"\b(goes|going|go) on\b": "continues, keeps running, happens",
    r"\b(comes|come) to\b(?! (it|them|him)\b)": "equals, results in, starts to",
    r"(?<!\.)\blacks\b": "has no, does not have",
    r"\bbeside\b": "besides, next to, against",
    r"\bto have it\b": "to keep it, to use it",
    r"\bso many\b": "`count`, the number of",
    r"\bwhoever\b": "the process (user, task) that",
    r"\bthat (is|are) there\b": "existing",
    r"\b(tells|tell) how to\b": "explains how to",
    r"\b(stands|stand) in\b(?! the way)": "replaces, is in",
    r"\b(initialised|installed|open|played|registered|running|started) already\b": "already open",
    r"\bone an? (command|file|group|kind|line|page|task)\b": "one per file",
    r"\bas far as (it|that|they|those) go(es)?\b": "as much as possible",
    r"\bis no (assignment|checkout|directory|number)\b": "is not a checkout",
    r"\bneither here nor there\b": "the state is undefined",
    r"\b(lies|lie) in (host|internal|RTC) memory\b": "is in RTC memory",
    r"\bhas not(?=[\".,]|$)": "does not have",
    r"\bit said nothing\b": "no output",
    r"\bgive or take\b": "within",
    r"\bis no (kind|log|program|regular|member)\b": "is not a",
    r"\bwhat is seen\b": "the detected boards, the output",
    r"\bput together again\b": "joined again",
    r"\bcannot be shown\b": "cannot be tested",
    r"\brequirements? (was|were|is|are) (not )?shown\b": "is verified, is tested",
    r"\b(fall|drop|rise) of (a |the )?(free|memory)\b": "drop in, rise in",
    r"\blines? of (an)?other tasks?\b": "line from another task",
    r"\bof (one|the same) name\b": "with the same name",
    r"\b(is|are|be) (that|those) of\b": "match, belong to, come from",
    r", and (the|their|its) reasons?(?=[.:])": "and why",
    r", too(?=[.,:;)\"])": "`also`, before the verb",
    r"\b(call|dependency|import|include) circles?\b": "cycle",
    r"\brounded to (the )?nearest(?=[.,;])": "to the nearest whole number",
    r"\bwithout one(?=[.,;])": "without, and the noun",
    r"\b(must be|or|give) a text\b": "a string, a non-empty string",
    r"\bfirst firmware\b": "the original firmware",
    r"\bmeasure that\b": "check that",
    r'"""take (a|the next) (box|chunk|event|line|panic|sample|warning)\b': "count, parse, store, emit",
    r"\bcomma lists?\b": "comma-separated list",
    r"\b(start|reset|restart)s? by software\b": "software reset",
    r"\bnot any more\b": "no longer",
    r"\bsince a moment\b": "after `since`",
    r"\bmissing since then\b": "was lost after `since`",
    r"\b(REQUIREMENTS|DESIGN)\.md [A-Z§]": "requirement MON-01, a Kconfig option, a header",
    r"\b(into|for) [\w-]+, in chunks of any size\b": "a stream, fed in chunks of any size,",
    r"\bended tasks?\b": "deleted task",
    r"\bused sensor\b": "a sensor that was started and stopped",
    r"\bROM('s)? boot loader\b": "download mode",
    r"\bsecond-stage boot loader\b": "bootloader",
    r"\bbytes scattered\b": "free bytes outside the largest block",
    r"\b(stand|stands|stood) still\b": "stops, does not advance",
    r"\b(is|are) begun\b": "is started, starts",
    r"\bas by\b": "like, as in",
    r"\bto be called\b": "call it",
    r"\bfirmwares\b": "firmware images, other firmware",
    r"\bin spite of\b": "despite",
    r"\b(can|could|cannot) do without\b": "does not need",
    r"\bwho (holds|held) \w+( memory)?\b": "which code uses the memory, memory in use",
    r"\bmend(s|ed|ing)?\b": "fix",
    r"\bwhat \w+ was like\b": "the state of",
    r"\bhowever (it|they|the|this) (\w+ )?(ends?|ended)\b": "no matter how it ends, whenever",
    r"\bstay(s|ed)? as (it|they) (was|were)\b": "is unchanged",
    r"\b(said|says?) of\b": "says about",
    r"\bof (its|their) own(?=[.,;:)\"`]| (with|for)\b)": "its own, before the noun; a separate",
    r"\b(is|are) in force\b": "is active, applies",
    r"\b(fall|falls) due\b": "is due",
    r"(?<!there\s)\b(is|are) no (addresses|argument|chunk|component|terminal)\b": "is not a",
    r"\b(is|are|was|were) told(?=[.,;:)]| (at|by|once|only|when|with)\b)": "is reported, is printed",
    r"\bwarnings (stand|stood)\b|\b(warning|alarm) that stands\b": "is active",
    r"\bfrom boot on\b": "at boot, after boot",
    r"\bfrom [\w.-]+ on only\b": "only since",
    r"\bin parts in\b": "partly in",
    r"\bfree already\b": "already free",
    r"\b(come|comes|came) within\b": "arrives within",
}
"""Regular expression of a phrase → replacement."""

QUOTATIONS: dict[str, str] = {
    "tests/architecture/test_english.py": "the list of the phrases itself",
}
"""File → why its phrases are allowed."""


def text_files() -> list[str]:
    """Paths of the text files that git tracks, relative to the repository's root."""
    if not shutil.which("git") or not (PROJECT_ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    command = ["git", "grep", "--cached", "-I", "--name-only", "--null", "-e", ""]
    listed = subprocess.run(command, cwd=PROJECT_ROOT, capture_output=True, text=True, check=True).stdout
    return [name for name in listed.split("\0") if name and (PROJECT_ROOT / name).is_file()]


def findings(name: str, text: str) -> list[str]:
    """Phrases in a file's text, one line each; a phrase may span two lines of a comment."""
    found = []
    for pattern, better in PHRASES.items():
        spanning = pattern.replace(" ", r"(?:\s+(?:[#*;]|//)?\s*)")
        for match in re.finditer(spanning, text, re.IGNORECASE):
            line = text.count("\n", 0, match.start()) + 1
            phrase = " ".join(match[0].split())
            found.append(f"{name}:{line}: {phrase!r}; write for example: {better}")
    return found


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("The port can be had again.", 1),
        ("# It restarts for\n# ever.", 1),
        ("/* Whoever waits\n * goes on. */", 2),
        ("Besides, it is there for good; row.lacks('mic') and a stand-in come last.", 0),
        ("It is initialised already; one command a line, one a group.", 2),
        ("It is already open; one per line, one at a time.", 0),
        ("Text and order are those of the ROM, too.", 2),
        ("A warning that stands is told by its own task; there is no component of its own.", 3),
        ("The system is told that the block is already free; a task of its own group stands by.", 0),
        ("The file is missing, too old, or without one of them.", 0),
    ],
)
def test_phrases_are_found(text: str, count: int) -> None:
    assert len(findings("file", text)) == count


def test_no_phrase_in_the_repository() -> None:
    found = [
        finding
        for name in text_files()
        if name not in QUOTATIONS
        for finding in findings(name, (PROJECT_ROOT / name).read_text(encoding="utf-8", errors="replace"))
    ]
    assert not found, "\n".join(found)
