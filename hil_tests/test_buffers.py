"""Each buffer for N entries keeps the right entries when N, N + 1 and 2 N + 1 entries are added.

Where the firmware counts dropped entries, kept plus dropped must equal the number of added entries. Separate tests
cover the TTS stream (test_playback.py), the list of callbacks (test_api.py) and the console's request
(test_robustness.py).
"""

from __future__ import annotations

import pytest

from fixtures.audio import RATE_HZ
from fixtures.measure import Measure
from fixtures.memory import DMA, Heaps, survivors
from fixtures.modes import CAMERA, VOICE, Modes
from hotpin_hil.device import Device, DeviceError
from hotpin_hil.protocol.request import HARNESS_ID_MAX, encode_request

EVENTS_KEPT = 8
LAST_NUMBER = 0xFFFF_FFFF
REPEATED_ID, TOO_LONG_ID = HARNESS_ID_MAX + 500, HARNESS_ID_MAX + 501
SNAPSHOTS_KEPT = 16
BOXES_QUEUED = 8
FAILURES_NOTED = 4
"""Number of failed allocations that the firmware stores between two samples of the monitor."""
REPLIES_KEPT = 4
STT_RING_BYTES = 65_536
CHUNK_BYTES = 1_024
"""Size of the chunks in which the firmware writes samples to the ring: 32 ms of sound."""


def fills(size: int) -> list[int]:
    return [size, size + 1, 2 * size + 1]


def fail_to_hold(device: Device, size: int) -> None:
    with pytest.raises(DeviceError):
        device.hold(DMA.caps, size=size)


@pytest.mark.requirement("MON-04")
def test_the_newest_events_are_kept(device: Device, heaps: Heaps, measure: Measure) -> None:
    """Makes allocations fail and reads the events. Each failed allocation has a different size, which identifies its
    event."""
    size = heaps.free(DMA.caps) + 4
    offered: list[int] = []
    for count in fills(EVENTS_KEPT):
        while len(offered) < count:
            offered.append(size + 4 * len(offered))
            fail_to_hold(device, offered[-1])
            events = device.mem_events()
        measure(
            f"events kept of {count}, by bytes beyond the free memory",
            str([event.size - size for event in events]),
            exact=str([kept - size for kept in offered[-EVENTS_KEPT:]]),
            source=f"the newest {EVENTS_KEPT}",
        )
        measure(
            f"their numbers, of {count}",
            str([event.sequence for event in events]),
            exact=str(list(range(count + 1))[-EVENTS_KEPT:]),
            source="each event has the next number",
        )
    newest = events[-1].sequence
    for since, kept in (
        (newest, 0),
        (newest + 1, 0),
        (LAST_NUMBER, 0),
        (newest - 1, 1),
        (newest - EVENTS_KEPT, EVENTS_KEPT),
        (1, EVENTS_KEPT),
    ):
        found = [event.sequence for event in device.mem_events(since)]
        expected = list(range(newest - kept + 1, newest + 1))
        measure(
            f"events since {since - newest:+d}",
            str(found),
            exact=str(expected),
            source="events with a higher number",
        )


RARELY_MS = 600_000


@pytest.mark.requirement("MON-04")
def test_the_first_failures_between_two_looks_are_noted_and_the_others_counted(
    device: Device, heaps: Heaps, measure: Measure
) -> None:
    device.monitor(start=RARELY_MS)  # a periodic sample would report the failures too early
    size = heaps.free(DMA.caps) + 4
    for count in (*fills(FAILURES_NOTED), FAILURES_NOTED):
        last = max((event.sequence for event in device.mem_events()), default=0)
        start = device.mark()
        sizes = [size + 4 * number for number in range(count)]
        for wanted in sizes:
            fail_to_hold(device, wanted)
        noted = [event.size - size if event.size else None for event in device.mem_events(last)]
        measure(
            f"noted of {count}",
            str(noted),
            exact=str([wanted - size for wanted in sizes[:FAILURES_NOTED]]),
            source=f"the first {FAILURES_NOTED}",
        )
        events = device.events("mem.alloc_failed", since=start)
        lost = [event.data["lost"] for event in events]
        measure(
            f"lost of {count}",
            str(lost),
            exact=str([max(0, count - FAILURES_NOTED), *[0] * (len(lost) - 1)]),
            source="stored + lost = failed, each counted once",
        )


