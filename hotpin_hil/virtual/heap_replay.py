"""Replay of recorded heap traces against the heap model.

Two formats, one JSON object per line: single heaps ("heap" lines, then operations with offsets), and a system
of heaps ("system", then "block" lines for its state, then operations with pointers).
"""

from __future__ import annotations

import ctypes as ct
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from hotpin_hil.errors import UsageError
from hotpin_hil.virtual.heap import Block, HeapError, HeapSystem, SingleHeap, caps_bits, type_at


class VectorError(UsageError):
    """A damaged heap trace; names the file, the line and the expected content."""


RECORDED_BUFFER = 0x3F80087C
"""Address of multi_heap.jsonl's buffer: the first block of PSRAM, as the recorded aligned addresses show."""


@dataclass(frozen=True)
class ReplayDifference:
    """A result of the model that differs from the recording; `line` counts from 1."""

    line: int
    operation: str
    recorded: str
    model: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.operation}: recorded {self.recorded}, model {self.model}"


@dataclass(frozen=True)
class ReplayResult:
    """Result of a replay; `differences` has the first differences, `difference_count` counts all."""

    path: Path
    operations: int
    difference_count: int
    differences: tuple[ReplayDifference, ...]

    @property
    def ok(self) -> bool:
        return self.difference_count == 0

    def __str__(self) -> str:
        found = "no difference" if self.ok else f"{self.difference_count} differences"
        return f"{self.path.name}: {self.operations} operations, {found}"


@dataclass(frozen=True)
class _Operation:
    """One line of a trace file. Typed access, with errors that name file and line."""

    path: Path
    line: int
    fields: dict[str, Any]

    def error(
        self, what: str, remedy: str = "copy the file again; a recording has one JSON object per line"
    ) -> VectorError:
        return VectorError(f"{self.path}:{self.line}: {what}", remedy)

    def integer(self, key: str, low: int = 0, high: int = (1 << 32) - 1) -> int:
        value = self.fields.get(key)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise self.error(f"`{key}` is {value!r}, not a whole number from {low} to {high}")
        return value

    def boolean(self, key: str) -> bool:
        value = self.fields.get(key)
        if not isinstance(value, bool):
            raise self.error(f"`{key}` is {value!r}, not true or false")
        return value

    def address(self, key: str) -> int:
        value = self.fields.get(key)
        try:
            number = int(value, 16) if isinstance(value, str) else -1
        except ValueError:
            number = -1
        if not 0 <= number < 1 << 32:
            raise self.error(f'`{key}` is {value!r}, not an address such as "0x3ffb0000"')
        return number

    def caps(self) -> str:
        value = self.fields.get("caps")
        if not isinstance(value, list) or not value or not all(isinstance(name, str) for name in value):
            raise self.error(f"`caps` is {value!r}, not a list of capability names")
        names = ",".join(value)
        try:
            caps_bits(names)
        except HeapError as error:
            raise self.error(error.message, error.remedy) from error
        return names


