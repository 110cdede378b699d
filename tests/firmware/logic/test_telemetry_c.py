"""Tests the firmware's record writer: checksums, JSON, escaping, and records that do not fit."""

from __future__ import annotations

import binascii
import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.support.c_build import build

MODULE = build(
    "telemetry_record",
    ["telemetry/src/record.c", "telemetry/src/number_format.c", "telemetry/src/telemetry_crc.c"],
    ["record.h", "number_format.h", "telemetry_crc.h"],
)
ffi, lib, new = MODULE.ffi, MODULE.lib, MODULE.new
RECORD_MAX = MODULE.const("TELEMETRY_RECORD_MAX")
BUFFER_SIZE = MODULE.const("TELEMETRY_BUFFER_SIZE")
CANARY = b"\xa5" * 16
RECORD = re.compile(rb"@(?P<id>!|\d+) (?P<json>\{.*\})\*(?P<crc>[0-9A-F]{4})\r\n", re.S)

u32 = st.integers(0, 2**32 - 1)
i32 = st.integers(-(2**31), 2**31 - 1)


def crc16(data: bytes) -> int:
    """CRC-16/CCITT-FALSE, implemented independently."""
    return binascii.crc_hqx(data, 0xFFFF)


class Record:
    """A record under construction, in a buffer followed by guard bytes."""

    def __init__(self, size: int = BUFFER_SIZE) -> None:
        self.size = size
        self.buf = new("char[]", size + len(CANARY))
        ffi.memmove(self.buf + size, CANARY, len(CANARY))
        self.r = new("telemetry_record_t *")

    def reply(self, number: int = 12) -> Record:
        lib.telemetry_reply_begin(self.r, self.buf, self.size, number)
        return self

    def event(self, name: bytes = b"boot") -> Record:
        lib.telemetry_event_begin(self.r, self.buf, self.size, name)
        return self

    def finish(self, time_ms: int = 123, boot: bytes = b"1a2b3c4d", number: int = 7) -> bytes | None:
        """Finishes the record; returns its line, or None if the record did not fit."""
        error = lib.telemetry_record_finish(self.r, time_ms, boot, number)
        assert bytes(ffi.buffer(self.buf + self.size, len(CANARY))) == CANARY
        if error == MODULE.const("ESP_ERR_INVALID_SIZE"):
            return None
        assert error == 0
        line = bytes(ffi.buffer(self.r.buf, self.r.len))
        assert self.r.len < self.size
        assert len(line) - 2 <= RECORD_MAX
        return line


def parse(line: bytes | None) -> dict[str, Any]:
    assert line is not None, "the record did not fit"
    assert line.isascii()
    found = RECORD.fullmatch(line)
    assert found, line
    assert b"\n" not in line[:-2]
    assert int(found["crc"], 16) == crc16(line[1 : line.rindex(b"*")])
    data: dict[str, Any] = json.loads(found["json"])
    return data


def value_of(put: Callable[[Any, bytes], None]) -> Any:
    record = Record().reply()
    put(record.r, b"key")
    return parse(record.finish())["key"]


@given(st.binary(max_size=300))
def test_crc_against_another_implementation(data: bytes) -> None:
    assert lib.telemetry_crc16(0xFFFF, data, len(data)) == crc16(data)
    half = len(data) // 2
    assert lib.telemetry_crc16(
        lib.telemetry_crc16(0xFFFF, data[:half], half), data[half:], len(data) - half
    ) == crc16(data)


def test_crc_check_value() -> None:
    assert lib.telemetry_crc16(0xFFFF, b"123456789", 9) == 0x29B1


@given(u32, i32, st.booleans(), st.integers(1, 8))
def test_numbers_are_formatted_as_by_printf(unsigned: int, signed: int, plus: bool, digits: int) -> None:
    out = new("char[]", b"\xa5" * MODULE.const("NUMBER_TEXT_SIZE"))
    assert lib.number_u32(out, unsigned) == len(str(unsigned))
    assert ffi.string(out) == str(unsigned).encode()
    text = f"{signed:+d}" if plus else str(signed)
    assert lib.number_i32(out, signed, plus) == len(text)
    assert ffi.string(out) == text.encode()
    assert lib.number_hex(out, unsigned, digits, plus) == digits
    assert ffi.string(out).decode() == (f"{unsigned:08X}" if plus else f"{unsigned:08x}")[-digits:]


def test_reply_matches_byte_for_byte() -> None:
    record = Record().reply(12)
    lib.telemetry_bool(record.r, b"ok", True)
    body = b'12 {"ok":true,"t":123,"b":"1a2b3c4d","n":7}'
    assert record.finish() == b"@" + body + b"*%04X\r\n" % crc16(body)


def test_event_matches_byte_for_byte() -> None:
    record = Record().event(b"mem.warning")
    lib.telemetry_str(record.r, b"type", b"DMA_LOW")
    lib.telemetry_i32(record.r, b"delta", -5)
    body = b'! {"event":"mem.warning","type":"DMA_LOW","delta":-5,"t":123,"b":"1a2b3c4d","n":7}'
    assert record.finish() == b"@" + body + b"*%04X\r\n" % crc16(body)


def test_reply_without_fields() -> None:
    assert parse(Record().reply(65535).finish()) == {"t": 123, "b": "1a2b3c4d", "n": 7}


