"""Board profiles: what the virtual board is, and the state its heap is in when the application starts.

A profile is a TOML file: `name, chip, revision, mac, flash_mb, psram_mb`, `[[heap]] start, length, type`,
`[pool] size, default_caps`, `[[startup_internal]]` and `[[startup_psram]]` (`what, sizes`, and `caps` if not
the usual), `[[reserved]]` (`caps, sizes`: held besides) and `[costs]` (name to value). Sizes are bytes.
`psram_mb` is the chip's size; what of it is mapped is the length of the heap of type SPIRAM.
`like` names a shipped profile from which everything comes that this one leaves out.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hotpin_hil.errors import UsageError
from hotpin_hil.virtual.heap import Block, Figures, HeapError, HeapSystem

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PROFILES_DIR = Path(__file__).parent / "profiles"
DEFAULT_PROFILE = "ai-thinker"

MEMORIES = {
    "internal": "INTERNAL,8BIT",
    "internal_with_iram": "INTERNAL",
    "dma": "DMA",
    "psram": "SPIRAM",
    "total": "DEFAULT",
}
"""The memories that figures are given for, and the capability set that asks for each."""

_HEAP_TYPES = ("DRAM", "DIRAM", "IRAM", "SPIRAM")
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")


class ProfileError(UsageError):
    """A board profile or a ledger is missing or wrong: names the file, the key, the value and the remedy."""


@dataclass(frozen=True)
class HeapRegion:
    """One memory region with a heap; `type` is DRAM, DIRAM, IRAM or SPIRAM."""

    start: int
    length: int
    type: str


@dataclass(frozen=True)
class DmaPool:
    """The DMA pool; `default_caps`: its memory has MALLOC_CAP_DEFAULT."""

    size: int
    default_caps: bool


@dataclass(frozen=True)
class StartupBlocks:
    """Blocks that are there before the application's first allocation; `sizes` as requested, in order."""

    what: str
    caps: str
    sizes: tuple[int, ...]


@dataclass(frozen=True)
class BoardProfile:
    """One kind of board. `revision` is 301 for v3.1. `costs` are figures the virtual board can only echo."""

    name: str
    chip: str
    revision: int
    mac: str
    flash_mb: int
    psram_mb: int
    heaps: tuple[HeapRegion, ...]
    pool: DmaPool | None
    startup_internal: tuple[StartupBlocks, ...]
    startup_psram: tuple[StartupBlocks, ...]
    reserved: tuple[StartupBlocks, ...] = ()
    costs: Mapping[str, float] = field(default_factory=dict)

    @property
    def startup(self) -> tuple[StartupBlocks, ...]:
        """All startup blocks in the order of the start."""
        return self.startup_internal + self.startup_psram

    def boot_lines(self) -> list[str]:
        """The chip's start as `key=value` lines, in order, for the firmware process and for `boot_heap`.

        Without PSRAM there are no PSRAM blocks, and ESP-IDF makes no DMA pool.
        """
        psram = self.psram_mb > 0
        lines = [
            f"heap=0x{heap.start:08X},{heap.length},{heap.type}"
            for heap in self.heaps
            if psram or heap.type != "SPIRAM"
        ]
        lines += [_startup_line(blocks) for blocks in (self.startup if psram else self.startup_internal)]
        if self.pool is not None and psram:
            lines.append(f"pool={self.pool.size},{int(self.pool.default_caps)}")
        lines += [_startup_line(blocks) for blocks in self.reserved]
        return lines

    def boot_heap(self) -> HeapSystem:
        """The heaps as they are before the application's first allocation."""
        system = HeapSystem()
        for line in self.boot_lines():
            try:
                system.boot_line(line)
            except HeapError as error:
                raise ProfileError(
                    f"profile {self.name!r}: {error}", "correct the profile's memory map or startup blocks"
                ) from error
        return system


def _startup_line(blocks: StartupBlocks) -> str:
    return f"startup={blocks.caps}:{'+'.join(map(str, blocks.sizes))}:{blocks.what}"


# --- reading