def _operations(path: Path) -> Iterator[_Operation]:
    """Lines of a trace file. Raises VectorError for a truncated file or a file of another kind."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise VectorError(f"{path}: {error.strerror}", "name a recorded heap trace (.jsonl)") from error
    lines = data.split(b"\n")
    for number, raw in enumerate(lines, start=1):
        if not raw.strip():
            continue
        unknown = _Operation(path, number, {})
        try:
            fields = json.loads(raw.decode("utf-8"))
        except (ValueError, RecursionError):
            if number == len(lines):
                raise unknown.error(
                    "the file ends in the middle of a line", "it was cut off; copy it again"
                ) from None
            raise unknown.error(f"not JSON: {raw[:40]!r}") from None
        if not isinstance(fields, dict) or not isinstance(fields.get("op"), str):
            raise unknown.error(f'not an object with an "op": {raw[:40]!r}')
        yield _Operation(path, number, fields)


class _Replayer:
    """Runs operations on the model and records where its results differ."""

    def __init__(self, path: Path, keep: int) -> None:
        self.operations = 0
        self._path = path
        self._keep = keep
        self._difference_count = 0
        self._differences: list[ReplayDifference] = []
        self._recorded: set[int] = set()  # ids allocated in the recording
        self._model: dict[int, int] = {}  # id -> address in the model

    def compare(self, operation: _Operation, what: str, recorded: str, model: str) -> None:
        if recorded == model:
            return
        self._difference_count += 1
        if len(self._differences) < self._keep:
            self._differences.append(ReplayDifference(operation.line, what, recorded, model))

    def result(self) -> ReplayResult:
        return ReplayResult(self._path, self.operations, self._difference_count, tuple(self._differences))

    def clear(self) -> None:
        self._recorded.clear()
        self._model.clear()

    def fresh(self, operation: _Operation, release: Callable[[int], None]) -> int:
        """The id of a new allocation; it must not be in use."""
        identity = operation.integer("id")
        if identity in self._recorded:
            raise operation.error(
                f"id {identity} is allocated twice", "copy the file again: lines are missing"
            )
        if identity in self._model:
            # Only the model granted this memory; that difference is already counted.
            release(self._model.pop(identity))
        return identity

    def live(self, operation: _Operation) -> tuple[int, int]:
        """The id of an operation, which must be in use, and its address in the model (0: none)."""
        identity = operation.integer("id")
        if identity not in self._recorded:
            raise operation.error(f"id {identity} is not allocated", "copy the file again: lines are missing")
        return identity, self._model.get(identity, 0)

    def granted(self, identity: int, recorded: bool, address: int) -> None:
        """Store whether an allocation succeeded in the recording (`recorded`) and in the model (`address` is not 0)."""
        if recorded:
            self._recorded.add(identity)
        if address:
            self._model[identity] = address

    def end(self, operation: _Operation, release: Callable[[int], None]) -> None:
        identity, address = self.live(operation)
        self._recorded.discard(identity)
        if address:
            release(self._model.pop(identity))


_SINGLE_STATS = ("free", "allocated", "largest", "minimum", "allocated_blocks", "free_blocks")
_SYSTEM_STATS = ("free", "largest")


def _start_heap(operation: _Operation) -> SingleHeap:
    try:
        return SingleHeap(RECORDED_BUFFER, operation.integer("length"))
    except HeapError as error:
        raise operation.error(error.message) from error


def _allocate(heap: SingleHeap, operation: _Operation, replayer: _Replayer) -> None:
    name, size, offset = (
        operation.fields["op"],
        operation.integer("size"),
        operation.integer("offset", low=-1),
    )
    if name == "realloc":
        identity, old = replayer.live(operation)
        address, arguments = heap.realloc(old, size), f"{size}"
    else:
        identity = replayer.fresh(operation, heap.free)
        if name == "malloc":
            address, arguments = heap.malloc(size), f"{size}"
        else:
            alignment = operation.integer("align", low=1)
            address, arguments = heap.aligned_alloc(size, alignment), f"{size}, align {alignment}"
    replayer.granted(identity, offset >= 0, address)
    recorded = f"offset {offset}" if offset >= 0 else "NULL"
    model = f"offset {address - heap.start}" if address else "NULL"
    replayer.compare(operation, f"{name}({arguments}) id {identity}", recorded, model)


def _replay_single(operations: Iterator[_Operation], replayer: _Replayer) -> None:
    """Replay multi_heap.jsonl: single heaps. Each "heap" line starts a new heap."""
    heap: SingleHeap | None = None
    for operation in operations:
        name = operation.fields["op"]
        if name == "heap":
            heap = _start_heap(operation)
            replayer.clear()
            continue
        if heap is None:
            raise operation.error(
                f'"{name}" before any "heap" line', "copy the file again: its first lines are missing"
            )
        replayer.operations += 1
        if name == "stats":
            stats = heap.stats()
            for key in _SINGLE_STATS:
                replayer.compare(operation, key, str(operation.integer(key)), str(getattr(stats, key)))
        elif name == "free":
            replayer.end(operation, heap.free)
        elif name in ("malloc", "aligned_alloc", "realloc"):
            _allocate(heap, operation, replayer)
        else:
            raise operation.error(f"unknown operation {name!r}")


def _recorded_system(first: list[_Operation]) -> HeapSystem:
    """Heaps in the state described by "block" lines: heaps in search order, blocks in address order."""
    heaps: dict[tuple[int, int], list[Block]] = {}
    lines: dict[tuple[int, int], _Operation] = {}
    for operation in first:
        key = operation.address("heap"), operation.address("end")
        block = Block(*key, operation.address("ptr"), operation.integer("size"), operation.boolean("used"))
        heaps.setdefault(key, []).append(block)
        lines.setdefault(key, operation)
    system = HeapSystem()
    for (start, end), blocks in reversed(heaps.items()):
        # The pool is the heap inside another heap; these recordings have it with MALLOC_CAP_DEFAULT.
        inside = any(other[0] <= start and end <= other[1] and other != (start, end) for other in heaps)
        type_name = "POOL" if inside else type_at(start)
        if type_name is None:
            raise lines[start, end].error(f"no heap memory at 0x{start:08x} on the ESP32")
        try:
            system.add_recorded(start, end - start, type_name, blocks)
        except (HeapError, ct.ArgumentError) as error:
            raise lines[start, end].error(
                str(error), "block lines are missing or changed; copy the file again"
            ) from error
    return system


def _replay_system(operations: Iterator[_Operation], replayer: _Replayer) -> None:
    """Replay heap_caps.jsonl: a system's heaps in a recorded state, then allocations by capability."""
    blocks: list[_Operation] = []
    system: HeapSystem | None = None
    for operation in operations:
        name = operation.fields["op"]
        if name == "block" and system is None:
            blocks.append(operation)
            continue
        if system is None:
            if not blocks:
                raise operation.error(
                    f'"{name}" before any "block" line', "copy the file again: the state is missing"
                )
            system = _recorded_system(blocks)
        replayer.operations += 1
        if name == "stats":
            caps = operation.caps()
            stats = system.stats(caps)
            for key in _SYSTEM_STATS:
                replayer.compare(
                    operation, f"{key} {caps}", str(operation.integer(key)), str(getattr(stats, key))
                )
        elif name == "free":
            replayer.end(operation, system.free)
        elif name == "malloc":
            caps, size, pointer = operation.caps(), operation.integer("size"), operation.address("ptr")
            identity = replayer.fresh(operation, system.free)
            address = system.malloc(size, caps)
            replayer.granted(identity, pointer != 0, address)
            what = f"malloc({size}, {caps}) id {identity}"
            replayer.compare(operation, what, f"0x{pointer:08x}", f"0x{address:08x}")
        else:
            raise operation.error(f"unknown operation {name!r} here")


def replay(path: Path | str, out: TextIO | None = None, keep: int = 10) -> ReplayResult:
    """Run a recorded trace (multi_heap.jsonl or heap_caps.jsonl) against the model.

    Prints the first `keep` differences and the count to `out` (default: standard output). A damaged
    file, or a file of another kind, raises VectorError with the line's number.
    """
    path = Path(path)
    out = out or sys.stdout
    replayer = _Replayer(path, keep)
    operations = _operations(path)
    first = next(operations, None)
    if first is None:
        raise VectorError(f"{path}: empty", "name a recorded heap trace (.jsonl)")
    kind = first.fields["op"]
    if kind == "system":
        _replay_system(operations, replayer)
    elif kind == "heap":
        _replay_single(_chain(first, operations), replayer)
    else:
        raise first.error(f'begins with {kind!r}, not with "heap" or "system"', "name a recorded heap trace")
    if replayer.operations == 0:
        raise first.error("has no operation after its first lines", "it was cut off; copy it again")
    result = replayer.result()
    for difference in result.differences:
        print(difference, file=out)
    print(result, file=out)
    return result


def _chain(first: _Operation, rest: Iterator[_Operation]) -> Iterator[_Operation]:
    yield first
    yield from rest
