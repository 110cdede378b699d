"""Tests the parser of WAV headers: accepted forms and reasons for refusal, compared with an independent parser."""

from __future__ import annotations

import io
import os
import struct
import wave
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hotpin_hil.paths import PROJECT_ROOT
from tests.support.c_build import COMPONENTS, build
from tests.support.c_program import fuzz

WAV = build("wav_parser", ["tts_decoder/src/wav_parser.c"], ["wav_parser.h"])
ERRORS = {
    getattr(WAV.lib, name): name
    for name in (
        "WAV_OK",
        "WAV_NO_RIFF",
        "WAV_BAD_LENGTH",
        "WAV_BAD_ORDER",
        "WAV_BAD_FORMAT",
        "WAV_NO_SAMPLES",
        "WAV_CUT_SHORT",
        "WAV_HEAD_TOO_LONG",
        "WAV_UNKNOWN_LENGTH",
        "WAV_NOT_SUPPORTED",
    )
}
HEAD_MAX = WAV.const("WAV_HEAD_MAX")
UNKNOWN = 0xFFFFFFFF


def fmt(
    channels: int = 1,
    rate: int = 16000,
    *,
    tag: int = 1,
    bits: int = 16,
    align: int | None = None,
    byte_rate: int | None = None,
    extra: bytes = b"",
) -> bytes:
    align = channels * 2 if align is None else align
    byte_rate = (rate * align if byte_rate is None else byte_rate) & 0xFFFFFFFF
    return struct.pack("<HHIIHH", tag, channels, rate, byte_rate, align, bits) + extra


def chunk(name: bytes, body: bytes, size: int | None = None) -> bytes:
    size = len(body) if size is None else size
    return name + struct.pack("<I", size) + body + b"\0" * (len(body) % 2)


def stream(*chunks: bytes, size: int | None = None) -> bytes:
    body = b"WAVE" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body) if size is None else size) + body


SAMPLES = bytes(range(40))
GOOD = stream(chunk(b"fmt ", fmt()), chunk(b"data", SAMPLES))


@dataclass(frozen=True)
class Outcome:
    taken: int
    complete: bool
    refused: bool
    error: str
    channels: int
    rate: int
    data_bytes: int


def parse(data: bytes, stream_bytes: int = 0, pieces: int = 0) -> Outcome:
    """Passes data to the parser in chunks of `pieces` bytes; 0: all at once."""
    parser = WAV.new("wav_parser_t *")
    WAV.lib.wav_parser_init(parser, stream_bytes)
    at = 0
    while at < len(data) and parser.state == WAV.lib.WAV_HEAD:
        part = data[at : at + pieces] if pieces else data[at:]
        held = WAV.new(
            "uint8_t[]", part
        )  # exactly as long as the chunk, so that a read beyond it is detected
        taken = WAV.lib.wav_parser_feed(parser, held, len(part))
        assert taken <= len(part)
        assert taken == len(part) or parser.state != WAV.lib.WAV_HEAD
        at += taken
    outcome = Outcome(
        taken=at,
        complete=parser.state == WAV.lib.WAV_SAMPLES,
        refused=parser.state == WAV.lib.WAV_REFUSED,
        error=ERRORS[parser.error],
        channels=parser.channels,
        rate=parser.sample_rate_hz,
        data_bytes=parser.data_bytes,
    )
    assert outcome.refused == (outcome.error != "WAV_OK")
    return outcome


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", [8000, 16000, 22050, 48000])
def test_files_of_pythons_wave_module_are_accepted(channels: int, rate: int) -> None:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(channels)
        writer.setsampwidth(2)
        writer.setframerate(rate)
        writer.writeframes(SAMPLES)
    data = file.getvalue()
    for announced in (0, len(data), len(data) + 100):
        outcome = parse(data, announced)
        assert outcome.complete
        assert (outcome.channels, outcome.rate, outcome.data_bytes) == (channels, rate, len(SAMPLES))
        assert data[outcome.taken :] == SAMPLES