@dataclass(frozen=True)
class _Table:
    """A TOML table with typed access whose errors name file, place, key and value."""

    path: Path
    where: str
    data: Mapping[str, Any]

    def error(self, key: str, wanted: str) -> ProfileError:
        value = self.data.get(key)
        got = "is missing" if key not in self.data else f"is {value!r}"
        return ProfileError(f"{self.path}: {self.where}{key} {got}", f"give {wanted}")

    def only(self, *keys: str) -> None:
        for key in self.data:
            if key not in keys:
                raise ProfileError(
                    f"{self.path}: {self.where}unknown key {key!r}", f"known: {', '.join(keys)}"
                )

    def integer(self, key: str, low: int = 0, high: int = (1 << 32) - 1) -> int:
        value = self.data.get(key)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise self.error(key, f"a whole number from {low} to {high}")
        return value

    def boolean(self, key: str) -> bool:
        value = self.data.get(key)
        if not isinstance(value, bool):
            raise self.error(key, "true or false")
        return value

    def text(self, key: str, default: str | None = None) -> str:
        value = self.data.get(key, default)
        if not isinstance(value, str) or not value:
            raise self.error(key, "a text that is not empty")
        return value

    def name(self, key: str) -> str:
        value = self.text(key)
        if not value.isprintable() or len(value) >= 32:
            raise self.error(key, "a name of less than 32 characters on one line")
        return value

    def sizes(self, key: str) -> tuple[int, ...]:
        value = self.data.get(key)
        fits = isinstance(value, list) and 0 < len(value) <= 16
        if not fits or not all(
            isinstance(size, int) and not isinstance(size, bool) and 0 < size < 1 << 22
            for size in value or ()
        ):
            raise self.error(key, "a list of 1 to 16 sizes in bytes, each from 1 to 4194303")
        return tuple(value or ())

    def tables(self, key: str) -> list[_Table]:
        value = self.data.get(key, [])
        if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
            raise self.error(key, f"[[{key}]] tables")
        return [_Table(self.path, f"{key} {number}: ", entry) for number, entry in enumerate(value, start=1)]


def _read(path: Path) -> _Table:
    try:
        with path.open("rb") as file:
            return _Table(path, "", tomllib.load(file))
    except OSError as error:
        raise ProfileError(f"{path}: {error.strerror}", "name an existing TOML file") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ProfileError(f"{path}: {error}", "correct the TOML") from error


def _heap(table: _Table) -> HeapRegion:
    table.only("start", "length", "type")
    if table.text("type") not in _HEAP_TYPES:
        raise table.error("type", f"one of {', '.join(_HEAP_TYPES)}")
    return HeapRegion(table.integer("start"), table.integer("length", low=1), table.text("type"))


def _blocks(table: _Table, caps: str | None, what: str | None = None) -> StartupBlocks:
    table.only("what", "caps", "sizes")
    return StartupBlocks(what or table.name("what"), table.text("caps", caps), table.sizes("sizes"))


def _pool(root: _Table) -> DmaPool | None:
    if "pool" not in root.data:
        return None
    if not isinstance(root.data["pool"], dict):
        raise root.error("pool", "a table with size and default_caps")
    table = _Table(root.path, "pool: ", root.data["pool"])
    table.only("size", "default_caps")
    return DmaPool(table.integer("size", low=1), table.boolean("default_caps"))


def _costs(root: _Table) -> dict[str, float]:
    costs = root.data.get("costs", {})
    if not isinstance(costs, dict) or not all(isinstance(cost, (int, float)) for cost in costs.values()):
        raise root.error("costs", "a table of numbers")
    return {name: float(cost) for name, cost in costs.items()}


def _like(root: _Table) -> _Table:
    """The profile with what it leaves out taken from the shipped one that it names."""
    other = root.text("like")
    if other not in names():
        raise root.error("like", f"one of {', '.join(names())}")
    own = {key: value for key, value in root.data.items() if key != "like"}
    return _Table(root.path, "", {**_read(PROFILES_DIR / f"{other}.toml").data, **own})


def names() -> list[str]:
    """Names of the profiles that ship with the package."""
    return sorted(path.stem for path in PROFILES_DIR.glob("*.toml"))