@pytest.mark.requirement("TRN-09")
def test_the_newest_snapshots_are_kept(device: Device, measure: Measure) -> None:
    """Fills the history with snapshots and reads them, before and after a reset."""
    device.monitor(stop=True)
    offered = [f"{snapshot.context}" for snapshot in reversed(device.history())]
    start = len(offered)
    for count in fills(SNAPSHOTS_KEPT):
        while len(offered) < count:
            offered.append(f"Entry {len(offered)}")
            device.log(offered[-1])
        kept = device.history()
        measure(
            f"snapshots kept of {count}",
            str([snapshot.context for snapshot in kept]),
            exact=str(offered[: -SNAPSHOTS_KEPT - 1 : -1]),
            source=f"the newest {SNAPSHOTS_KEPT}, newest first",
        )
        numbers = [snapshot.sequence for snapshot in kept]
        measure(
            f"their numbers, of {count}",
            str(numbers),
            exact=str(list(range(count, count - SNAPSHOTS_KEPT, -1))),
            source="each snapshot has the next number",
        )
    assert start < SNAPSHOTS_KEPT, "the boot alone fills the history"
    for last in (0, 1, SNAPSHOTS_KEPT - 1, SNAPSHOTS_KEPT, SNAPSHOTS_KEPT + 1):
        found = len(device.history(last))
        measure(
            f"snapshots asked for: {last}", found, exact=min(last, SNAPSHOTS_KEPT), source="mem.history last="
        )
    before = survivors(device.history())
    device.reboot()
    after = survivors(device.last().snapshots)
    # The shutdown logs nothing, so all snapshots are still there.
    measure("snapshots after a reset", after == before, exact=True, source="sys.last against mem.history")


@pytest.mark.requirement("LOG-03", "LOG-06")
def test_the_oldest_waiting_boxes_are_dropped_and_counted(device: Device, measure: Measure) -> None:
    """Logs the statistics many times in one command, faster than boxes can be written (230 ms each), so that the queue
    of boxes overflows. The oldest boxes must be dropped and counted."""
    before = device.mark()
    device.log("First")
    device.wait_box("First", since=before)  # no box of the boot is still waiting
    start = device.mark()
    contexts = [f"Box {number}" for number in range(1, 2 * SNAPSHOTS_KEPT + 2)]
    device.log("Box", count=len(contexts))
    device.wait_box(contexts[-1], since=start)
    device.log("Last")  # the record of this log counts the boxes dropped last
    device.wait_box("Last", since=start)
    written = [box.context for box in device.boxes(start) if box.context in contexts]
    samples = device.events("mem.sample", since=start)
    dropped = sum(sample.data["boxes_dropped"] for sample in samples)
    told = sum(event.data["boxes"] for event in device.events("log.dropped", since=start))
    measure(
        "dropped boxes",
        dropped,
        low=1,
        high=len(contexts) - BOXES_QUEUED,
        source="at most the logs that the queue has no room for",
    )
    measure("dropped boxes in log.dropped - in the records", told - dropped, exact=0, source="LOG-03")
    measure("boxes written and dropped", len(written) + dropped, exact=len(contexts), source="PROTOCOL.md §2")
    measure(
        "boxes in the order of their logs",
        written == [context for context in contexts if context in written],
        exact=True,
        source="PROTOCOL.md §2",
    )
    measure(
        "the newest boxes",
        str(written[-BOXES_QUEUED:]),
        exact=str(contexts[-BOXES_QUEUED:]),
        source="the oldest are dropped",
    )
    recorded = [sample.data["context"] for sample in samples if sample.data["context"] in contexts]
    measure("records", str(recorded), exact=str(contexts), source="records are never dropped")


