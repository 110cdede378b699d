"""Tests the console's pure C files: lines, requests, argument checks, cached replies, human-readable text."""

from __future__ import annotations

import base64
import itertools
import json
import re
import string
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from hotpin_hil.protocol.crc import crc16
from hotpin_hil.protocol.request import encode_request
from tests.support.c_build import CModule, build

# The real capability table needs ESP-IDF's bits; two lists are enough here.
CAPS_STUB = """
#include <string.h>
#include "console_caps.h"
bool console_caps_parse(const char *list, uint32_t *caps)
{
    *caps = 1;
    return strcmp(list, "DMA") == 0 || strcmp(list, "INTERNAL,8BIT") == 0;
}
"""

PARSER = build(
    "console_parser",
    ["hil_console/src/console/console_parser.c", "telemetry/src/telemetry_crc.c"],
    ["console_parser.h"],
    extra_source=CAPS_STUB,
)
CACHE = build("reply_cache", ["hil_console/src/console/reply_cache.c"], ["reply_cache.h"])
TEXT = build("console_text", ["hil_console/src/console/console_text.c"], ["console_text.h"])

LINE_MAX = PARSER.const("CONSOLE_LINE_MAX")
OK, EMPTY, NO_ID, CRC, TOO_LONG, SYNTAX, ARGUMENT = range(7)

NAMES = {
    "CONSOLE_LINE_OK": OK,
    "CONSOLE_LINE_EMPTY": EMPTY,
    "CONSOLE_LINE_NO_ID": NO_ID,
    "CONSOLE_LINE_CRC": CRC,
    "CONSOLE_LINE_TOO_LONG": TOO_LONG,
    "CONSOLE_LINE_SYNTAX": SYNTAX,
    "CONSOLE_LINE_ARGUMENT": ARGUMENT,
}


def text_of(module: CModule, pointer: Any) -> str:
    return bytes(module.ffi.string(pointer)).decode("latin-1")


def problem_of(problem: Any) -> tuple[str, str, str]:
    """Key, value and reason of the problem."""
    key = bytes(PARSER.ffi.buffer(problem.key, problem.key_length)).decode("latin-1")
    return key, text_of(PARSER, problem.value), text_of(PARSER, problem.reason)


class Parsed:
    """Passes a line to the parser byte by byte; the attributes are the result and the parsed request as Python
    values."""

    def __init__(self, data: bytes) -> None:
        self._line = PARSER.ffi.new("console_line_t *")
        self._request = PARSER.ffi.new("console_request_t *")
        for byte in data:
            assert not PARSER.lib.console_line_feed(self._line, bytes([byte])), (
                "the line ended before its last byte"
            )
        self.result = PARSER.lib.console_parse(self._line, self._request)
        self.id = self._request.id
        self.hash = self._request.hash
        self.command = text_of(PARSER, self._request.command) if self.result == OK else ""
        self.args = {
            text_of(PARSER, arg.key): text_of(PARSER, arg.value)
            for arg in self._request.args[0 : self._request.arg_count if self.result == OK else 0]
        }
        problem = self._request.problem
        self.problem = problem_of(problem) if self.result in (SYNTAX, ARGUMENT) else None

    def check(self, usage: str) -> tuple[str, str, str] | None:
        """Error of console_check_args() for the arguments, or None."""
        problem = PARSER.ffi.new("console_problem_t *")
        if PARSER.lib.console_check_args(usage.encode(), self._request, problem):
            return None
        return problem_of(problem)


def with_crc(body: bytes) -> bytes:
    return b"@%s*%04X" % (body, crc16(body))


def test_result_names_match_the_enum_in_c() -> None:
    assert {name: getattr(PARSER.lib, name) for name in NAMES} == NAMES


# --- Requests ----------------------------------------------------------------------------------------------

