"""Tests the firmware's console on a virtual board, for a user at a terminal and for a program."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hotpin_hil.paths import NATIVE_ELFS_FILE
from hotpin_hil.protocol.box import Box, BoxFinder
from hotpin_hil.protocol.log import LineSplitter, parse_log_line
from hotpin_hil.protocol.records import Record, RecordScanner
from hotpin_hil.protocol.request import encode_request
from tests.firmware.logic.test_line_editor import PROMPT, TERMINAL, Screen
from tests.support.virtual_board import PATIENCE_S, Boards, Console, native_flash_image

GREETING = "HotPin test console:"
REQUEST = encode_request(7, "sys.tasks", {})


class Person:
    """A user at a terminal on the board's UART."""

    def __init__(self, console: Console, answers: bool = True) -> None:
        self.port = console.port
        self.answers = answers
        self.received = b""
        self._answered = 0

    def type(self, keys: str | bytes) -> None:
        self.port.write(keys.encode() if isinstance(keys, str) else keys)

    def see(self, pattern: str, since: int = 0) -> re.Match[str]:
        """Waits for a pattern in the output (without carriage returns)."""
        deadline = time.monotonic() + PATIENCE_S
        while not (found := re.search(pattern, self.text(since), re.DOTALL)):
            assert time.monotonic() < deadline, f"no {pattern!r} in {self.text(since)[-3000:]!r}"
            self._read()
        return found

    def see_ends_of_boxes(self, count: int, since: int) -> None:
        """Waits for `count` statistics boxes."""
        deadline = time.monotonic() + PATIENCE_S
        while (seen := self.text(since).count("╚")) < count:
            assert time.monotonic() < deadline, f"only {seen} of {count} boxes were printed"
            self._read()

    def _read(self) -> None:
        self.received += self.port.read(max(1, self.port.in_waiting))
        asked = self.received.count(b"\x1b[5n")
        if self.answers and asked > self._answered:
            self._answered = asked
            self.type(TERMINAL)

    def ask(self, line: str) -> str:
        """Types a line; returns the output up to the next prompt."""
        start = len(self.received)
        self.type(line + "\n")
        return self.see(rf"{re.escape(line)}\n(.*)(?:^|\n){PROMPT}$", start)[1]

    def text(self, since: int = 0) -> str:
        return self.received[since:].decode("utf-8", "replace").replace("\r\n", "\n")

    def log_lines(self) -> list[str]:
        """The log lines in the output, as the harness parses them."""
        return [line.text for line in LineSplitter().feed(self.received) if parse_log_line(line)]

    def records(self) -> list[Record]:
        return [item for item in RecordScanner().feed(self.received) if isinstance(item, Record)]


@pytest.fixture
def console(tmp_path: Path) -> Iterator[Console]:
    """The console of a board that has just started the firmware."""
    place = tmp_path / "hotpin-5.4-0"
    place.mkdir()
    (place / "flash.bin").write_bytes(native_flash_image())
    boards = Boards(tmp_path, NATIVE_ELFS_FILE)
    with Console(boards.url) as console:
        console.reset()
        console.expect("HotPin ready")
        yield console
    boards.stop()


@pytest.fixture
def person(console: Console) -> Person:
    """A user who has pressed a first key, with a terminal that answers queries."""
    person = Person(console)
    person.type("\n")
    person.see(rf"{GREETING}.*{PROMPT}")
    person.ask("log.quiet")
    return person


def test_program_gets_neither_prompt_nor_echo(console: Console) -> None:
    program = Person(console, answers=False)
    program.type(REQUEST + encode_request(8, "mem.log", {"context": "x"}))
    program.see("Memory Statistics - x.*╚═+\n")
    assert PROMPT.strip() not in program.text()
    assert GREETING not in program.text()
    assert "sys.tasks" not in program.text()
    assert "\x1b" not in program.text()


def test_first_key_shows_greeting_and_prompt_until_a_request(console: Console) -> None:
    person = Person(console, answers=False)
    person.type("mem.fr")
    person.see(rf"{GREETING}.*\n.*{PROMPT}mem.fr")
    person.type(REQUEST)
    person.see(r"\n@7 \{[^\n]*\n")
    assert person.text().endswith("\n"), "no prompt after the reply"
    assert [record.id for record in person.records()] == [7]


def test_help_has_all_commands_a_group_and_one_with_its_arguments(person: Person) -> None:
    every = person.ask("help")
    names = re.findall(r"^([a-z]+\.[a-z]+)", every, re.MULTILINE)
    assert len(names) == len(set(names))
    assert {"mem.stats", "heap.hold", "mode.set", "log.quiet"} <= set(names)
    assert person.ask("?") == every
    group = person.ask("help mem")
    assert re.findall(r"^(\S+)", group, re.MULTILINE) == [name for name in names if name.startswith("mem.")]
    text = person.ask("help heap.hold")
    assert text.startswith("heap.hold caps=CAPS [size=N] [leave=N] [block=N]\n    allocate one block")
    assert re.search(r"^    caps +needed +capabilities.*: DMA 8BIT", text, re.MULTILINE)
    assert re.search(r"^    size +optional +a number", text, re.MULTILINE)
    assert person.ask("heap.hold ?") == text
    assert "camera|voice" in person.ask("help mode.set")
    assert (
        person.ask("help nosuch") == "UNKNOWN_COMMAND: no command starts with nosuch; help lists all commands"
    )


