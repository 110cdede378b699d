"""Tests the console's line editor: keys, history, completion and screen.

The tests do not compare bytes. A small terminal emulator renders the output, and the tests compare the screen.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hotpin_hil.logs.scan import LineScanner
from hotpin_hil.protocol.log import LineSplitter, parse_log_line
from hotpin_hil.protocol.records import RecordScanner
from hotpin_hil.protocol.request import encode_request
from tests.support.c_build import build

CAPS_STUB = """
#include "console_caps.h"
bool console_caps_parse(const char *list, uint32_t *caps) { *caps = 0; return *list != 0; }
"""

EDITOR = build(
    "line_editor",
    [
        "hil_console/src/console/line_editor.c",
        "hil_console/src/console/console_complete.c",
        "hil_console/src/console/console_parser.c",
        "telemetry/src/telemetry_crc.c",
    ],
    ["console_complete.h"],
    extra_source=CAPS_STUB,
)

PROMPT = "hotpin> "
COLUMNS = EDITOR.const("LINE_EDITOR_COLUMNS")
LINE_MAX = EDITOR.const("CONSOLE_LINE_MAX")
HISTORY_SIZE = EDITOR.const("LINE_EDITOR_HISTORY_SIZE")

UP, DOWN, RIGHT, LEFT, HOME, END = (b"\x1b[%c" % key for key in b"ABCDHF")
DEL = b"\x1b[3~"
TERMINAL = b"\x1b[0n"
"""A terminal's reply to the query for its presence."""

unhurried = settings(deadline=None)
"""Hypothesis settings without a deadline, because the host may be busy with other tests."""

COMMANDS = {
    "help": None,
    "mem.stats": "",
    "mem.self": "",
    "mode.set": "to=camera|voice [wait=1]",
    "mode.get": "",
    "heap.hold": "caps=CAPS [size=N] [leave=N] [block=N]",
}


class Screen:
    """The rows of an emulated terminal, whose width is the one that the editor assumes."""

    def __init__(self) -> None:
        self.rows = [""]
        self.column = 0
        self.raw = b""

    def write(self, data: bytes) -> None:
        self.raw += data
        for piece in re.findall(rb"\x1b\[[0-9;]*[A-Za-z]|[\x20-\x7e]|.", data, re.DOTALL):
            self._take(piece)

    def _take(self, piece: bytes) -> None:
        row = self.rows[-1]
        if piece == b"\n":
            self.rows.append("")
        elif piece in (b"\r", b"\x1b[H"):
            self.column = 0
        elif piece == b"\b":
            self.column = max(0, self.column - 1)
        elif piece == b"\x1b[K":
            self.rows[-1] = row[: self.column]
        elif piece == b"\x1b[2J":
            self.rows = [""]
        elif piece in (b"\x1b[5n", b"\a"):
            pass
        elif found := re.fullmatch(rb"\x1b\[(\d+)C", piece):
            self.column = min(self.column + int(found[1]), COLUMNS - 1)
        else:
            assert re.fullmatch(rb"[ -~]", piece), f"{piece!r} on a terminal"
            if self.column == COLUMNS:
                self.rows.append("")
                self.column, row = 0, ""
            self.rows[-1] = row.ljust(self.column)[: self.column] + piece.decode() + row[self.column + 1 :]
            self.column += 1