ids = st.integers(1, 65535)
commands = st.from_regex(r"[a-z]{1,8}\.[a-z]{1,8}", fullmatch=True)
keys = st.from_regex(r"[a-z0-9_]{1,12}", fullmatch=True)
# Characters that the host may send: printable ASCII without '*' (the checksum's mark).
values = st.text(st.sampled_from(sorted(set(string.printable[:95]) - {"*"})), min_size=1, max_size=30)
arguments = st.dictionaries(keys, values, max_size=4)
LINE_ENDS = frozenset(b"\r\n")
junk_bytes = st.binary(max_size=100).filter(lambda junk: not LINE_ENDS & set(junk))


@given(ids, commands, arguments)
def test_request_arrives_as_the_host_encoded_it(request_id: int, command: str, args: dict[str, str]) -> None:
    line = encode_request(request_id, command, args).rstrip(b"\n")
    parsed = Parsed(line)
    assert (parsed.result, parsed.id, parsed.command, parsed.args) == (OK, request_id, command, args)


@given(ids, commands, arguments, st.data())
def test_damaged_request_is_never_taken_for_another(
    request_id: int, command: str, args: dict[str, str], data: st.DataObject
) -> None:
    """A request in which one byte is changed, lost or inserted must be refused, or be treated as a typed line."""
    whole = encode_request(request_id, command, args).rstrip(b"\n")
    line = bytearray(whole)
    at = data.draw(st.integers(0, len(line) - 1))
    noise = data.draw(st.integers(0, 255).filter(lambda byte: byte not in LINE_ENDS))
    kind = data.draw(st.sampled_from(["change", "lose", "insert"]))
    if kind == "change":
        assume(line[at] != noise)
        line[at] = noise
    elif kind == "lose":
        del line[at]
    else:
        line.insert(at, noise)
    parsed = Parsed(bytes(line))
    if parsed.result == OK and parsed.id != 0:
        assert line.endswith(whole), "only a byte inserted before the request may leave it intact"
        assert (parsed.id, parsed.command, parsed.args) == (request_id, command, args)


@given(junk_bytes, ids, commands, arguments)
def test_request_is_found_behind_garbage(
    junk: bytes, request_id: int, command: str, args: dict[str, str]
) -> None:
    """Noise or a truncated line may precede a request. The checksum shows where the request starts."""
    line = encode_request(request_id, command, args).rstrip(b"\n")
    assume(len(junk) + len(line) <= LINE_MAX)
    parsed = Parsed(junk + line)
    assert (parsed.result, parsed.id, parsed.command, parsed.args) == (OK, request_id, command, args)


@pytest.mark.parametrize(
    ("line", "result", "identifier"),
    [
        (b"", EMPTY, 0),
        (b" \t ", EMPTY, 0),
        (b"@", NO_ID, 0),
        (b"@ mem.stats", NO_ID, 0),
        (b"@x mem.stats", NO_ID, 0),
        (b"@0 mem.stats", NO_ID, 0),
        (b"@65536 mem.stats", NO_ID, 0),
        (b"@4294967297 mem.stats", NO_ID, 0),
        (b"@12mem.stats", NO_ID, 0),
        (b"@12", SYNTAX, 12),
        (b"@12 mem.stats*0000", CRC, 12),
        (b"@12 mem.stats*12", CRC, 12),
        (b"@12 mem.stats*", CRC, 12),
        (b"@12 mem.log context=a*b", CRC, 12),
        (b"@12 mem.stats*12345", CRC, 12),
        (b"@12 mem.st\x00ts", SYNTAX, 12),
        (b"@12 mem.log context=\xe2\x95\x91", SYNTAX, 12),
        (b'@12 mem.log context="a', SYNTAX, 12),
        (b'@12 mem.log context="a\\', SYNTAX, 12),
        (b'@12 mem.log context="a"b', SYNTAX, 12),
        (b"@12 mem.log context", ARGUMENT, 12),
        (b"@12 mem.log =x", ARGUMENT, 12),
        (b"@12 mem.log Context=x", ARGUMENT, 12),
        (b"@12 mem.log a=1 a=2", ARGUMENT, 12),
        (b"@12 mem.log " + b" ".join(b"k%d=1" % i for i in range(13)), ARGUMENT, 12),
        (b"@12 " + b"x" * LINE_MAX, TOO_LONG, 12),
        (b"x" * (LINE_MAX + 1), TOO_LONG, 0),
    ],
)
def test_bad_line_is_named(line: bytes, result: int, identifier: int) -> None:
    parsed = Parsed(line)
    assert (parsed.result, parsed.id) == (result, identifier)