@given(u32, i32, st.booleans(), st.binary(max_size=40))
def test_values_survive_a_round_trip(unsigned: int, signed: int, flag: bool, data: bytes) -> None:
    assert value_of(lambda r, key: lib.telemetry_u32(r, key, unsigned)) == unsigned
    assert value_of(lambda r, key: lib.telemetry_i32(r, key, signed)) == signed
    assert value_of(lambda r, key: lib.telemetry_bool(r, key, flag)) is flag
    assert value_of(lambda r, key: lib.telemetry_hex(r, key, unsigned)) == f"0x{unsigned:08x}"
    assert value_of(lambda r, key: lib.telemetry_bytes(r, key, data, len(data))) == data.hex()
    assert value_of(lambda r, key: lib.telemetry_str(r, key, ffi.NULL)) is None


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30))
@example("\x1f\x20\x7e\x7f\x80\u07ff\u0800\ud7ff\ue000\uffff\U00010000\U0010ffff")
def test_any_text_survives_a_round_trip(text: str) -> None:
    assert value_of(lambda r, key: lib.telemetry_str(r, key, text.encode())) == text


@given(st.binary(max_size=60).map(lambda data: data.replace(b"\0", b"")))
def test_any_bytes_become_json(data: bytes) -> None:
    value = value_of(lambda r, key: lib.telemetry_str(r, key, data))
    if "�" not in data.decode(errors="replace"):
        assert value == data.decode()
    else:
        assert "�" in value


@pytest.mark.parametrize(
    "broken",
    [
        b"\x80",
        b"\xc3",
        b"\xc3(",
        b"\xe2\x95",
        b"\xf0\x9f\x98",
        b"\xc0\x80",
        b"\xe0\x80\x80",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"\xff",
    ],
)
def test_broken_utf8_is_marked_and_the_rest_survives(broken: bytes) -> None:
    value = value_of(lambda r, key: lib.telemetry_str(r, key, b"a" + broken + b"z"))
    assert re.fullmatch("a�+\\(?z", value)


def test_strn_stops_at_its_length_and_at_the_terminator() -> None:
    assert value_of(lambda r, key: lib.telemetry_strn(r, key, b"abcdef", 3)) == "abc"
    assert value_of(lambda r, key: lib.telemetry_strn(r, key, b"ab", 30)) == "ab"


def test_arrays_and_objects_nest() -> None:
    record = Record().reply()
    r = record.r
    lib.telemetry_array_begin(r, b"list")
    for value in (1, 2):
        lib.telemetry_object_begin(r, ffi.NULL)
        lib.telemetry_u32(r, b"v", value)
        lib.telemetry_array_begin(r, b"empty")
        lib.telemetry_array_end(r)
        lib.telemetry_object_end(r)
    lib.telemetry_u32(r, ffi.NULL, 3)
    lib.telemetry_array_end(r)
    lib.telemetry_bool(r, b"more", True)
    data = parse(record.finish())
    assert data["list"] == [{"v": 1, "empty": []}, {"v": 2, "empty": []}, 3]
    assert data["more"] is True


@given(st.integers(0, 600), st.integers(0, 700), u32, u32)
def test_a_record_is_whole_or_not_at_all(size: int, length: int, time_ms: int, number: int) -> None:
    record = Record(size).reply(65535)
    text = "x" * length
    room = lib.telemetry_record_room(record.r)
    lib.telemetry_str(record.r, b"key", text.encode())
    line = record.finish(time_ms, number=number)
    assert (line is not None) == (room >= len(f'"key":"{text}"'))
    if line is not None:
        assert parse(line) == {"key": text, "t": time_ms, "b": "1a2b3c4d", "n": number}


def test_overflowed_record_stays_overflowed() -> None:
    record = Record(100).reply()
    lib.telemetry_str(record.r, b"key", b"x" * 100)
    lib.telemetry_u32(record.r, b"small", 1)
    assert lib.telemetry_record_room(record.r) == 0
    assert record.finish() is None


def test_longest_record_has_the_maximum_length() -> None:
    record = Record(4096).event(b"e")
    lib.telemetry_str(record.r, b"k", b"x" * (lib.telemetry_record_room(record.r) - len(',"k":""')))
    line = record.finish(2**32 - 1, b"ffffffff", 2**32 - 1)
    assert line is not None
    assert len(line) - 2 == RECORD_MAX
    parse(line)


def test_identity_of_a_build_fits_into_one_record() -> None:
    """Writes the fields of sys.info like identity.c, in a reply with the longest id. The strings come from a real
    build."""
    record = Record().reply(65535)
    r = record.r
    lib.telemetry_bool(r, b"ok", True)
    for key, text in (
        (b"project", b"hotpin"),
        (b"version", b"10.10.10"),
        (b"idf", b"v5.4.4-956-g69ae551ac64-dirty"),
    ):
        lib.telemetry_strn(r, key, text, 32)
    lib.telemetry_bytes(r, b"elf_sha256", b"\xff" * 32, 32)
    lib.telemetry_str(r, b"chip", b"virtual")
    lib.telemetry_str(r, b"mac", b"24:0a:c4:00:00:01")
    lib.telemetry_str(r, b"reset_reason", b"DEEPSLEEP")
    lib.telemetry_str(r, b"build", b"release")
    lib.telemetry_str(r, b"commit", b"f" * 40)
    lib.telemetry_str(r, b"dirty", b"f" * 12)
    lib.telemetry_u32(r, b"rev", 399)
    for key, value in (
        (b"psram", 8 << 20),
        (b"flash", 16 << 20),
        (b"boot_count", 99_999),
        (b"free_at_main", 8 << 20),
    ):
        lib.telemetry_u32(r, key, value)
    parse(record.finish(2**32 - 1, b"ffffffff", 99_999))