class Typist:
    """A user of the editor, at a terminal that either answers queries or is plain (never answers)."""

    def __init__(self, answers: bool = True) -> None:
        self.screen = Screen()
        ffi = EDITOR.ffi
        self._write = ffi.callback("void(const char *, size_t)", self._written)
        self._row = ffi.callback("bool(size_t, console_row_t *)", self._row_at)
        self._words = ffi.callback(
            "bool(const char *, size_t, size_t, line_editor_word_t *)",
            lambda text, length, index, word: EDITOR.lib.console_complete(
                self._row, text, length, index, word
            ),
        )
        self._strings = [
            (
                ffi.new("char[]", name.encode()),
                ffi.NULL if usage is None else ffi.new("char[]", usage.encode()),
            )
            for name, usage in COMMANDS.items()
        ]
        self._io = ffi.new("line_editor_io_t *", {"write": self._write, "complete": self._words})
        self.editor = EDITOR.new("line_editor_t *")
        self.editor.io = self._io
        self.lines: list[str] = []
        self.raw_lines: list[bytes] = []
        self.too_long = False
        if answers:
            self.press(b"x", b"\b", TERMINAL)

    def _written(self, text: object, length: int) -> None:
        self.screen.write(bytes(EDITOR.ffi.buffer(text, length)))

    def _row_at(self, index: int, row: object) -> bool:
        if index >= len(self._strings):
            return False
        row.name, row.usage = self._strings[index]  # type: ignore[attr-defined]
        return True

    def press(self, *keys: bytes | str, program: bool = False) -> Typist:
        """Types text; each complete line is executed and prints nothing."""
        for key in keys:
            for byte in key.encode() if isinstance(key, str) else key:
                if EDITOR.lib.line_editor_feed(self.editor, bytes([byte])):
                    line = self.editor.line
                    self.raw_lines.append(bytes(EDITOR.ffi.buffer(line.bytes, line.length)))
                    self.lines.append(self.raw_lines[-1].decode("latin-1"))
                    self.too_long = line.overlong
                    EDITOR.lib.line_editor_next(self.editor, program)
            EDITOR.lib.line_editor_refresh(self.editor)
        return self

    def log(self, text: str) -> None:
        """Writes a line from another task."""
        self.screen.write(EDITOR.ffi.string(EDITOR.lib.line_editor_hide(self.editor)))
        self.screen.write(text.encode() + b"\r\n")
        EDITOR.lib.line_editor_show(self.editor)

    @property
    def text(self) -> str:
        line = self.editor.line
        return bytes(EDITOR.ffi.buffer(line.bytes, line.length)).decode("latin-1")

    @property
    def row(self) -> str:
        """The last row of the screen."""
        return self.screen.rows[-1].rstrip()


def check_screen(typist: Typist) -> None:
    """Asserts that the last row contains the prompt and the line, and that the cursor is at the editor's position."""
    text, cursor = typist.text, typist.editor.cursor
    start = max(0, cursor - (COLUMNS - 1 - len(PROMPT)))
    assert typist.row == (PROMPT + text[start:])[: COLUMNS - 1].rstrip()
    assert typist.screen.column == len(PROMPT) + cursor - start


# --- Keys --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ((b"mem.stats",), "mem.stats"),
        ((b"mem.lgo\b\x7fog",), "mem.log"),
        ((b"x\b\b\b\bhelp",), "help"),
        ((b"elp", HOME, b"h"), "help"),
        ((b"elp", b"\x01", b"h", b"\x05", b" mem"), "help mem"),
        ((b"hellp", LEFT, LEFT, DEL), "help"),
        ((b"hellp", LEFT, LEFT, b"\x04"), "help"),
        ((b"hlp", LEFT, LEFT, b"e", RIGHT, RIGHT, RIGHT, b" x"), "help x"),
        ((b"hlp", b"\x02\x02", b"e", b"\x06\x06", b"!"), "help!"),
        ((b"help me", LEFT, LEFT, LEFT, b"\x0b"), "help"),
        ((b"nonsense", b"\x15", b"help"), "help"),
        ((b"mem.log context=a  ", b"\x17", b"context=b"), "mem.log context=b"),
        ((b"hepl", LEFT, b"\x14"), "help"),
        ((b"nonsense", b"\x03", b"help"), "help"),
        ((b"\x1b[1~help\x1b[4~!",), "help!"),
        ((b"elp\x1b[7~h\x1b[8~!",), "help!"),
        ((b"elp\x1bOHh\x1bOF!",), "help!"),
        ((b"help\x1b[1;5D!",), "hel!p"),
        ((b"help\x1b[15~\x1b[200~\x1bx!",), "help!"),
        ((b"help\x00\xc3\xa9\xff\x1c",), "help"),
    ],
)
def test_keys_edit_the_line(keys: Sequence[bytes], line: str) -> None:
    typist = Typist()
    typist.press(*keys)
    check_screen(typist)
    assert typist.press("\n").lines == [line]


key_presses = st.one_of(
    st.sampled_from([LEFT, RIGHT, HOME, END, UP, DOWN, DEL, b"\t", b"\r", b"\x03", b"\x0c"]),
    st.sampled_from([bytes([key]) for key in b"\x01\x02\x04\x05\x06\x08\x0b\x0e\x10\x14\x15\x17\x7f"]),
    st.text(st.sampled_from('abz .="'), min_size=1, max_size=50).map(str.encode),
)