@pytest.mark.parametrize("mark", [b"", b"x", b"0", b" "])
def test_checksum_without_its_mark_is_no_part_of_the_value(mark: bytes) -> None:
    """`size=1024` must not become `size=10240123` because the '*' between them was lost or changed."""
    body = b"7 heap.hold caps=DMA size=1024"
    parsed = Parsed(b"@%s%s%04X" % (body, mark, crc16(body)))
    assert (parsed.result, parsed.id) == (CRC, 7)


def test_lower_case_checksum_is_refused() -> None:
    body = b"2 mem.stats"
    assert any(digit in b"ABCDEF" for digit in with_crc(body).rpartition(b"*")[2]), (
        "the CRC must contain a letter"
    )
    assert Parsed(with_crc(body)).result == OK
    assert Parsed(b"@%s*%04x" % (body, crc16(body))).result == CRC


def test_typed_line_needs_no_at_sign_and_checksum() -> None:
    parsed = Parsed(b'  mem.log   context="After Lunch" ')
    assert (parsed.result, parsed.id, parsed.command) == (OK, 0, "mem.log")
    assert parsed.args == {"context": "After Lunch"}


def test_problem_names_key_and_value() -> None:
    assert Parsed(b"@1 mem.log a=1 a=2").problem == ("a", "2", "given twice")
    assert Parsed(b"@1 mem.log nonsense a=2").problem == ("nonsense", "", "not key=value")
    long = "k" * 200
    assert Parsed(f"@1 mem.log {long}=1 {long[:5]} a=2".encode()).problem == ("kkkkk", "", "not key=value")
    assert Parsed(f"@1 mem.log {long} a=2".encode()).problem == (long, "", "not key=value")


@given(ids, commands, arguments)
def test_repeat_and_other_request_differ_in_their_hash(
    request_id: int, command: str, args: dict[str, str]
) -> None:
    line = encode_request(request_id, command, args).rstrip(b"\n")
    other = encode_request(request_id, command + "x", args).rstrip(b"\n")
    assert Parsed(line).hash == Parsed(line).hash != Parsed(other).hash


# --- Lines -------------------------------------------------------------------------------------------------


def feed(data: bytes) -> tuple[list[bytes], bool]:
    line = PARSER.ffi.new("console_line_t *")
    lines = []
    overlong = False
    for byte in data:
        if PARSER.lib.console_line_feed(line, bytes([byte])):
            lines.append(bytes(PARSER.ffi.buffer(line.bytes, line.length)))
            overlong |= line.overlong
            PARSER.lib.console_line_reset(line)
    return lines, overlong


def as_request_line(raw: bytes) -> bytes:
    return b"@" + raw.replace(b"\n", b"").replace(b"\r", b"")


@given(st.lists(st.binary(max_size=300).map(as_request_line), max_size=5))
def test_lines_are_cut_at_their_ends_and_never_longer_than_a_request(raw: list[bytes]) -> None:
    lines, overlong = feed(b"".join(line + b"\n" for line in raw))
    assert lines == [line[:LINE_MAX] for line in raw]
    assert overlong == any(len(line) > LINE_MAX for line in raw)


def test_request_of_maximum_length_is_accepted_and_a_longer_one_refused() -> None:
    longest = with_crc(b"9 mem.log context=".ljust(LINE_MAX - 6, b"x"))
    assert len(longest) == LINE_MAX
    assert Parsed(longest).result == OK
    assert Parsed(with_crc(b"9 mem.log context=".ljust(LINE_MAX - 5, b"x"))).result == TOO_LONG


# --- Arguments ---------------------------------------------------------------------------------------------

