"""Records in a log: events, and replies about memory."""

from __future__ import annotations

from hotpin_hil.logs.boots import BootTracker
from hotpin_hil.logs.build import BuildCollector
from hotpin_hil.logs.sink import EventSink
from hotpin_hil.logs.transitions import TransitionTracker
from hotpin_hil.protocol import events as ev
from hotpin_hil.protocol.decode import BOOT, SAMPLE, decode_event, decode_heaps, decode_survived
from hotpin_hil.protocol.log import ConsoleLine
from hotpin_hil.protocol.records import Corrupt, Record, RecordScanner, read_record

_HEAPS_MAX = 32


class RecordLines:
    """Turns records into events, and follows their numbers and boot ids."""

    def __init__(
        self, sink: EventSink, boots: BootTracker, build: BuildCollector, transitions: TransitionTracker
    ) -> None:
        self.records = 0
        """Undamaged records."""
        self.records_lost = 0
        """Number of records that are missing between records of the same boot."""
        self._sink = sink
        self._boots = boots
        self._build = build
        self._transitions = transitions
        self._boot_id = ""
        self._newest = 0
        """Sequence number of this boot's newest record."""
        self._half_sample: tuple[int, Record] | None = None
        self._heaps: tuple[int | None, list[ev.MappedHeap]] | None = None
        """Request id and heaps of an incomplete `heap.regions` reply."""
        self._last_reply: tuple[int | None, list[str]] | None = None
        """Request id and field names of a `sys.last` reply, until its newest snapshot arrives."""

    def take_line(self, line: ConsoleLine) -> bool:
        """Decode the records in a line, if any; returns whether the line is exactly one undamaged record."""
        raw = line.text.encode("utf-8", errors="replace")
        record = read_record(raw)
        if record is not None:
            self.take(line.number, record)
            return True
        for item in RecordScanner().feed(raw + b"\n"):
            if isinstance(item, Record):
                self.take(line.number, item)
            else:
                self._emit_unreadable(line.number, None, item.reason, item)
        return False

    def take(self, number: int, record: Record) -> None:
        """Emit the event that the next record contains or completes."""
        self.records += 1
        self._follow(number, record)
        self._boots.note_output()
        try:
            self._decode(number, record)
        except (KeyError, TypeError, ValueError) as error:
            reason = f"the checksum is right, but a field is missing or wrong: {error}"
            self._emit_unreadable(number, record.t_ms, reason, record)

    def end_boot(self) -> None:
        """Report half of a sample as unreadable if the boot ended before the other half; forget the boot id."""
        self._lose_half()
        self._boot_id = ""

    def _follow(self, number: int, record: Record) -> None:
        if self._boot_id not in ("", record.boot):
            self._boots.take_new_boot_id(number, record.t_ms)
        elif self._boot_id and record.n > self._newest + 1:
            self.records_lost += record.n - self._newest - 1
        self._newest = max(self._newest, record.n) if self._boot_id == record.boot else record.n
        self._boot_id = record.boot

    def _decode(self, number: int, record: Record) -> None:
        if self._half_sample is not None and record.event != SAMPLE:
            self._lose_half()
        if record.event == SAMPLE:
            self._sample(number, record)
        elif record.event == BOOT and record.more:
            pass  # the long strings of the build come in a separate record, before the decoded record
        elif record.event is not None:
            self._event(decode_event(record.event, record.data, self._sink.place(number, record.t_ms)))
        elif isinstance(record.data.get("regions"), list):
            self._regions(number, record)
        elif "boot_id" in record.data:
            self._last_reply = (record.id, list(record.data.get("fields", ())))
        elif self._last_reply is not None and record.id == self._last_reply[0]:
            self._survived(number, record, self._last_reply[1])

    def _event(self, event: ev.LogEvent | None) -> None:
        if isinstance(event, ev.ModeChange):
            self._transitions.take_record(event)
        elif event is not None:
            self._sink.emit(event)
            if isinstance(event, ev.ResetReason) and event.free_at_main is not None:
                self._build.note_free_at_main(event.line, event.free_at_main, keep_first=False)

    def _sample(self, number: int, record: Record) -> None:
        """Keep the first record of a sample, or emit the sample that the second one completes."""
        data = record.data
        if self._half_sample is not None:
            first_number, first = self._half_sample
            if "context" not in data and record.n == first.n + 1:
                self._half_sample = None
                place = self._sink.place(first_number, first.t_ms)
                self._event(decode_event(SAMPLE, {**first.data, **data}, place))
                return
            self._lose_half()
        if "context" not in data:
            raise ValueError("the first half of this sample is missing")
        if record.more:
            self._half_sample = (number, record)
        else:
            self._event(decode_event(SAMPLE, data, self._sink.place(number, record.t_ms)))

    def _lose_half(self) -> None:
        if self._half_sample is not None:
            number, first = self._half_sample
            self._half_sample = None
            self._emit_unreadable(number, first.t_ms, "the second half of a sample is missing", first)

    def _regions(self, number: int, record: Record) -> None:
        """Process one of the records of a `heap.regions` reply."""
        if not self._heaps or self._heaps[0] != record.id:
            self._heaps = (record.id, [])
        heaps = self._heaps[1]
        heaps += decode_heaps(record.data["regions"])
        if not record.more or len(heaps) > _HEAPS_MAX:
            self._heaps = None
            self._sink.emit(ev.HeapsReported(*self._sink.place(number, record.t_ms), heaps=tuple(heaps)))

    def _survived(self, number: int, record: Record, names: list[str]) -> None:
        names += record.data.get("fields", ())
        rows = record.data.get("snapshots", [])
        if rows:
            self._last_reply = None
            self._sink.emit(decode_survived(names, rows[0], self._sink.place(number, record.t_ms)))

    def _emit_unreadable(self, number: int, t_ms: int | None, reason: str, item: Record | Corrupt) -> None:
        self._sink.emit(
            ev.Unreadable(
                *self._sink.place(number, t_ms),
                what="record",
                reason=ev.quote(reason),
                quote=ev.quote(item.raw.decode("latin-1")),
            )
        )