@pytest.mark.requirement("TRN-01")
def test_recording_keeps_what_fits_and_counts_the_rest(
    device: Device, modes: Modes, measure: Measure
) -> None:
    """Records without reading the ring: less than the ring's capacity, more than it, and more than twice as much. The
    ring must keep as much as fits and count the dropped samples. A new recording must start without dropped samples."""
    modes.to(VOICE)
    capacity = STT_RING_BYTES // CHUNK_BYTES * CHUNK_BYTES
    for seconds in (0.1, STT_RING_BYTES / 2 / RATE_HZ + 0.1, 2 * STT_RING_BYTES / 2 / RATE_HZ + 0.2):
        modes.record(seconds)
        heard = device.recording()
        kept = min(heard.samples * 2, capacity)
        measure(
            f"after {seconds:.1f} s: bytes in the ring - bytes that fit",
            heard.ring_bytes - kept,
            "B",
            exact=0,
            source="the samples captured, at most the ring's whole chunks",
        )
        measure(
            f"after {seconds:.1f} s: samples kept and dropped - captured",
            heard.ring_bytes // 2 + heard.dropped - heard.samples,
            exact=0,
            source="samples of the microphone",
        )
    modes.to(CAMERA)
    modes.to(VOICE)
    again = device.recording()
    measure("dropped in a new recording", again.dropped, exact=0, source="each recording starts empty")


@pytest.mark.requirement("ROB-01")
def test_each_record_of_a_reply_is_repeated(device: Device, measure: Measure) -> None:
    """Sends the same request twice; its reply has several records. The board must store the reply as a whole and repeat
    each record."""
    request = encode_request(REPEATED_ID, "sys.resources", {})
    records = []
    for _ in range(2):
        start = device.mark()
        device.channel.send(request)
        device.barrier()
        found = [*device.channel.records(start), *device.channel.repeated(start)]
        records.append([record.raw for record in found if record.id == REPEATED_ID])
    measure("records of the reply", len(records[0]), min=2, source="sys.resources")
    measure("the same records again", records[1] == records[0], exact=True, source="PROTOCOL.md §3")


@pytest.mark.requirement("ROB-01")
def test_reply_that_is_too_long_to_be_stored_is_made_again(device: Device, measure: Measure) -> None:
    """Sends the same request twice in one write. Its reply is longer than the 4 KB buffer for stored replies, so the
    board must execute it twice, and neither reply may be cut off."""
    device.split("SPIRAM", block=100, count=1_000)
    start = device.mark()
    device.channel.send(encode_request(TOO_LONG_ID, "heap.blocks", {"caps": "8BIT"}) * 2)
    device.barrier()
    found = [*device.channel.records(start), *device.channel.repeated(start)]
    records = [record for record in found if record.id == TOO_LONG_ID]
    last = [record for record in records if "more" not in record.data]
    length = sum(len(record.raw) for record in records)
    measure("length of both replies", length, "B", min=2 * 4_097, source="too long to be stored")
    measure("last records", len(last), exact=2, source="PROTOCOL.md §3")


@pytest.mark.requirement("ROB-01")
def test_the_newest_replies_are_repeated(device: Device, measure: Measure) -> None:
    """Sends requests again. The board must repeat the stored reply, byte by byte. It must execute a request again if
    the reply is no longer stored, or if a request with the same id has a different text."""
    first = HARNESS_ID_MAX + 1

    def ask(number: int, context: str = "") -> bytes:
        start = device.mark()
        arguments = {"context": context or f"Reply {number}"}
        device.channel.send(encode_request(first + number, "mem.log", arguments))

        def reply() -> bytes | None:
            records = [*device.channel.records(start), *device.channel.repeated(start)]
            return next((record.raw for record in records if record.id == first + number), None)

        raw = device.channel.wait(reply, 5)
        assert raw is not None, f"no reply to request {number}"
        return raw

    def logged() -> int:
        return device.history(1)[0].sequence

    device.monitor(stop=True)
    replies = [ask(number) for number in range(REPLIES_KEPT + 1)]
    before = logged()
    # The reply to reading the history is also stored.
    repeated = [ask(number) == replies[number] for number in range(REPLIES_KEPT, 1, -1)]
    measure(
        "repeated replies", str(repeated), exact=str([True] * (REPLIES_KEPT - 1)), source="PROTOCOL.md §3"
    )
    measure("executed again", logged() - before, exact=0, source="PROTOCOL.md §3")
    is_stored = ask(0) == replies[0]
    measure("the oldest reply is stored", is_stored, exact=False, source=f"the last {REPLIES_KEPT}")
    measure("the oldest request is executed again", logged() - before, exact=1, source="PROTOCOL.md §3")
    before = logged()
    ask(0, "Another text")
    measure(
        "executed: a stored id with another text",
        logged() - before,
        exact=1,
        source="PROTOCOL.md §3: same text",
    )