HOLD = "caps=CAPS [size=N] [leave=N] [block=N]"


@pytest.mark.parametrize(
    ("usage", "line", "problem"),
    [
        (HOLD, b"x caps=DMA leave=20480", None),
        (HOLD, b"x caps=INTERNAL,8BIT size=0", None),
        (HOLD, b"x size=1", ("caps", "", "missing")),
        (HOLD, b"x caps=DMB size=1", ("caps", "DMB", "capabilities")),
        (HOLD, b"x caps= size=1", ("caps", "", "capabilities")),
        (HOLD, b"x caps=DMA siz=1", ("siz", "1", "unknown")),
        (HOLD, b"x caps=DMA sizes=1", ("sizes", "1", "unknown")),
        (HOLD, b"x caps=DMA size=12x", ("size", "12x", "number")),
        (HOLD, b"x caps=DMA size=-1", ("size", "-1", "number")),
        (HOLD, b"x caps=DMA size=+1", ("size", "+1", "number")),
        (HOLD, b"x caps=DMA size=0x10", ("size", "0x10", "number")),
        (HOLD, b"x caps=DMA size=4294967295", None),
        (HOLD, b"x caps=DMA size=4294967296", ("size", "4294967296", "number")),
        (HOLD, b"x caps=DMA size=99999999999999999999", ("size", "99999999999999999999", "number")),
        (HOLD, b"x caps=DMA size=", ("size", "", "number")),
        ("[stop=1]", b"x stop=1", None),
        ("[stop=1]", b"x stop=0", ("stop", "0", "must be 1")),
        ("what=some|log n=N", b"x what=log n=1", None),
        ("what=some|log", b"x what=lo", ("what", "lo", "words")),
        ("what=some|log", b"x what=logs", ("what", "logs", "words")),
        ("what=some|log", b"x what=some|log", ("what", "some|log", "words")),
        ("sizes=SIZES", b"x sizes=1,22,333", None),
        ("sizes=SIZES", b"x sizes=1,,3", ("sizes", "1,,3", "list")),
        ("sizes=SIZES", b"x sizes=1,0", ("sizes", "1,0", "list")),
        ("sizes=SIZES", b"x sizes=1,2,", ("sizes", "1,2,", "list")),
        ("sizes=SIZES", b"x sizes=" + b",".join([b"1"] * 16), None),
        ("sizes=SIZES", b"x sizes=" + b",".join([b"1"] * 17), ("sizes", ",".join(["1"] * 17), "list")),
        ("context=TEXT", b'x context="a b"', None),
        ("context=TEXT", b'x context=""', ("context", "", "empty")),
        ("", b"x", None),
        ("", b"x a=1", ("a", "1", "unknown")),
    ],
)
def test_arguments_are_checked_against_the_usage(
    usage: str, line: bytes, problem: tuple[str, str, str] | None
) -> None:
    found = Parsed(line).check(usage)
    if problem is None:
        assert found is None
    else:
        assert found is not None
        assert found[:2] == problem[:2]
        assert problem[2] in found[2]


@given(st.text(st.sampled_from("0123456789 +-x"), max_size=12))
def test_numbers_are_parsed_as_in_python_or_refused(text: str) -> None:
    number = PARSER.ffi.new("uint32_t *", 77)
    valid = text.isascii() and text.isdigit() and int(text) <= 0xFFFFFFFF
    assert PARSER.lib.console_parse_u32(text.encode(), number) == valid
    assert number[0] == (int(text) if valid else 77)


@given(st.lists(st.integers(1, 0xFFFFFFFF), min_size=1, max_size=20))
def test_sizes_are_read_up_to_the_limit(numbers: list[int]) -> None:
    sizes = PARSER.ffi.new("uint32_t[16]")
    count = PARSER.lib.console_parse_sizes(",".join(map(str, numbers)).encode(), sizes, 16)
    assert list(sizes[0:count]) == (numbers if len(numbers) <= 16 else [])


