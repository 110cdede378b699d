"""Compares sound sample by sample: the speaker driver's input with the stream, and the recording with the microphone.

The speaker driver must receive exactly the stream's samples. The recording must have the microphone's samples, with
gaps exactly as long as reported.
"""

from __future__ import annotations

import struct
import zlib

import pytest

from fixtures.audio import RATE_HZ, shapes
from fixtures.measure import Measure
from fixtures.modes import CAMERA, VOICE, Modes
from fixtures.pace import HostPace
from fixtures.poll import poll
from hotpin_hil.device import Device

TONE_PERIOD, TONE_PEAK = 40, 10_000
"""Period in samples, and peak value, of the triangle wave of the simulated microphones (audio_backend_sim.c,
native/drivers/i2s.c)."""
READ_BYTES = 1_024
CHUNK_SAMPLES = 512
"""Number of samples per write to the ring, which is always 32 ms of sound."""
RING_SAMPLES = 32_768


@pytest.mark.requirement("TTS-05")
def test_streams_of_every_shape_are_played_to_the_sample(
    device: Device, modes: Modes, measure: Measure
) -> None:
    """Plays streams of many shapes. Each must be played exactly, or refused with the right error before anything is
    played."""
    modes.to(VOICE)
    for name, shape in shapes().items():
        device.sound(reset=True)
        end = modes.play(shape.stream)
        sound = device.sound()
        device.tts_close()
        measure(f"{name}: result", end.data["err"], exact=shape.err, source="the stream's header")
        frames = len(shape.left) // 2
        measure(f"{name}: frames reported", end.data["samples"], "frames", exact=frames, source="the stream")
        expected = f"{frames} frames, {zlib.crc32(shape.left):08x} {zlib.crc32(shape.right):08x}"
        measure(
            f"{name}: sound",
            f"{sound.frames} frames, {sound.left:08x} {sound.right:08x}",
            exact=expected,
            source="count, and CRC-32 of the left and right channel's samples in the stream",
        )