class Model:
    """A simple model of the edited line, without the keys for history and completion."""

    def __init__(self) -> None:
        self.text, self.at = "", 0

    def press(self, key: bytes) -> None:
        text, at = self.text, self.at
        word = text[:at].rstrip(" ").rfind(" ") + 1
        moves = {
            LEFT: max(0, at - 1),
            RIGHT: min(len(text), at + 1),
            HOME: 0,
            END: len(text),
            b"\x01": 0,
            b"\x05": len(text),
        }
        cuts = {
            b"\x7f": (max(0, at - 1), at),
            DEL: (at, at + 1),
            b"\x0b": (at, len(text)),
            b"\x15": (0, len(text)),
            b"\x17": (word, at),
        }
        if key in moves:
            self.at = moves[key]
        elif key in cuts:
            start, end = cuts[key]
            self.text = text[:start] + text[end:]
            if start < min(end, len(text)):
                self.at = start
        else:
            self.text = text[:at] + key.decode() + text[at:]
            self.at += len(key)


model_keys = st.lists(
    st.one_of(
        st.sampled_from(
            [LEFT, LEFT, RIGHT, HOME, END, b"\x01", b"\x05", b"\x7f", DEL, b"\x0b", b"\x15", b"\x17"]
        ),
        st.text(st.sampled_from("ab ="), min_size=1, max_size=4).map(str.encode),
    ),
    max_size=40,
)


@unhurried
@given(model_keys)
def test_line_matches_the_model_after_any_keys(keys: list[bytes]) -> None:
    typist, model = Typist(), Model()
    for key in keys:
        typist.press(key)
        model.press(key)
        assert (typist.text, typist.editor.cursor) == (model.text, model.at)
        check_screen(typist)


@unhurried
@given(st.lists(st.one_of(key_presses, st.just("log")), max_size=40))
def test_screen_shows_the_line_after_any_keys(keys: list[bytes | str]) -> None:
    """Log lines that other tasks write between the keys must stay intact."""
    typist = Typist()
    logged = 0
    for key in keys:
        if key == "log":
            logged += 1
            typist.log(f"I (1) TASK: line {logged}")
        else:
            typist.press(key)
            if key == b"\x0c":
                logged = 0  # cleared
        check_screen(typist)
    assert [row for row in typist.screen.rows if "TASK" in row][-logged or len(typist.screen.rows) :] == [
        f"I (1) TASK: line {number}" for number in range(1, logged + 1)
    ]


@unhurried
@given(st.lists(key_presses, max_size=20))
def test_pasted_keys_act_like_typed_keys(keys: list[bytes]) -> None:
    """Pasting updates the screen only once, which takes fewer bytes and has the same result."""
    typed, pasted = Typist(), Typist()
    typed.press(*keys)
    pasted.press(b"".join(keys))
    assert (pasted.lines, pasted.text) == (typed.lines, typed.text)
    assert pasted.row == typed.row
    assert len(pasted.screen.raw) <= len(typed.screen.raw)


def test_long_line_scrolls_sideways_and_is_never_more_than_a_row() -> None:
    typist = Typist()
    typist.press("a" * 60, "b" * 60)
    assert typist.row == PROMPT + "a" * 11 + "b" * 60
    typist.press(HOME)
    assert typist.row == PROMPT + "a" * 60 + "b" * 11
    assert len(typist.screen.rows) == 2, "the history must contain the greeting and the line"


def test_truncated_line_is_not_executed() -> None:
    assert Typist().press("x" * LINE_MAX, "\n").too_long is False
    typist = Typist()
    assert typist.press("x" * (LINE_MAX + 1), "\n").too_long is True
    assert typist.press("x" * (LINE_MAX + 1), b"\x7f", "\n").too_long is False, (
        "the user saw and corrected the line"
    )


# --- Prompt ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", [b"h", b"\r", b"\n", b"\t", UP, b"\x03"])
def test_first_key_shows_the_prompt(key: bytes) -> None:
    typist = Typist(answers=False)
    typist.log("I (1) TASK: nobody types yet")
    assert typist.screen.raw == b"I (1) TASK: nobody types yet\r\n"
    typist.press(key)
    assert b"help lists the commands" in typist.screen.raw
    assert typist.row.startswith(PROMPT.rstrip())


@pytest.mark.parametrize("noise", [b"\x00", b"\xff\xfe", b"\x1c\x1d", b"\x1b", b"\x1b[0n", b"\x1b[200~"])
def test_noise_shows_no_prompt(noise: bytes) -> None:
    assert Typist(answers=False).press(noise).screen.raw == b""


def test_crlf_is_one_line_end() -> None:
    assert Typist().press(b"a\r\nb\nc\r\n\r\n").lines == ["a", "b", "c", ""]