@given(st.binary(min_size=1, max_size=200), st.integers(0, 200))
def test_base64_gives_the_bytes_or_nothing(data: bytes, room: int) -> None:
    out = PARSER.ffi.new("uint8_t[201]", b"\xaa" * 201)
    length = PARSER.ffi.new("size_t *")
    fits = PARSER.lib.console_parse_base64(base64.b64encode(data), out, room, length)
    assert fits == (len(data) <= room)
    if fits:
        assert bytes(PARSER.ffi.buffer(out))[: length[0]] == data
    assert all(byte == 0xAA for byte in bytes(PARSER.ffi.buffer(out))[room:]), (
        "the function wrote beyond the buffer"
    )


@pytest.mark.parametrize("text", ["", "A", "AAA", "AAA*", "A===", "=AAA", "AA=A", "AA AA", "AAAA="])
def test_broken_base64_is_refused(text: str) -> None:
    out = PARSER.ffi.new("uint8_t[16]")
    length = PARSER.ffi.new("size_t *")
    assert not PARSER.lib.console_parse_base64(text.encode(), out, 16, length)


# --- Stored replies ----------------------------------------------------------------------------------------


def read_kept(request_id: int, value: int) -> bytes:
    out = CACHE.ffi.new("char[484]")
    kept = b""
    while length := CACHE.lib.reply_cache_read(request_id, value, len(kept), out, 484):
        kept += bytes(CACHE.ffi.buffer(out, length))
    return kept


reply_lines = st.binary(min_size=1, max_size=470).map(lambda raw: raw.replace(b"\n", b"") + b"\r\n")
replies = st.lists(st.tuples(ids, st.lists(reply_lines, min_size=1, max_size=6)), min_size=1, max_size=12)


request_numbers = itertools.count()
"""Distinct hashes of requests. The cache persists across Hypothesis's examples, so each number is used only once."""


@given(replies)
def test_last_four_replies_are_kept_whole_or_not_at_all(given_replies: list[tuple[int, list[bytes]]]) -> None:
    kept: list[tuple[tuple[int, int], bytes]] = []
    for (request_id, lines), number in zip(given_replies, request_numbers, strict=False):
        CACHE.lib.reply_cache_begin(request_id, number)
        for line in lines:
            CACHE.lib.reply_cache_add(line, len(line))
        kept = [*kept, ((request_id, number), b"".join(lines))][-CACHE.const("REPLY_CACHE_ENTRIES") :]
    room = CACHE.const("REPLY_CACHE_SIZE")
    for (request_id, number), text in reversed(kept):
        room -= len(text)
        expected = text if room >= 0 else b""
        assert read_kept(request_id, number) == expected, (
            "only the newest replies that fit into the cache may be found"
        )
        assert read_kept(request_id, number + 1_000_000) == b"", (
            "a different request with a stored id must not be found"
        )