LONG = chunk(b"LIST", b"x" * (HEAD_MAX - 12 - 24 - 8 - 8))
ACCEPTED = {
    "chunks_before_and_between": stream(
        chunk(b"LIST", b"INFOsome text"),
        chunk(b"fmt ", fmt()),
        chunk(b"fact", b"1234"),
        chunk(b"data", SAMPLES),
    ),
    "odd_chunk_is_padded": stream(chunk(b"JUNK", b"abc"), chunk(b"fmt ", fmt()), chunk(b"data", SAMPLES)),
    "longer_format": stream(chunk(b"fmt ", fmt(extra=b"\0\0")), chunk(b"data", SAMPLES)),
    "chunk_behind_the_samples": stream(
        chunk(b"fmt ", fmt()), chunk(b"data", SAMPLES), chunk(b"id3 ", b"tag!")
    ),
    "empty_chunk": stream(chunk(b"fmt ", fmt()), chunk(b"JUNK", b""), chunk(b"data", SAMPLES)),
    "samples_at_the_last_place": stream(chunk(b"fmt ", fmt()), LONG, chunk(b"data", SAMPLES)),
}


@pytest.mark.parametrize("name", ACCEPTED)
@pytest.mark.parametrize("pieces", [0, 1, 7])
def test_streams_of_other_writers_are_accepted(name: str, pieces: int) -> None:
    data = ACCEPTED[name]
    outcome = parse(data, len(data), pieces)
    assert outcome.complete, outcome
    assert data[outcome.taken : outcome.taken + outcome.data_bytes] == SAMPLES