def tone(index: int) -> int:
    """Sample of the simulated microphone at this position."""
    phase = index % TONE_PERIOD
    rising = phase if phase < TONE_PERIOD // 2 else TONE_PERIOD - phase
    return rising * (4 * TONE_PEAK // TONE_PERIOD) - TONE_PEAK


def phase_of(samples: list[int]) -> int:
    """Position in the microphone's tone at which these samples begin."""
    return next(index for index in range(TONE_PERIOD) if samples[:2] == [tone(index), tone(index + 1)])


def gaps(samples: list[int]) -> list[tuple[int, int]]:
    """Gaps in the tone: number of samples before each gap, and number of missing samples (modulo the tone's period)."""
    found = []
    first = phase_of(samples)
    for number, sample in enumerate(samples):
        if sample != tone(first + number) and number + 1 < len(samples):
            skipped = (phase_of(samples[number:]) - first - number) % TONE_PERIOD
            found.append((number, skipped))
            first += skipped
    return found


def read(device: Device, count: int) -> list[int]:
    """Reads `count` samples from the ring."""
    data = b""
    while len(data) < 2 * count:
        data += device.read_recording(min(READ_BYTES, 2 * count - len(data)))
    return [sample for (sample,) in struct.iter_unpack("<h", data)]


@pytest.mark.boards("qemu", "virtual", needs="a microphone whose signal is known")
@pytest.mark.requirement("TRN-01")
def test_recording_is_the_microphones_signal(
    device: Device, modes: Modes, host_pace: HostPace, measure: Measure
) -> None:
    """Lets the ring overflow and compares each sample read from it with the microphone's signal. The gaps must be as
    long as reported.

    The UART is slower than the microphone, so most samples are dropped without being sent.
    """
    modes.to(VOICE)
    poll(device.recording, lambda heard: heard.dropped > 0, "a full ring")
    oldest = read(device, CHUNK_SAMPLES)
    measure("gaps in the oldest samples", str(gaps(oldest)[:5]), exact="[]", source="the oldest are kept")
    with host_pace():  # in real time, so that the ring is not full again before it is read
        device.read_recording(2 * (RING_SAMPLES - 2 * CHUNK_SAMPLES), skip=True)
        start = device.recording()
        # Samples dropped after the last stored sample do not yet appear as a gap.
        heard = poll(
            device.recording, lambda heard: heard.samples >= start.samples + 2 * CHUNK_SAMPLES, "more samples"
        )
    assert heard.dropped == start.dropped, (
        "the ring was full again before it was read; run the test with less load on the host"
    )
    rest = read(device, heard.samples - heard.dropped - RING_SAMPLES + CHUNK_SAMPLES)
    found = gaps(rest)
    measure(
        "samples before the first gap",
        found[0][0] if found else len(rest),
        min=CHUNK_SAMPLES,
        source="the samples that were in the ring when it was full",
    )
    measure(
        f"length of the gaps, modulo {TONE_PERIOD} samples",
        sum(skipped for _, skipped in found) % TONE_PERIOD,
        exact=heard.dropped % TONE_PERIOD,
        source="dropped samples that stt.get reports",
    )
    measure("peak", heard.peak, exact=TONE_PEAK, source="the tone's peak")


SETTLE_MS = 200
"""CONFIG_HOTPIN_AUDIO_SETTLE_MS."""


@pytest.mark.boards("hardware", "virtual", needs="the I2S driver; QEMU builds simulate it")
@pytest.mark.requirement("TRN-01")
def test_recording_begins_after_the_microphone_has_settled(
    device: Device, modes: Modes, measure: Measure
) -> None:
    """Compares the samples read from the driver with those of the recording, after voice mode has ended. The difference
    is the sound that was dropped at the start."""
    modes.to(VOICE)
    modes.record(0.1)
    modes.to(CAMERA)
    dropped = device.sound().samples - device.recording().samples
    least = SETTLE_MS * RATE_HZ // 1000
    measure(
        "samples dropped at the start",
        dropped,
        low=least,
        high=least + 4 * CHUNK_SAMPLES,
        source="CONFIG_HOTPIN_AUDIO_SETTLE_MS, in whole reads",
    )


@pytest.mark.requirement("TRN-01")
def test_peak_and_recording_are_right_for_each_level(device: Device, modes: Modes, measure: Measure) -> None:
    """Records sound of one value, from silence to the loudest negative sample."""
    for level in (0, 1, -1, 32_767, -32_767, -32_768):
        device.sound(sample=level)
        modes.to(VOICE)
        modes.record(0.1)
        found = sorted(set(read(device, CHUNK_SAMPLES)))
        measure(f"{level}: samples", str(found), exact=str([level]), source="audio.tap sample=")
        peak = device.recording().peak
        measure(f"{level}: peak", peak, exact=abs(level), source="audio.tap sample=")
        modes.to(CAMERA)
    device.sound(reset=True)


@pytest.mark.boards("hardware", "virtual", needs="the I2S driver; QEMU builds simulate it")
@pytest.mark.requirement("ROB-02")
def test_dead_microphone_leaves_time_for_other_tasks(device: Device, modes: Modes, measure: Measure) -> None:
    """Makes all reads of the microphone fail at once. The capture task has a higher priority than the console, which
    must still answer."""
    modes.to(VOICE)
    device.fail_call("i2s_channel_read", count=ENDLESS)
    before = device.recording()
    after = poll(
        device.recording, lambda heard: heard.read_errors >= before.read_errors + 50, "50 failed reads"
    )
    device.fail_call(off=True)
    per_s = (after.read_errors - before.read_errors) * 1000 / (after.time_ms - before.time_ms)
    measure("failed reads", per_s, "/s", max=PAUSED_READS_PER_S, source="a pause of 10 ms after each")
    measure("samples after it", modes.record(0.1), min=1_600, source="the microphone is back")


ENDLESS = 1_000_000
PAUSED_READS_PER_S = 110
"""Reads per second with a pause of 10 ms after each, with a tolerance of a tick of 1 ms."""
FAILED_READS = 20


@pytest.mark.boards("hardware", "virtual", needs="the I2S driver; QEMU builds simulate it")
@pytest.mark.requirement("TRN-01")
def test_failed_reads_of_the_microphone_are_no_samples(
    device: Device, modes: Modes, measure: Measure
) -> None:
    """Makes reads of the microphone fail. The board must count no samples for the failed reads and put none into the
    ring. Afterwards the recording must continue."""
    modes.to(VOICE)
    modes.record(0.1)
    before = device.recording()
    device.fail_call("i2s_channel_read", count=FAILED_READS)
    after = poll(
        device.recording,
        lambda heard: heard.read_errors >= before.read_errors + FAILED_READS,
        f"{FAILED_READS} failed reads",
    )
    device.fail_call(off=True)
    measure(
        "failed reads counted", after.read_errors - before.read_errors, exact=FAILED_READS, source="sys.fail"
    )
    possible = (after.time_ms - before.time_ms) * RATE_HZ // 1000 + CHUNK_SAMPLES
    measure(
        "samples counted meanwhile", after.samples - before.samples, max=possible, source="board time, 16 kHz"
    )
    modes.record(after.samples / RATE_HZ + 0.1)