@pytest.mark.parametrize(("last", "kept"), [(1500, {3, 4}), (100, {2, 3, 4})])
def test_oldest_replies_make_room_for_the_last(last: int, kept: set[int]) -> None:
    """The cache holds 4,000 bytes; a reply of `last` bytes evicts the oldest replies, each as a whole."""
    sizes = {1: 1000, 2: 2000, 3: 1000, 4: last}
    texts = {number: (b"%d" % number * 99 + b"\n") * (size // 100) for number, size in sizes.items()}
    for number, text in texts.items():
        CACHE.lib.reply_cache_begin(number, 2_000_000)
        for line in text.splitlines(keepends=True):
            CACHE.lib.reply_cache_add(line, len(line))
    for number, text in texts.items():
        assert read_kept(number, 2_000_000) == (text if number in kept else b"")


def test_reply_larger_than_the_cache_is_not_kept_in_part() -> None:
    CACHE.lib.reply_cache_begin(7, 7)
    for _ in range(20):
        CACHE.lib.reply_cache_add(b"x" * 399 + b"\n", 400)
    assert read_kept(7, 7) == b""
    CACHE.lib.reply_cache_begin(8, 8)
    CACHE.lib.reply_cache_add(b"ok\n", 3)
    assert read_kept(8, 8) == b"ok\n"


# --- Human-readable text -------------------------------------------------------------------------------------


def as_text(members: bytes, continues: bool = False, unfinished: bool = False) -> str:
    written = bytearray()
    write = TEXT.ffi.callback(
        "void(const char *, size_t)", lambda text, length: written.extend(TEXT.ffi.buffer(text, length))
    )
    json = TEXT.new("char[]", members + b"#")  # the parser must not read beyond it
    TEXT.lib.console_text_from_members(json, len(members), continues, unfinished, write)
    assert not written or written.endswith(b"\r\n")
    return bytes(written).decode("latin-1").replace("\r\n", "\n").removesuffix("\n")


@pytest.mark.parametrize(
    ("members", "text"),
    [
        (b'"free":1', "free: 1"),
        (b'"free":-1,"ok":true,"none":null', "free: -1\nok: true\nnone: null"),
        (b'"mode":"voice","n":2', "mode: voice\nn: 2"),
        (b'"a":"x,y:z] }","b":1', "a: x,y:z] }\nb: 1"),
        (b'"a":"quote \\" and \\\\, \\u00e9"', 'a: quote " and \\, \\u00e9'),
        (b'"steps":["lock","camera.stop"],"n":1', "steps: lock, camera.stop\nn: 1"),
        (b'"steps":[],"failed":{},"n":1', "steps: none\nfailed: none\nn: 1"),
        (b'"unused":{"state":1,"b":"x"},"n":1', "unused:\n  state: 1\n  b: x\nn: 1"),
        (
            b'"ledger":[{"step":"lock","undo":false},{"step":"x"}]',
            "ledger:\n  step=lock, undo=false\n  step=x",
        ),
        (b'"snapshots":[[1,"System Boot",2],[3]]', "snapshots:\n  1, System Boot, 2\n  3"),
        (b'"before":{"DMA":{"free":1,"largest":2}}', "before:\n  DMA: free=1, largest=2"),
        (b'"deep":[[[[1,{"a":2}]]]]', 'deep:\n  [1,{"a":2}]'),
    ],
)
def test_members_become_lines(members: bytes, text: str) -> None:
    assert as_text(members) == text


def test_array_across_two_records_has_its_key_once() -> None:
    assert as_text(b'"n":1,"rows":[[1,2],[3]]', unfinished=True) == "n: 1\nrows:\n  1, 2\n  3"
    assert as_text(b'"rows":[[4]],"m":[]', continues=True) == "  4\nm: none"
    assert as_text(b'"n":1,"rows":[]', unfinished=True).split() == ["n:", "1", "rows:"], (
        "no text may be printed before the rows have arrived"
    )
    assert as_text(b'"names":["c"]', continues=True) == "  c"


json_values = st.recursive(
    st.one_of(st.integers(), st.booleans(), st.text(st.characters(codec="ascii"), max_size=8)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.from_regex("[a-z]{1,4}", fullmatch=True), inner, max_size=4),
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.from_regex("[a-z]{1,4}", fullmatch=True), json_values, min_size=1, max_size=4))
def test_every_figure_of_a_reply_is_in_the_text(reply: dict[str, Any]) -> None:
    text = as_text(json.dumps(reply, separators=(",", ":"))[1:-1].encode())
    for key, value in reply.items():
        assert re.search(rf"^{key}:", text, re.MULTILINE)
        for number in re.findall(r"\d+", json.dumps(value) if not isinstance(value, str) else ""):
            assert number in text


@given(st.binary(max_size=400), st.booleans(), st.booleans())
def test_any_text_is_read_to_its_end_and_no_further(data: bytes, continues: bool, unfinished: bool) -> None:
    as_text(data, continues, unfinished)


@given(st.sampled_from([b"[", b"{", b'{"a":', b'"', b",", b"]", b"[,"]), st.integers(1, 480))
def test_deep_nesting_does_not_overflow_the_stack(piece: bytes, count: int) -> None:
    as_text(b'"a":' + piece * count)
