"""Tests the scanner of records in a stream: it must find valid records, and nothing that only resembles a record."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotpin_hil.protocol.crc import crc16
from hotpin_hil.protocol.records import SPAN_MAX, Corrupt, Record, RecordScanner, encode
from hotpin_hil.protocol.sequence import SequenceCheck

FIELDS = {"t": 1, "b": "0a0b0c0d", "n": 0}


def scan(*chunks: bytes) -> list[Record | Corrupt]:
    scanner = RecordScanner()
    return [item for chunk in chunks for item in scanner.feed(chunk)]


def sound(items: list[Record | Corrupt]) -> list[Record]:
    return [item for item in items if isinstance(item, Record)]


def test_checksum_is_ccitt_false() -> None:
    assert crc16(b"123456789") == 0x29B1


def test_record_written_by_hand_is_read() -> None:
    # Checksum from an independent, bitwise implementation of CRC-16/CCITT-FALSE.
    body = b'12 {"ok":true,"t":5,"b":"01020304","n":3}'
    crc = 0xFFFF
    for byte in body:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ 0x1021 if crc & 0x8000 else crc << 1) & 0xFFFF
    (record,) = scan(b"@" + body + b"*%04X\r\n" % crc)
    assert isinstance(record, Record)
    assert (record.kind, record.id, record.t_ms, record.boot, record.n) == ("reply", 12, 5, "01020304", 3)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"", b""),
        (b"I (123) APP: hello ", b""),
        (b"mail@home @ @! @12 ", b""),
        (b"\x1b[0;32mI (1) T: x\x1b[0m", b""),
        (b"\xff\xfe\x00\x80garbage", b""),
        (b"@7 {cut off", b""),
        (b'@! {"event":"mem.sample","t":1,', b""),
        (b"", b"text without a newline"),
    ],
)
def test_record_is_found_anywhere_in_a_line(before: bytes, after: bytes) -> None:
    raw = encode("!", {"event": "boot", **FIELDS}).rstrip()
    found = sound(scan(before + raw + after))
    assert [(record.event, record.offset) for record in found] == [("boot", len(before))]


def test_records_without_newline_between_them_are_both_found() -> None:
    first, second = encode("1", {"ok": True, **FIELDS}).rstrip(), encode("!", {"event": "x", **FIELDS})
    assert [record.raw for record in sound(scan(first + second))] == [first, second.rstrip()]


def test_checksum_like_text_and_records_inside_a_string_do_not_end_a_record() -> None:
    data = {"text": 'a}*ABCD @! {"b":1}*0000', **FIELDS}
    (record,) = scan(encode("5", data))
    assert isinstance(record, Record)
    assert record.data == data


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (encode("5", {"ok": True, **FIELDS}).replace(b"true", b"tRue"), "does not match"),
        (b'@5 {"ok":true\n', "cut off"),
        (b'@5 {"x":"\xe2"}*%04X\n' % crc16(b'5 {"x":"\xe2"}'), "cut off"),
        (b"@5 {" + b"x" * SPAN_MAX, "longer than"),
        (b"@5 {]}*%04X\n" % crc16(b"5 {]}"), "JSON invalid"),
        (b'@5 {"t":NaN}*%04X\n' % crc16(b'5 {"t":NaN}'), "JSON invalid"),
        (encode("5", {"t": 1, "b": "00"}), "'n' is missing"),
        (encode("5", {"t": True, "b": "00", "n": 1}), "'t' is missing or not int"),
        (b"@5 {" + b"[" * 900 + b"}*%04X\n" % crc16(b"5 {" + b"[" * 900 + b"}"), "JSON invalid"),
    ],
)
def test_damage_is_reported_and_the_next_record_found(raw: bytes, reason: str) -> None:
    scanner = RecordScanner()
    items = scanner.feed(raw + encode("6", {"ok": True, **FIELDS}))
    assert [type(item) for item in items] == [Corrupt, Record]
    assert isinstance(items[0], Corrupt)
    assert reason in items[0].reason
    assert scanner.damaged == 1


@given(st.lists(st.binary(max_size=60), max_size=8), st.data())
def test_any_noise_around_and_any_chunking_finds_every_record(
    noise: list[bytes], data: st.DataObject
) -> None:
    records = [encode("!", {"event": "e", "t": 1, "b": "00", "n": n}) for n in range(len(noise))]
    # Here noise always ends with a newline; noise that runs into the head of a record is tested above.
    stream = b"".join(part + b"\n" + record for part, record in zip(noise, records, strict=True))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    chunks = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    found = sound(scan(*chunks))
    assert [record.n for record in found] == list(range(len(noise)))
    assert [stream[r.offset : r.offset + len(r.raw)] for r in found] == [r.raw for r in found]


@given(st.data())
def test_one_damaged_byte_is_never_read_as_another_record(data: st.DataObject) -> None:
    raw = encode("!", {"event": "mem.sample", "internal_free": 123456, **FIELDS})
    at = data.draw(st.integers(0, len(raw) - 2))
    flip = data.draw(st.integers(1, 255))
    damaged = raw[:at] + bytes([raw[at] ^ flip]) + raw[at + 1 :]
    assert sound(scan(damaged)) == []


def test_hostile_bytes_cost_neither_memory_nor_time() -> None:
    scanner = RecordScanner()
    for _ in range(200):
        scanner.feed(b"@1 {" * 250 + b"*AAAA" * 20)
    assert len(scanner._buffer) <= 2 * SPAN_MAX


# --- Sequence numbers ---


def record(n: int, boot: str = "aa") -> Record:
    (item,) = scan(encode("!", {"event": "e", "t": 1, "b": boot, "n": n}))
    assert isinstance(item, Record)
    return item


def test_gap_is_detected_and_closed_by_the_repeated_record() -> None:
    check = SequenceCheck()
    assert [check.add(record(n), index) for index, n in enumerate([4, 5, 8])] == [True, True, True]
    assert [(gap.n, gap.seen_at) for gap in check.gaps()] == [(6, 2), (7, 2)]
    assert check.add(record(6), 3)
    assert [gap.n for gap in check.gaps()] == [7]
    assert check.gaps(since=3) == []


def test_repeat_is_distinguished_from_a_record_sent_before_listening() -> None:
    check = SequenceCheck()
    assert check.add(record(50), 0)
    assert not check.add(record(50), 1)
    assert check.add(record(7), 1)
    assert not check.add(record(7), 2)


def test_new_boot_restarts_counting() -> None:
    check = SequenceCheck()
    check.add(record(9), 0)
    check.add(record(11), 1)
    check.add(record(0, "bb"), 2)
    assert check.gaps() == []
    assert check.boots == [("aa", 0), ("bb", 2)]
    assert not check.add(record(12, "aa"), 3), "a late record of the previous boot"