REFUSED = {
    "text": (b"<html>not a wave</html>", 0, "WAV_NO_RIFF"),
    "big_endian": (b"RIFX" + GOOD[4:], 0, "WAV_NO_RIFF"),
    "another_riff": (GOOD[:8] + b"AVI " + GOOD[12:], 0, "WAV_NO_RIFF"),
    "longer_than_announced": (GOOD, len(GOOD) - 1, "WAV_BAD_LENGTH"),
    "chunk_beyond_the_file": (stream(chunk(b"fmt ", fmt()), chunk(b"LIST", b"", 1000)), 0, "WAV_BAD_LENGTH"),
    "samples_beyond_the_file": (stream(chunk(b"fmt ", fmt()), chunk(b"data", SAMPLES, 1000)), 0, "WAV_BAD_LENGTH"),
    "riff_too_short_for_a_chunk": (stream(chunk(b"fmt ", fmt()), chunk(b"data", SAMPLES), size=10), 0,
                                   "WAV_BAD_LENGTH"),
    "short_format": (stream(chunk(b"fmt ", fmt()[:14]), chunk(b"data", SAMPLES)), 0, "WAV_BAD_LENGTH"),
    "samples_first": (stream(chunk(b"data", SAMPLES), chunk(b"fmt ", fmt())), 0, "WAV_BAD_ORDER"),
    "two_formats": (stream(chunk(b"fmt ", fmt()), chunk(b"fmt ", fmt()), chunk(b"data", SAMPLES)), 0, "WAV_BAD_ORDER"),
    "rate_0": (stream(chunk(b"fmt ", fmt(rate=0)), chunk(b"data", SAMPLES)), 0, "WAV_BAD_FORMAT"),
    "wrong_align": (stream(chunk(b"fmt ", fmt(align=4)), chunk(b"data", SAMPLES)), 0, "WAV_BAD_FORMAT"),
    "wrong_byte_rate": (stream(chunk(b"fmt ", fmt(byte_rate=16000)), chunk(b"data", SAMPLES)), 0, "WAV_BAD_FORMAT"),
    "byte_rate_only_modulo_2_32": (
        stream(chunk(b"fmt ", fmt(rate=0x80000001, byte_rate=2)), chunk(b"data", SAMPLES)), 0, "WAV_BAD_FORMAT"),
    "no_samples": (stream(chunk(b"fmt ", fmt()), chunk(b"data", b"")), 0, "WAV_NO_SAMPLES"),
    "half_a_sample": (stream(chunk(b"fmt ", fmt()), chunk(b"data", SAMPLES[:39])), 0, "WAV_NO_SAMPLES"),
    "half_a_frame": (stream(chunk(b"fmt ", fmt(2)), chunk(b"data", SAMPLES[:38])), 0, "WAV_NO_SAMPLES"),
    "late_samples": (stream(chunk(b"fmt ", fmt()), chunk(b"LIST", b"x" * HEAD_MAX), chunk(b"data", SAMPLES)), 0,
                     "WAV_HEAD_TOO_LONG"),
    "length_nobody_knows": (stream(chunk(b"fmt ", fmt()), chunk(b"data", SAMPLES, UNKNOWN), size=UNKNOWN), 0,
                            "WAV_UNKNOWN_LENGTH"),
    "float": (stream(chunk(b"fmt ", fmt(tag=3)), chunk(b"data", SAMPLES)), 0, "WAV_NOT_SUPPORTED"),
    "a_law": (stream(chunk(b"fmt ", fmt(tag=6, bits=8)), chunk(b"data", SAMPLES)), 0, "WAV_NOT_SUPPORTED"),
    "8_bit": (stream(chunk(b"fmt ", fmt(bits=8, align=1)), chunk(b"data", SAMPLES)), 0, "WAV_NOT_SUPPORTED"),
    "no_channel": (stream(chunk(b"fmt ", fmt(0)), chunk(b"data", SAMPLES)), 0, "WAV_NOT_SUPPORTED"),
    "surround": (stream(chunk(b"fmt ", fmt(6)), chunk(b"data", SAMPLES)), 0, "WAV_NOT_SUPPORTED"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("pieces", [0, 1])
def test_malformed_streams_are_refused_with_their_reason(name: str, pieces: int) -> None:
    data, announced, error = REFUSED[name]
    outcome = parse(data, announced, pieces)
    assert outcome.refused
    assert outcome.error == error


@pytest.mark.parametrize("announced", [len(GOOD), len(GOOD) + 60])
def test_unknown_length_is_that_of_the_stream(announced: int) -> None:
    data = stream(chunk(b"fmt ", fmt()), chunk(b"data", SAMPLES, UNKNOWN), size=UNKNOWN)
    outcome = parse(data, announced)
    assert outcome.complete
    assert outcome.data_bytes == announced - (len(GOOD) - len(SAMPLES))


def test_an_unknown_data_length_is_the_rest_of_a_known_file() -> None:
    outcome = parse(stream(chunk(b"fmt ", fmt()), chunk(b"data", SAMPLES, UNKNOWN)))
    assert outcome.complete
    assert outcome.data_bytes == len(SAMPLES)


def test_incomplete_header_is_neither_accepted_nor_refused() -> None:
    for length in range(len(GOOD) - len(SAMPLES)):
        outcome = parse(GOOD[:length])
        assert not outcome.complete
        assert not outcome.refused


REFUSED_EARLIER = {
    # number of announced bytes → the error, and the number of bytes after which the parser reports it
    **dict.fromkeys(range(20, 23), ("WAV_BAD_LENGTH", 20)),  # the first chunk is truncated
    **dict.fromkeys(range(23, 25), ("WAV_NO_SAMPLES", 20)),  # nothing follows the first chunk
    **dict.fromkeys(range(32, 48), ("WAV_BAD_LENGTH", 32)),  # the format chunk is truncated
    48: ("WAV_NO_SAMPLES", 48),  # nothing follows the format chunk
}


@pytest.mark.parametrize("pieces", [0, 1, 7])
def test_stream_that_ends_in_its_header_as_announced_is_refused(pieces: int) -> None:
    """The error must come at the last announced byte or earlier; a bad chunk length must be refused as soon as it is
    known."""
    data = stream(chunk(b"JUNK", b"abc"), chunk(b"fmt ", fmt()), chunk(b"data", SAMPLES), size=UNKNOWN)
    for length in range(1, len(data) - len(SAMPLES)):
        cut = parse(data[:length], length, pieces)
        default = ("WAV_CUT_SHORT", length)
        assert (cut.error, cut.taken) == REFUSED_EARLIER.get(length, default), f"{length} bytes"


chunks = st.tuples(
    st.sampled_from([b"fmt ", b"data", b"LIST", b"junk"]),
    st.one_of(st.binary(max_size=40), st.builds(fmt, st.integers(0, 3), st.sampled_from([0, 16000, 44100]))),
    st.one_of(st.none(), st.integers(0, 100), st.just(UNKNOWN)),
).map(lambda parts: chunk(*parts))
wild = st.one_of(
    st.binary(max_size=200),
    st.builds(
        lambda parts, size: stream(*parts, size=size),
        st.lists(chunks, max_size=5),
        st.one_of(st.none(), st.integers(0, 300), st.just(UNKNOWN)),
    ),
)


@given(wild, st.one_of(st.just(0), st.integers(1, 400)), st.integers(1, 9))
@example(GOOD, len(GOOD), 3)
def test_chunking_does_not_change_the_result(data: bytes, announced: int, pieces: int) -> None:
    whole = parse(data, announced)
    assert parse(data, announced, pieces) == whole
    if whole.complete:
        assert whole.channels in (1, 2)
        assert whole.data_bytes > 0
        assert whole.data_bytes % (2 * whole.channels) == 0
        assert whole.taken <= HEAD_MAX
        if announced:
            assert whole.taken + whole.data_bytes <= announced


@given(wild)
def test_accepted_stream_is_accepted_by_an_independent_reader(data: bytes) -> None:
    outcome = parse(data)
    if not outcome.complete:
        return
    at, end = 12, struct.unpack("<I", data[4:8])[0] + 8
    found: dict[bytes, bytes] = {}
    while b"data" not in found:
        name, size = data[at : at + 4], struct.unpack("<I", data[at + 4 : at + 8])[0]
        found[name] = data[at + 8 : at + 8 + size]
        at += 8 + (0 if name == b"data" else size + size % 2)
    assert at == outcome.taken
    tag, channels, rate = struct.unpack("<HHI", found[b"fmt "][:8])
    assert (tag, channels, rate) == (1, outcome.channels, outcome.rate)
    size = struct.unpack("<I", data[at - 4 : at])[0]
    assert outcome.data_bytes == (size if size != UNKNOWN else end - at)


def test_every_error_has_its_text() -> None:
    texts = [WAV.ffi.string(WAV.lib.wav_error_text(code)) for code in ERRORS]
    assert len(set(texts)) == len(texts)
    assert WAV.ffi.string(WAV.lib.wav_error_text(WAV.lib.WAV_ERRORS_)) == b"?"


def test_parser_survives_any_bytes(tmp_path: Path) -> None:
    if os.environ.get("HOTPIN_C_SANITIZE"):
        pytest.skip("the other tests already run under a sanitizer")
    decoder = COMPONENTS / "tts_decoder" / "src"
    sources = [
        PROJECT_ROOT / "tests" / "firmware" / "fuzz" / "sources" / "wav_parser_fuzz.c",
        decoder / "wav_parser.c",
    ]
    files = [GOOD, *ACCEPTED.values(), *(data for data, _, _ in REFUSED.values())]
    fuzz(tmp_path, sources, [decoder], [struct.pack("<I", len(file)) + file for file in files])


def test_each_error_has_a_text_of_its_own() -> None:
    texts = [WAV.ffi.string(WAV.lib.wav_error_text(error)) for error in range(WAV.lib.WAV_ERRORS_)]
    assert len({*texts, b"", b"?"}) == len(texts) + 2
    assert WAV.ffi.string(WAV.lib.wav_error_text(WAV.lib.WAV_ERRORS_)) == b"?"
