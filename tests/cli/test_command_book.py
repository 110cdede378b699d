"""Tests history and completion in the monitor's command line."""

from __future__ import annotations

import pytest

from hotpin_hil.cli.command_book import HISTORY_MAX, CommandBook

HELP = """hotpin> help
sys.info
    identity of the board and the build
mode.set to=camera|voice [wait=1]
    request a mode; wait=1, or typed: reply when the change is done
mode.settle [down=N] [up=N] [default=1]
    the pauses in a mode change, ms
heap.probe caps=TEXT [around=mem.stats]
    free, largest block, minimum

help mem: commands that start with mem; help heap.hold: one command with its arguments
hotpin> """
ESP_IDF_HELP = """help  [<string>]
  Print the summary of all registered commands
free
  Get the current size of free heap memory
"""


def taught(help_text: str = HELP) -> CommandBook:
    book = CommandBook()
    book.send("help")
    for line in help_text.splitlines():
        book.learn(line)
    return book


def test_history_goes_back_and_returns_to_the_draft() -> None:
    book = CommandBook()
    assert book.earlier("draft") == "draft"
    for line in ("one", "two", "two", "  "):
        book.send(line)
    assert [book.earlier("draft"), book.earlier("two"), book.earlier("one")] == ["two", "one", "one"]
    assert [book.later("one"), book.later("two"), book.later("draft")] == ["two", "draft", "draft"]


def test_history_is_bounded() -> None:
    book = CommandBook()
    for number in range(HISTORY_MAX + 10):
        book.send(str(number))
    recalled = [book.earlier("") for _ in range(HISTORY_MAX + 10)]
    assert recalled[-1] == "10"


@pytest.mark.parametrize(
    ("typed", "completed", "words"),
    [
        ("", "", ["heap.probe", "help", "mode.set", "mode.settle", "sys.info"]),
        ("s", "sys.info ", ["sys.info"]),
        ("mo", "mode.set", ["mode.set", "mode.settle"]),
        ("x", "x", []),
        ("mode.set ", "mode.set ", ["to=camera", "to=voice", "wait=1"]),
        ("mode.set t", "mode.set to=", ["to=camera", "to=voice"]),
        ("mode.set to=v", "mode.set to=voice ", ["to=voice"]),
        ("mode.set to=voice ", "mode.set to=voice wait=1 ", ["wait=1"]),
        ("mode.settle d", "mode.settle d", ["down=", "default=1"]),
        ("heap.probe c", "heap.probe caps=", ["caps="]),
        ("help heap", "help heap.probe ", ["heap.probe"]),
        ("unknown a", "unknown a", []),
    ],
)
def test_completion(typed: str, completed: str, words: list[str]) -> None:
    assert taught().complete(typed) == (completed, words)


def test_commands_of_another_firmware_are_learnt_too() -> None:
    assert taught(ESP_IDF_HELP).complete("f") == ("free ", ["free"])


def test_only_the_answer_to_help_is_learnt() -> None:
    book = CommandBook()
    for line in HELP.splitlines():
        book.learn(line)
    assert book.is_empty
    book.send("help")
    book.send("sys.info")
    for line in HELP.splitlines():
        book.learn(line)
    assert book.is_empty