@unhurried
@given(st.lists(key_presses.filter(lambda key: key not in (b"\x0c",)), max_size=20), st.booleans())
def test_plain_terminal_gets_plain_text_only(keys: list[bytes], logs: bool) -> None:
    """Without answers (a script, or a silent terminal) the editor sends plain characters and corrects only at the
    line's end."""
    typist = Typist(answers=False)
    longest = 0
    for key in keys:
        typist.press(key)
        assert typist.editor.cursor == len(typist.text), "a plain terminal cannot move the cursor"
        longest = max(longest, len(typist.text))
        if longest < COLUMNS - len(PROMPT):  # a plain terminal cannot erase text that has wrapped
            assert typist.row == (PROMPT + typist.text).rstrip() or not typist.text
        if logs:
            typist.log("I (1) TASK: line")
    assert b"\x1b" not in typist.screen.raw.replace(b"\x1b[5n", b"")
    for line in re.split(rb"\r\n", typist.screen.raw)[:-1]:
        assert b"TASK" not in line or line == b"I (1) TASK: line", "the output must start on a new row"


def test_plain_terminal_corrects_the_end_of_its_line() -> None:
    typist = Typist(answers=False)
    typist.press("mem.sx", b"\x7f", "elf", LEFT, "!", b"\x7f")
    assert typist.row == PROMPT + "mem.self"
    typist.press("\n", "mem.stats", UP)
    assert typist.row == PROMPT + "mem.self"
    assert typist.press("\n").lines == ["mem.self", "mem.self"]


# --- Requests from programs --------------------------------------------------------------------------------

requests = st.builds(
    encode_request,
    st.integers(1, 65535),
    st.sampled_from(["mem.stats", "heap.hold"]),
    st.dictionaries(st.sampled_from(["caps", "size"]), st.sampled_from(["DMA", "a@1 b", "7"]), max_size=2),
)
any_keys = st.binary(max_size=300).map(lambda keys: keys.replace(b"\r", b"").replace(b"\n", b""))


@unhurried
@given(requests)
def test_request_is_neither_echoed_nor_answered_with_a_prompt(request: bytes) -> None:
    typist = Typist(answers=False)
    assert typist.press(request, program=True).raw_lines == [request.rstrip(b"\n")]
    assert typist.screen.raw == b""
    typist.log("I (1) TASK: line")
    assert typist.screen.raw == b"I (1) TASK: line\r\n"


@unhurried
@given(any_keys, requests, st.booleans())
def test_request_is_whole_behind_any_keys(keys: bytes, request: bytes, answers: bool) -> None:
    """Noise before a request may act as keys, recall old lines and fill the current line, but the line must end with
    the request's bytes."""
    typist = Typist(answers)
    typist.press(b"mem.log context=" + b"x" * 200, b"\n")
    keys = keys.replace(b"@", b"")
    typist.press(keys, request)
    assert typist.raw_lines[-1].endswith(request.rstrip(b"\n"))


@unhurried
@given(st.lists(st.one_of(any_keys, requests, key_presses), max_size=8), st.booleans())
def test_input_is_never_echoed_as_a_record(keys: list[bytes], answers: bool) -> None:
    typist = Typist(answers)
    typist.press(*keys)
    typist.log("I (1) TASK: line")
    typist.press(UP, UP, b"\t")
    assert b"@" not in typist.screen.raw
    assert RecordScanner().feed(typist.screen.raw + b"\n") == []


def test_request_hides_the_prompt_until_the_next_key() -> None:
    typist = Typist()
    typist.press("half a line")
    typist.press(encode_request(7, "mem.stats", {}), program=True)
    assert typist.screen.rows[-2:] == [PROMPT + "half a line", ""], "the reply starts on a new row"
    typist.log("I (1) TASK: line")
    assert typist.row == ""
    typist.press("h")
    assert typist.row == PROMPT + "h"


def test_log_between_the_bytes_of_a_request_does_not_show_them() -> None:
    typist = Typist()
    typist.press("half", "@7 mem.st")
    typist.log("I (1) TASK: line")
    assert typist.screen.rows[-2:] == ["I (1) TASK: line", ""]


def test_at_sign_in_a_typed_line_is_kept_and_not_echoed() -> None:
    typist = Typist()
    typist.press("mem.log context=a@b", "\n")
    assert typist.lines == ["mem.log context=a@b"]
    assert PROMPT + "mem.log context=a" in typist.screen.rows
    assert typist.press(UP).text == "", "the recalled line would be visible"


# --- History -----------------------------------------------------------------------------------------------