def load(name_or_path: str | Path = DEFAULT_PROFILE) -> BoardProfile:
    """A shipped profile by name, or any profile by the path of its TOML file."""
    path = Path(name_or_path)
    if path.suffix != ".toml":
        path = PROFILES_DIR / f"{name_or_path}.toml"
        if not path.is_file():
            raise ProfileError(
                f"no board profile {str(name_or_path)!r}",
                f"one of {', '.join(names())}, or the path of a .toml file",
            )
    root = _read(path)
    if "like" in root.data:
        root = _like(root)
    root.only("name", "chip", "revision", "mac", "flash_mb", "psram_mb", "heap", "pool", "startup_internal",
              "startup_psram", "reserved", "costs")  # fmt: skip
    mac = root.text("mac").lower()
    if not _MAC.fullmatch(mac):
        raise root.error("mac", 'six bytes such as "24:0a:c4:00:00:01"')
    if root.text("chip") != "esp32":
        raise root.error("chip", '"esp32": the heap model knows no other')
    heaps = tuple(_heap(table) for table in root.tables("heap"))
    if not heaps:
        raise root.error("heap", "at least one [[heap]]")
    return BoardProfile(
        name=root.name("name"),
        chip=root.text("chip"),
        revision=root.integer("revision", high=9999),
        mac=mac,
        flash_mb=root.integer("flash_mb", low=1, high=16),
        psram_mb=root.integer("psram_mb", high=8),
        heaps=heaps,
        pool=_pool(root),
        startup_internal=tuple(_blocks(table, "INTERNAL,8BIT") for table in root.tables("startup_internal")),
        startup_psram=tuple(_blocks(table, "SPIRAM") for table in root.tables("startup_psram")),
        reserved=tuple(_blocks(table, None, "reserved") for table in root.tables("reserved")),
        costs=_costs(root),
    )


# --- the firmware's own allocations


@dataclass(frozen=True)
class Allocation:
    """One line of a ledger: blocks taken (`sizes`), or with `frees` an earlier line's blocks given back."""

    what: str
    caps: str = ""
    sizes: tuple[int, ...] = ()
    frees: str = ""


@dataclass(frozen=True)
class Placed:
    """Where a ledger's block came to lie, and what it cost with its header and rounding."""

    what: str
    caps: str
    requested: int
    address: int
    cost: int


@dataclass(frozen=True)
class Explanation:
    """What a ledger comes to: figures per memory (see MEMORIES), where each held block lies, all blocks."""

    figures: Mapping[str, Figures]
    placed: tuple[Placed, ...]
    blocks: tuple[Block, ...]


def load_ledger(path: Path | str) -> list[Allocation]:
    """Read a ledger: the firmware's own allocations from app_main on, in order, as a TOML file.

    ```toml
    [[allocation]]
    what = "console task"       # a name; the next lines may free it
    caps = "INTERNAL,8BIT"      # capabilities, or "malloc" for malloc()
    sizes = [4096, 352]         # requested bytes in the order of the calls; one block: size = 4096

    [[allocation]]
    frees = "console task"      # all of that line's blocks, last one first
    ```
    """
    root = _read(Path(path))
    root.only("allocation")
    ledger = []
    for table in root.tables("allocation"):
        if "frees" in table.data:
            table.only("frees")
            ledger.append(Allocation(what=f"free of {table.text('frees')}", frees=table.text("frees")))
            continue
        table.only("what", "caps", "size", "sizes")
        if ("size" in table.data) == ("sizes" in table.data):
            raise table.error("size", "either size or sizes")
        sizes = (table.integer("size", low=1),) if "size" in table.data else table.sizes("sizes")
        ledger.append(Allocation(table.text("what"), table.text("caps"), sizes))
    return ledger


def explain(profile: BoardProfile, ledger: Iterable[Allocation]) -> Explanation:
    """Apply a ledger to the heap as it is before the first allocation: what the firmware must then report.

    Raises ProfileError for a block that finds no memory, and for a free of what is not there.
    """
    system = profile.boot_heap()
    held: dict[str, list[Placed]] = {}
    for number, entry in enumerate(ledger, start=1):
        place = f"ledger entry {number} ({entry.what})"
        if entry.frees:
            if entry.frees not in held:
                raise ProfileError(
                    f"{place}: nothing is held under {entry.frees!r}", "name the `what` of an earlier entry"
                )
            for block in reversed(held.pop(entry.frees)):
                system.free(block.address)
            continue
        for size in entry.sizes:
            address = (
                system.malloc_default(size) if entry.caps == "malloc" else system.malloc(size, entry.caps)
            )
            if not address:
                raise ProfileError(
                    f"{place}: no memory for {size} bytes of {entry.caps}",
                    "the ledger takes more than the board has",
                )
            cost = system.allocated_size(address) + 4
            held.setdefault(entry.what, []).append(Placed(entry.what, entry.caps, size, address, cost))
    return Explanation(
        figures={memory: system.stats(caps) for memory, caps in MEMORIES.items()},
        placed=tuple(block for blocks in held.values() for block in blocks),
        blocks=tuple(system.blocks()),
    )
