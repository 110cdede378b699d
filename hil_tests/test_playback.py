"""The TTS decoder plays a WAV stream to its end, refuses invalid streams, and frees all its memory."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from functools import partial

import pytest

from fixtures.audio import (
    MALFORMED,
    RATE_HZ,
    UNSUPPORTED,
    chunk,
    format_chunk,
    interleaved,
    noise,
    riff,
    tone,
)
from fixtures.measure import Measure
from fixtures.memory import DEFAULT_THRESHOLDS, INTERNAL, KB, PSRAM, Heaps, Monitor
from fixtures.modes import CAMERA, VOICE, WRITE_BYTES, Modes, Reading
from fixtures.pace import HostPace
from fixtures.poll import poll, wait_for_time
from hotpin_hil.device import Device, DeviceError, budgets

LATENCY_MS = 256
"""Playing time of the four DMA buffers of 4,080 B each at 64 B/ms, rounded up, plus a tick."""
BUFFER_MS = 64
"""Playing time of one of these buffers, used as a tolerance, because the measured time starts during the first
buffer."""
ALLOWANCE_MS = 100
"""Tolerance in ms for ticks, and for log lines written between the first and the last sample."""

STREAM_BYTES = 64 * 1024
"""Size of the decoder's buffer (guide: TTS_STREAM_BUFFER_SIZE)."""
CLOSE_MAX_MS, CHANGE_MAX_MS = 600, 1_200
ODD_PIECE = WRITE_BYTES - 1
WAIT_MS = 1_000
"""Less than the 2 s that playback waits for data."""
PLAYBACK_BYTES = 4_096 + 8_192 + 3 * 64
"""Bytes allocated for playback, including the overhead of each block."""