def test_up_and_down_walk_the_history_and_return_to_the_unfinished_line() -> None:
    typist = Typist()
    typist.press("first\n", "second\n", "third\n", "unfinished")
    seen = []
    for key in (UP, UP, UP, UP, DOWN, DOWN, DOWN, DOWN):
        seen.append(typist.press(key).text)
    assert seen == ["third", "second", "first", "first", "second", "third", "unfinished", "unfinished"]
    assert typist.press(UP, UP, "!", "\n").lines[-1] == "second!"
    assert typist.press(UP).text == "second!"
    assert typist.press(UP).text == "third"


def test_history_keeps_neither_empty_nor_repeated_lines() -> None:
    typist = Typist()
    typist.press("a\n", "\n", "b\n", "b\n", "nonsense\x03")
    assert [typist.press(UP).text for _ in range(3)] == ["b", "a", "a"]


@unhurried
@given(st.lists(st.text(st.sampled_from("abc"), min_size=1, max_size=LINE_MAX), min_size=1, max_size=20))
def test_history_keeps_the_newest_lines_that_fit(lines: list[str]) -> None:
    typist = Typist()
    typist.press(*(line + "\n" for line in lines))
    distinct = [line for line, before in zip(lines, ["", *lines], strict=False) if line != before]
    kept, room = [], HISTORY_SIZE - 1  # the unfinished line, which is empty
    for line in reversed(distinct):
        room -= len(line) + 1
        if room < 0:
            break
        kept.append(line)
    assert [typist.press(UP).text for _ in kept] == kept
    assert typist.press(UP).text == kept[-1] if kept else ""


# --- Completion --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        ("he", "he"),  # help, heap.hold
        ("hea", "heap.hold "),
        ("mem", "mem.s"),
        ("mode.s", "mode.set "),
        ("mem.st", "mem.stats "),
        ("nosuch", "nosuch"),
        ("mode.set ", "mode.set "),
        ("mode.set t", "mode.set to="),
        ("mode.set to=c", "mode.set to=camera "),
        ("mode.set to=camera ", "mode.set to=camera wait="),
        ("mode.set wait=", "mode.set wait=1 "),
        ("mode.set wait=1 ", "mode.set wait=1 to="),
        ("heap.hold ca", "heap.hold caps="),
        ("heap.hold caps=", "heap.hold caps="),
        ("heap.hold siz=", "heap.hold siz="),
        ("help hea", "help heap.hold "),
        ("mem.stats x", "mem.stats x"),
        ('mode.set to="c', 'mode.set to="c'),
        ("  mode.set t", "  mode.set to="),
    ],
)
def test_tab_completes_an_unambiguous_word(typed: str, line: str) -> None:
    typist = Typist()
    typist.press(typed, "\t")
    assert typist.text == line
    check_screen(typist)


def test_tab_lists_the_candidates_of_an_ambiguous_word() -> None:
    typist = Typist()
    typist.press("mem.s\t")
    assert typist.screen.rows[-3:] == [PROMPT + "mem.s", "mem.stats  mem.self", PROMPT + "mem.s"]
    typist.press(b"\x15", "heap.hold \t")
    assert typist.screen.rows[-2:] == ["caps  size  leave  block", PROMPT + "heap.hold "]
    typist.press(b"\x15\t")
    assert typist.screen.rows[-2] == "  ".join(COMMANDS)


def test_tab_completes_inside_the_line() -> None:
    typist = Typist()
    typist.press("mode. to=camera", HOME, *[RIGHT] * 5, "se\t")
    assert typist.text == "mode.set to=camera"
    check_screen(typist)


# --- Harness -----------------------------------------------------------------------------------------------


@unhurried
@given(st.lists(key_presses, max_size=12), st.booleans())
def test_harness_reads_the_whole_log_while_a_user_types(keys: list[bytes], answers: bool) -> None:
    """The editor erases its row, or ends it with a newline, before a log line is written, so the log lines are
    complete."""
    typist = Typist(answers)
    expected = []
    for key in keys:
        typist.press(key)
        expected.append(f"I (1) TASK: behind {key.hex()}")
        typist.log(expected[-1])
    assert [line.text for line in LineSplitter().feed(typist.screen.raw) if parse_log_line(line)] == expected
    passed_on: list[Any] = []
    scanner = LineScanner({}, passed_on.append, lambda *_: None)
    scanner.feed(typist.screen.raw)
    scanner.close()
    assert scanner.tally.levels["I"] == len(expected)
    interrupted = [line.text for line in passed_on if "TASK" in line.text]
    assert interrupted == [], "no line may appear to be interrupted by another line"