def test_mistakes_are_named_with_their_remedy(person: Person) -> None:
    assert person.ask("heap.hold caps=DMB size=1").startswith(
        "BAD_ARGUMENT: caps=DMB: not a comma-separated list"
    )
    assert person.ask("heap.hold size").endswith("not key=value; see help heap.hold")
    assert person.ask("mode.set to=vioce").endswith("see help mode.set")
    assert "help" in person.ask("nonsense")
    assert person.ask("heap.release id=9") == "ESP_ERR_NOT_FOUND: no hold has id 9"


def test_typed_change_of_mode_is_answered_when_it_is_done(person: Person) -> None:
    output = person.ask("mode.set to=voice")
    assert re.search(r"STATE: camera -> voice in \d+ ms\nmode: voice\nprevious: camera\n", output)
    assert re.search(r"^duration_ms: [1-9]\d+$", output, re.MULTILINE)
    assert output.endswith("busy: false")
    person.ask("heap.fail step=camera.start")
    assert re.search(r"^ESP_FAIL: step camera.start failed$", person.ask("mode.set to=camera"), re.MULTILINE)
    failed = person.ask("mode.get")
    assert "mode: voice" in failed
    assert "failed:\n  from: voice\n  to: camera\n  err: ESP_FAIL\n" in failed
    assert "step: camera.start" in failed


def test_reply_of_several_records_is_one_text(person: Person) -> None:
    for number in range(3):
        person.ask(f"mem.log context=c{number}")
    history = person.ask("mem.history")
    assert history.startswith("fields: sequence, context, timestamp_ms")
    assert history.count("snapshots:") == 1
    assert "none" not in history
    assert re.findall(r"^  \d+, (c\d),", history, re.MULTILINE) == ["c2", "c1", "c0"]


def test_box_printed_while_typing_leaves_both_whole(person: Person) -> None:
    """The editor must erase the unfinished line and print it again below the box. In the same output, a program must
    find complete lines."""
    person.ask("log.quiet off=1")
    start = len(person.received)
    person.type("mem.monitor start=200\n")
    boxes = 0
    for keys in ("mode.", "gte", b"\x1b[D\x7f", b"\x1b[C", "t"):
        person.type(keys)
        boxes += 2
        person.see_ends_of_boxes(boxes, start)
    person.type("\x15mem.monitor stop=1\n")
    person.see(rf"running: false.*{PROMPT}$", start)
    finder = BoxFinder()
    whole = finder.feed(person.received[start:])
    assert len(whole) >= boxes
    assert all(isinstance(item, Box) and not item.interleaved for item in whole)
    screen = Screen()
    screen.write(re.sub(rb"[^\x00-\x7f]", b".", person.received))
    assert not any("hotpin" in row for row in screen.rows if "MEM_MGR" in row)
    assert {row for row in screen.rows if "mode" in row} <= {PROMPT + "mode.get"}
    assert PROMPT + "mem.monitor stop=1" in screen.rows


def test_silence_ends_with_a_request(person: Person) -> None:
    assert person.ask("log.quiet") == "boxes: silent\nrecords: silent"
    start = len(person.received)
    assert person.ask("mem.log context=unheard").startswith("held_us: ")
    assert person.ask("mode.set to=voice").count("mode: voice") == 1, "a reply must never be silenced"
    person.type(REQUEST)
    silence = person.text(start)[: person.see(r"@7 \{[^\n]*\n", start).start()]
    assert "unheard" not in silence.replace("mem.log context=unheard", "")
    assert "Memory Statistics" not in silence
    assert "@!" not in silence
    person.type(encode_request(8, "mem.log", {"context": "heard"}))
    person.see(r"\"context\":\"heard\".*Memory Statistics - heard.*╚═+\n", start)
    numbers = [record.n for record in person.records()]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers))), (
        "silenced records must not use up sequence numbers"
    )


def test_program_cannot_silence_the_log(console: Console) -> None:
    program = Person(console, answers=False)
    program.type(encode_request(9, "log.quiet", {}))
    assert program.see(r"@9 (\{[^\n]*)\n")[1].startswith('{"ok":false,"err":"ESP_ERR_NOT_SUPPORTED"')


def test_silencing_boxes_leaves_records(person: Person) -> None:
    person.ask("log.quiet off=1")
    assert person.ask("log.quiet what=boxes") == "boxes: silent\nrecords: shown"
    start = len(person.received)
    person.type("mem.log context=x\n")
    person.see(r'"event":"mem.sample","context":"x".*"boxes_dropped"[^\n]*\n', start)
    person.ask("mode.set to=voice")  # this takes longer than printing a box
    assert "Memory Statistics" not in person.text(start)
    silent = len(person.received)
    person.type("log.quiet off=1\n")
    person.see(r"boxes: shown.*records: shown", silent)  # a box that was waiting may follow at once
    person.type("mem.log context=y\n")
    person.see(r"Memory Statistics - y.*╚═+\n", start)