@pytest.fixture
def voice(device: Device, modes: Modes) -> Modes:
    """The board in voice mode after a first playback, when drivers have made their permanent allocations."""
    modes.to(VOICE)
    modes.play(tone(RATE_HZ // 50))
    device.tts_close()
    return modes


def measure_same(measure: Measure, what: str, now: Reading, then: Reading) -> None:
    """Check that free bytes, blocks and tasks are as before. There is no tolerance, because both readings were made in
    the same mode."""
    for name, value in vars(now).items():
        unit = "" if name in ("blocks", "tasks") else "B"
        measure(f"{what}: {name}", value - getattr(then, name), unit, exact=0, source="TTS-06: every byte")


# --- Playing ------------------------------------------------------------------------------------------------


@pytest.mark.requirement("TTS-05")
@pytest.mark.parametrize("channels", [1, 2], ids=["mono", "stereo"])
def test_stream_is_played_to_its_end(device: Device, voice: Modes, measure: Measure, channels: int) -> None:
    """Plays a stream; the event must report its end. Both the reported duration and the duration by the board's clock
    must match the stream's length."""
    frames = RATE_HZ // 2 // channels + 3  # deliberately not a multiple of any buffer size
    start = device.mark()
    voice.write(tone(frames, channels=channels))
    begun_ms = int(device.command("tts.play")["t"])
    end = device.wait_event("tts", budgets.PLAY_S, since=start)
    measure("state", end.data["state"], exact="ended", source="PROTOCOL.md §3")
    measure("result", end.data["err"], exact="ESP_OK", source="TTS-05")
    measure("frames played", end.data["samples"], "frames", exact=frames, source="frames in the stream")
    length_ms = frames * 1000 // RATE_HZ
    for what, duration_ms in (("reported", end.data["duration_ms"]), ("by the clock", end.t_ms - begun_ms)):
        measure(
            f"duration, {what}",
            duration_ms,
            "ms",
            low=length_ms - BUFFER_MS,
            high=length_ms + LATENCY_MS + ALLOWANCE_MS,
            source="frames / 16 kHz; the DMA buffers are played to the end",
        )
    device.barrier()
    measure(
        "playback ends reported", len(device.events("tts", since=start)), exact=1, source="PROTOCOL.md §3"
    )
    measure("failed reads of the microphone", device.recording().read_errors, exact=0, source="full duplex")


@pytest.mark.requirement("TTS-05")
def test_duration_does_not_include_the_wait_for_the_first_sample(
    device: Device, voice: Modes, measure: Measure, host_pace: HostPace
) -> None:
    """Starts playback before any data has arrived, and writes the stream a second later."""
    frames = RATE_HZ // 8
    stream = tone(frames)
    start = device.mark()
    device.tts_open(len(stream))
    with host_pace():
        begun_ms = int(device.command("tts.play")["t"])
        wait_for_time(device, begun_ms + WAIT_MS)
        for at in range(0, len(stream), WRITE_BYTES):
            device.tts_write(stream[at : at + WRITE_BYTES])
    end = device.wait_event("tts", budgets.PLAY_S, since=start)
    measure("frames played", end.data["samples"], "frames", exact=frames, source="frames in the stream")
    measure(
        "time from the first sample to the end - duration, reported",
        end.t_ms - begun_ms - WAIT_MS - end.data["duration_ms"],
        "ms",
        min=0,
        source="the second before the first sample does not count",
    )
    device.tts_close()


@pytest.mark.requirement("TTS-05")
def test_stream_may_arrive_during_playback(
    device: Device, voice: Modes, measure: Measure, host_pace: HostPace
) -> None:
    """Starts playback with the header and a little sound, and writes the remaining data during playback, in pieces of
    odd length. Every sample must be played."""
    frames = RATE_HZ // 8
    left, right = noise(frames, 1), noise(frames, 2)
    stream = riff(format_chunk(2), chunk("data", interleaved(left, right)))
    start = device.mark()
    device.tts_open(len(stream))
    device.tts_write(stream[:ODD_PIECE])
    device.sound(reset=True)
    with host_pace():
        device.tts_play()
        for at in range(ODD_PIECE, len(stream), ODD_PIECE):
            device.tts_write(stream[at : at + ODD_PIECE])
    end = device.wait_event("tts", budgets.PLAY_S, since=start)
    sound = device.sound()
    measure("left channel", sound.left, exact=zlib.crc32(left), source="CRC-32 of its samples")
    measure("right channel", sound.right, exact=zlib.crc32(right), source="CRC-32 of its samples")
    measure("result", end.data["err"], exact="ESP_OK", source="TTS-05")
    measure("frames played", end.data["samples"], "frames", exact=frames, source="frames in the stream")
    device.tts_close()


@pytest.mark.requirement("TTS-05")
def test_stream_longer_than_the_buffer_is_played_to_the_sample(
    device: Device, voice: Modes, measure: Measure, host_pace: HostPace
) -> None:
    """Plays a stream longer than the buffer, in pieces that do not divide the buffer's size, so that one of them wraps
    around the buffer's end. Every sample must be played."""
    frames = STREAM_BYTES // 4 + 2_000
    left, right = noise(frames, 3), noise(frames, 4)
    stream = riff(format_chunk(2), chunk("data", interleaved(left, right)))
    pieces = [stream[at : at + ODD_PIECE] for at in range(0, len(stream), ODD_PIECE)]
    before_playing = STREAM_BYTES // ODD_PIECE
    start = device.mark()
    device.tts_open(len(stream))
    for piece in pieces[:before_playing]:
        room = device.tts_write(piece).room
    measure("room before it plays", room, "B", exact=STREAM_BYTES % ODD_PIECE, source="guide: 64 KB")
    rest = b"".join(pieces[before_playing:])
    room = device.tts_write(rest[:room]).room
    measure("room in the full buffer", room, "B", exact=0, source="guide: 64 KB")
    rest = rest[STREAM_BYTES % ODD_PIECE :]
    device.sound(reset=True)
    with host_pace():
        device.tts_play()
        for at in range(0, len(rest), ODD_PIECE):
            piece = rest[at : at + ODD_PIECE]
            poll(partial(accepts, device, piece), bool, "room in the buffer")
    end = device.wait_event("tts", budgets.PLAY_S, since=start)
    sound = device.sound()
    measure("left channel", sound.left, exact=zlib.crc32(left), source="CRC-32 of its samples")
    measure("right channel", sound.right, exact=zlib.crc32(right), source="CRC-32 of its samples")
    measure("frames played", end.data["samples"], "frames", exact=frames, source="frames in the stream")
    device.tts_close()


def accepts(device: Device, piece: bytes) -> bool:
    """Writes a piece if the stream has room for it; returns whether the stream had room."""
    try:
        device.tts_write(piece)
    except DeviceError as error:
        if error.err != "ESP_ERR_INVALID_SIZE":
            raise
        return False
    return True


@pytest.mark.requirement("TTS-05")
def test_played_stream_stays_open_when_memory_becomes_critical(
    device: Device, voice: Modes, heaps: Heaps, monitor: Monitor, measure: Measure
) -> None:
    """Plays a stream to its end, then makes memory critical. The stream must stay open, because the code that opened it
    may still query the result. Reclaimers close it only before a request is refused."""
    end = voice.play(tone(500))
    monitor.start()
    for memory in (PSRAM, INTERNAL):
        start = device.mark()
        critical = DEFAULT_THRESHOLDS[f"{memory.thresholds}_critical"]
        held = heaps.leave(memory, memory.reachable(critical - KB))
        monitor.warning(start, f"{memory.warning}_CRITICAL")
        monitor.complete_checks(2)
        measure(f"{memory.name} critical: stream", device.resources().stream, exact="ended", source="TTS-05")
        heaps.release(held)
    measure("frames played", end.data["samples"], "frames", exact=500, source="frames in the stream")


@pytest.mark.requirement("TTS-05")
def test_malformed_stream_is_refused(device: Device, voice: Modes, measure: Measure) -> None:
    """Plays malformed streams: each must give a specific error and play nothing. The next valid stream must play."""
    then = voice.read()
    expected = dict.fromkeys(MALFORMED, "ESP_ERR_INVALID_RESPONSE") | dict.fromkeys(
        UNSUPPORTED, "ESP_ERR_NOT_SUPPORTED"
    )
    for what, error in expected.items():
        end = voice.play((MALFORMED | UNSUPPORTED)[what])
        measure(f"{what}: error", end.data["err"], exact=error, source="TTS-05: refused with an error")
        measure(f"{what}: frames played", end.data["samples"], "frames", exact=0, source="TTS-05")
        device.tts_close()
    measure_same(measure, "after all of them", voice.read(), then)
    frames = 500
    end = voice.play(tone(frames))
    measure(
        "frames played of a valid stream afterwards",
        end.data["samples"],
        "frames",
        exact=frames,
        source="TTS-05",
    )


@pytest.mark.requirement("TTS-05")
def test_stream_of_unknown_length_takes_no_length_from_the_one_before(
    voice: Modes, device: Device, measure: Measure
) -> None:
    device.tts_open(100)
    device.tts_close()
    end = voice.play(tone(500), is_announced=False)
    measure("result", end.data["err"], exact="ESP_OK", source="TTS-05")
    measure("frames played", end.data["samples"], "frames", exact=500, source="frames in the stream")


@pytest.mark.requirement("TTS-05")
def test_impossible_length_is_refused_without_waiting_for_data(
    voice: Modes, device: Device, measure: Measure
) -> None:
    """Plays a stream of unknown length with a chunk whose length wraps at 32 bits: the decoder must refuse it without
    waiting for the chunk."""
    wraps = chunk("LIST", b"INFO", 0xFFFF_FFFF - 43)
    stream = riff(format_chunk(1), wraps, chunk("data", bytes(64)), length=0xFFFF_FFFF)
    end = voice.play(stream, is_announced=False)
    measure("error", end.data["err"], exact="ESP_ERR_INVALID_RESPONSE", source="wav_parser.h")
    device.tts_close()


@pytest.mark.requirement("TTS-05")
def test_incomplete_stream_times_out(device: Device, voice: Modes, measure: Measure) -> None:
    """Sends less data than announced: nothing, part of the header, only the header, or half of the samples. Playback
    must play the frames that arrived and then end with a timeout."""
    stream = tone(1_000)
    for kept in (0, 20, 44, 1_044):
        start = device.mark()
        device.tts_open(len(stream))
        for at in range(0, kept, WRITE_BYTES):
            device.tts_write(stream[at : min(at + WRITE_BYTES, kept)])
        device.tts_play()
        end = device.wait_event("tts", budgets.PLAY_S, since=start)
        came = f"{kept} B came"
        measure(f"{came}: error", end.data["err"], exact="ESP_ERR_TIMEOUT", source="TTS-05: an error")
        played = max(0, kept - 44) // 2
        measure(
            f"{came}: frames played",
            end.data["samples"],
            "frames",
            exact=played,
            source="the frames that arrived",
        )
        device.tts_close()


@pytest.mark.boards("hardware", "virtual", needs="the I2S driver; QEMU builds simulate it")
@pytest.mark.requirement("TTS-05")
@pytest.mark.parametrize("nth", [1, 3])
def test_frames_of_a_failed_write_do_not_count_as_played(
    device: Device, voice: Modes, measure: Measure, nth: int
) -> None:
    """Makes a write to the I2S driver fail. The event must report the error, and only the frames before that write."""
    voice.write(tone(RATE_HZ // 4))
    device.sound(reset=True)
    device.fail_call("i2s_channel_write", nth=nth, count=1)
    start = device.mark()
    device.tts_play()
    end = device.wait_event("tts", budgets.PLAY_S, since=start)
    device.fail_call(off=True)
    taken = device.sound().frames
    measure("result", end.data["err"], exact="ESP_ERR_TIMEOUT", source="the failed write")
    measure("writes before it played frames", taken > 0, exact=nth > 1, source="audio.tap")
    measure("frames played", end.data["samples"], "frames", exact=taken, source="audio.tap")
    device.tts_close()


@pytest.mark.requirement("TTS-05")
def test_playing_needs_voice_mode_and_a_stream(device: Device, modes: Modes, measure: Measure) -> None:
    def error_of(action: Callable[[], object]) -> str:
        try:
            action()
        except DeviceError as error:
            return error.err
        return "none"

    modes.write(tone(100))
    measure(
        "tts.play in camera mode",
        error_of(device.tts_play),
        exact="ESP_ERR_INVALID_STATE",
        source="camera mode has no I2S",
    )
    device.tts_close()
    modes.to(VOICE)
    measure(
        "tts.play without a stream", error_of(device.tts_play), exact="ESP_ERR_INVALID_STATE", source="TTS-05"
    )
    device.tts_open(100)
    too_much = b"\0" * 101
    measure(
        "tts.write of more than announced",
        error_of(lambda: device.tts_write(too_much)),
        exact="ESP_ERR_INVALID_SIZE",
        source="TTS-05",
    )


@pytest.mark.requirement("TTS-05")
def test_close_during_playback_reports_its_end_once(
    device: Device, voice: Modes, measure: Measure, host_pace: HostPace
) -> None:
    """Closes a stream during playback, which cannot have ended yet because half of the stream is missing. The board
    must send exactly one tts event, before the reply to tts.close."""
    frames = RATE_HZ // 8
    stream = tone(2 * frames)
    device.tts_open(len(stream))
    for at in range(0, len(stream) // 2, WRITE_BYTES):
        device.tts_write(stream[at : at + WRITE_BYTES])
    start = device.mark()
    with host_pace():
        device.tts_play()
        closed = device.command("tts.close")
    device.barrier()
    ends = device.events("tts", since=start)
    measure("playback ends reported", len(ends), exact=1, source="tts_decoder.h: once for each play")
    measure("result", ends[0].data["err"], exact="ESP_ERR_NOT_FINISHED", source="tts_decoder.h")
    is_before = ends[0].n < int(closed["n"])
    measure("the event's record precedes the reply", is_before, exact=True, source="tts_decoder.h")


# --- Stopping -----------------------------------------------------------------------------------------------


STREAM_STATES = ("opened", "written", "playing", "ended", "refused")


def bring_stream_to(state: str, device: Device, voice: Modes) -> None:
    """Opens a stream and brings it to one of STREAM_STATES."""
    begin: dict[str, Callable[[], object]] = {
        "opened": device.tts_open,
        "written": partial(voice.write, tone(RATE_HZ // 4)[: 4 * WRITE_BYTES]),
        "playing": partial(voice.write, tone(RATE_HZ // 4)),
        "ended": partial(voice.play, tone(100)),
        "refused": partial(voice.play, MALFORMED["another kind of file"]),
    }
    begin[state]()
    if state == "playing":
        now = device.tts_play().state
        assert now == "playing", f"a stream of 250 ms is in state {now} right after tts.play"


@pytest.mark.requirement("TTS-06")
def test_stop_returns_every_byte(device: Device, voice: Modes, measure: Measure) -> None:
    """Brings streams to each state and closes them, in two rounds. Each close must free every byte."""
    then = voice.read()
    for when in [*STREAM_STATES, *STREAM_STATES]:
        bring_stream_to(when, device, voice)
        taken = then.psram - voice.read().psram
        measure(
            f"{when}: PSRAM taken",
            taken,
            "B",
            low=STREAM_BYTES,
            high=STREAM_BYTES + PLAYBACK_BYTES,
            source="guide: 64 KB; real_boards.md: playback uses a copy of 4,096 B and a scratch buffer of 8,192 B",
        )
        measure(f"{when}: state", device.tts_close().state, exact="closed", source="TTS-06")
        measure_same(measure, when, voice.read(), then)


REFUSED_IN: dict[str, tuple[str, ...]] = {
    "opened": ("tts.open",),
    "written": ("tts.open",),
    "playing": ("tts.open", "tts.play"),
    "ended": ("tts.open", "tts.play"),
    "refused": ("tts.open", "tts.play"),
}
"""Commands that each state of a stream must refuse."""


@pytest.mark.requirement("TTS-06")
@pytest.mark.parametrize("when", STREAM_STATES)
def test_refused_command_leaves_the_stream_as_it_is(
    device: Device, voice: Modes, measure: Measure, when: str
) -> None:
    """Sends commands that the stream's state does not permit. They must take no memory and change no state, and the
    stream must still give back every byte."""
    before = voice.read()
    bring_stream_to(when, device, voice)
    for command in REFUSED_IN[when]:
        then, state = voice.read(), device.resources().stream
        with pytest.raises(DeviceError) as refused:
            device.command(command)
        measure(f"{command}: error", refused.value.err, exact="ESP_ERR_INVALID_STATE", source="tts_decoder.h")
        if when != "playing":  # its state may change meanwhile
            measure_same(measure, command, voice.read(), then)
            measure(f"{command}: state", device.resources().stream, exact=state, source="nothing was done")
    measure("state at the end", device.tts_close().state, exact="closed", source="TTS-06")
    measure_same(measure, "closed", voice.read(), before)


@pytest.mark.requirement("TTS-06")
def test_stream_with_much_sound_left_is_closed_at_once(
    device: Device, voice: Modes, measure: Measure
) -> None:
    """Closes a stream, by tts.close and by a mode change, while the buffer holds 1 s of sound, of which nearly nothing
    has been played. Neither may wait for the rest of the sound."""
    voice.write(tone(RATE_HZ))
    device.tts_play()
    began_ms = device.info().t
    took_ms = int(device.command("tts.close")["t"]) - began_ms
    measure("tts.close: duration", took_ms, "ms", max=CLOSE_MAX_MS, source="less than the remaining sound")
    voice.write(tone(RATE_HZ))
    device.tts_play()
    took_ms = voice.to(CAMERA).duration_ms
    measure(
        "mode.set: duration",
        took_ms,
        "ms",
        max=CHANGE_MAX_MS,
        source="less than the remaining sound plus the change",
    )


@pytest.mark.requirement("TTS-06")
def test_leaving_voice_mode_returns_every_byte(device: Device, voice: Modes, measure: Measure) -> None:
    """Leaves voice mode with a stream in each of its states: the mode change must close the stream and free every
    byte."""
    voice.to(CAMERA)
    in_camera = voice.read()
    voice.to(VOICE)
    in_voice = voice.read()
    for when in STREAM_STATES:
        bring_stream_to(when, device, voice)
        voice.to(CAMERA)
        measure_same(measure, f"{when}: in camera mode", voice.read(), in_camera)
        measure(f"{when}: state", device.resources().stream, exact="closed", source="state_manager.h")
        voice.to(VOICE)
        measure_same(measure, f"{when}: in voice mode", voice.read(), in_voice)
    frames = 500
    measure(
        "the stream plays again",
        voice.play(tone(frames)).data["samples"],
        "frames",
        exact=frames,
        source="TTS-06",
    )
