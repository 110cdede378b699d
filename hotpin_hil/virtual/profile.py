"""Board profiles: hardware of a virtual board, and the state of its heap when the application starts.

A profile is a TOML file. Sizes are bytes. Its keys:

- `name, chip, revision, mac, flash_mb, psram_mb`: `psram_mb` is the chip's size; the mapped part is the length
  of the heap of type SPIRAM.
- `[[heap]] start, length, type`, in the order of addresses, and `search_order`: "address" (ESP-IDF v5.4) or
  "size" (v5.5: the smallest heap first).
- `[pool] size, default_caps`, and `minimum_zero = true` if its minimum ever counts as 0 (v5.5).
- `[[startup_internal]]` and `[[startup_psram]]`: the blocks allocated before app_main, in order, each with its
  owner: `what, sizes`, and `caps` if they differ from the default. `after` is the start-up step that they follow:
  "reset", "psram" (the PSRAM joins the heap; the default) or "pool" (the DMA pool is made). `frees = "…"`
  frees the blocks of an earlier entry. `only = "…"` limits an entry to builds that have this in `has`.
- `has`: the names for `only` that apply to this build, such as "newlib in flash".
- `[[reserved]] caps, sizes`: additional blocks that stay allocated; `[costs]`: name to value.
- `like`: a shipped profile that supplies all omitted keys.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hotpin_hil.compat import tomllib
from hotpin_hil.errors import UsageError
from hotpin_hil.virtual.heap import Block, Figures, HeapError, HeapSystem

PROFILES_DIR = Path(__file__).parent / "profiles"
DEFAULT_PROFILE = "hotpin-5.4"

MEMORIES = {
    "internal": "INTERNAL,8BIT",
    "internal_with_iram": "INTERNAL",
    "dma": "DMA",
    "psram": "SPIRAM",
    "total": "DEFAULT",
}
"""Name of each memory type -> the capability set that selects it."""

_HEAP_TYPES = ("DRAM", "DIRAM", "IRAM", "SPIRAM")
_SEARCH_ORDERS = ("address", "size")
_STEPS = ("reset", "psram", "pool")
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")


class ProfileError(UsageError):
    """A missing or wrong board profile or ledger; names the file, the key, the value and the remedy."""


@dataclass(frozen=True)
class HeapRegion:
    """One memory region with a heap; `type` is DRAM, DIRAM, IRAM or SPIRAM."""

    start: int
    length: int
    type: str


@dataclass(frozen=True)
class DmaPool:
    """The DMA pool. `default_caps`: it has MALLOC_CAP_DEFAULT; `minimum_zero`: its minimum ever counts as 0."""

    size: int
    default_caps: bool
    minimum_zero: bool = False


@dataclass(frozen=True)
class StartupBlocks:
    """Blocks allocated (`sizes`, as requested, in order) or freed (`frees`) before the application starts."""

    what: str
    caps: str
    sizes: tuple[int, ...]
    after: str = "psram"
    frees: str = ""
    only: str = ""


@dataclass(frozen=True)
class BoardProfile:
    """One kind of board. `revision` is 301 for v3.1. `costs` are constants that the virtual board only echoes."""

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
    search_order: str = "address"
    has: tuple[str, ...] = ()

    @property
    def cores(self) -> int | None:
        """Number of cores that FreeRTOS uses in the profile's build; None if the profile does not name it."""
        counts = {"one core": 1, "two cores": 2}
        return next((count for name, count in counts.items() if name in self.has), None)

    def startup(self, after: str) -> list[StartupBlocks]:
        """The startup blocks of this build that follow one step of the boot, in order."""
        psram = self.psram_mb > 0
        return [
            blocks
            for blocks in self.startup_internal + self.startup_psram
            if blocks.after == after
            and (not blocks.only or blocks.only in self.has)
            and (psram or "SPIRAM" not in blocks.caps)
        ]

    def boot_lines(self) -> list[str]:
        """The chip's boot as `key=value` lines, in order, for the firmware process and for `boot_heap`.

        Without PSRAM there are no PSRAM blocks, and ESP-IDF makes no DMA pool.
        """
        psram = self.psram_mb > 0
        own = [heap for heap in self.heaps if heap.type != "SPIRAM"]
        if self.search_order == "size":
            own.sort(key=lambda heap: heap.length)
        lines = [_heap_line(heap) for heap in own]
        lines += map(_startup_line, self.startup("reset"))
        lines += [_heap_line(heap) for heap in self.heaps if psram and heap.type == "SPIRAM"]
        lines += map(_startup_line, self.startup("psram"))
        if self.pool is not None and psram:
            minimum = ",1" if self.pool.minimum_zero else ""
            lines.append(f"pool={self.pool.size},{int(self.pool.default_caps)}{minimum}")
        lines += map(_startup_line, self.startup("pool"))
        lines += map(_startup_line, self.reserved)
        return lines

    def boot_heap(self) -> HeapSystem:
        """The heaps before the application's first allocation."""
        system = HeapSystem()
        for line in self.boot_lines():
            try:
                system.boot_line(line)
            except HeapError as error:
                raise ProfileError(
                    f"profile {self.name!r}: {error}", "correct the profile's memory map or startup blocks"
                ) from error
        return system


def _heap_line(heap: HeapRegion) -> str:
    return f"heap=0x{heap.start:08X},{heap.length},{heap.type}"


def _startup_line(blocks: StartupBlocks) -> str:
    if blocks.frees:
        return f"free={blocks.frees}"
    return f"startup={blocks.caps}:{'+'.join(map(str, blocks.sizes))}:{blocks.what}"


# --- reading


@dataclass(frozen=True)
class _Table:
    """A TOML table with typed access. Its errors name the file, the place, the key and the value."""

    path: Path
    where: str
    data: Mapping[str, Any]

    def error(self, key: str, wanted: str) -> ProfileError:
        value = self.data.get(key)
        got = "is missing" if key not in self.data else f"is not valid: {value!r}"
        return ProfileError(f"{self.path}: {self.where}`{key}` {got}", f"give {wanted}")

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

    def boolean(self, key: str, default: bool | None = None) -> bool:
        value = self.data.get(key, default)
        if not isinstance(value, bool):
            raise self.error(key, "true or false")
        return value

    def text(self, key: str, default: str | None = None) -> str:
        value = self.data.get(key, default)
        if not isinstance(value, str) or not value:
            raise self.error(key, "a non-empty string")
        return value

    def name(self, key: str) -> str:
        value = self.text(key)
        if not value.isprintable() or len(value) >= 32:
            raise self.error(key, "a name of fewer than 32 characters on one line")
        return value

    def choice(self, key: str, choices: tuple[str, ...], default: str) -> str:
        value = self.data.get(key, default)
        if value not in choices:
            raise self.error(key, f"one of {', '.join(choices)}")
        return str(value)

    def texts(self, key: str) -> tuple[str, ...]:
        value = self.data.get(key, [])
        if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
            raise self.error(key, "a list of strings")
        return tuple(value)

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


def _startup(table: _Table, caps: str) -> StartupBlocks:
    after = table.choice("after", _STEPS, "psram")
    only = table.text("only") if "only" in table.data else ""
    if "frees" in table.data:
        table.only("frees", "after", "only")
        return StartupBlocks("", caps, (), after, table.name("frees"), only)
    table.only("what", "caps", "sizes", "after", "only")
    name, sizes = table.name("what"), table.sizes("sizes")
    return StartupBlocks(name, table.text("caps", caps), sizes, after, only=only)


def _reserved(table: _Table) -> StartupBlocks:
    table.only("caps", "sizes")
    return StartupBlocks("reserved", table.text("caps"), table.sizes("sizes"))


def _pool(root: _Table) -> DmaPool | None:
    if "pool" not in root.data:
        return None
    if not isinstance(root.data["pool"], dict):
        raise root.error("pool", "a table with size and default_caps")
    table = _Table(root.path, "pool: ", root.data["pool"])
    table.only("size", "default_caps", "minimum_zero")
    size, default_caps = table.integer("size", low=1), table.boolean("default_caps")
    return DmaPool(size, default_caps, table.boolean("minimum_zero", False))


def _costs(root: _Table) -> dict[str, float]:
    costs = root.data.get("costs", {})
    if not isinstance(costs, dict) or not all(isinstance(cost, (int, float)) for cost in costs.values()):
        raise root.error("costs", "a table of numbers")
    return {name: float(cost) for name, cost in costs.items()}


def _like(root: _Table) -> _Table:
    """The profile, completed from the shipped profile that `like` names."""
    other = root.text("like")
    if other not in names():
        raise root.error("like", f"one of {', '.join(names())}")
    own = {key: value for key, value in root.data.items() if key != "like"}
    base = _read(PROFILES_DIR / f"{other}.toml")
    if "like" in base.data:
        base = _like(base)
    return _Table(root.path, "", {**base.data, **own})


def names() -> list[str]:
    """Names of the profiles that ship with the package."""
    return sorted(path.stem for path in PROFILES_DIR.glob("*.toml"))


def load(name_or_path: str | Path = DEFAULT_PROFILE) -> BoardProfile:
    """Load a shipped profile by name, or any profile by the path of its TOML file.

    Raises:
        ProfileError: there is no such profile, or it is not valid.
    """
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
    root.only("name", "chip", "revision", "mac", "flash_mb", "psram_mb", "heap", "search_order", "pool", "has",
              "startup_internal", "startup_psram", "reserved", "costs")  # fmt: skip
    mac = root.text("mac").lower()
    if not _MAC.fullmatch(mac):
        raise root.error("mac", 'six bytes such as "24:0a:c4:00:00:01"')
    if root.text("chip") != "esp32":
        raise root.error("chip", '"esp32": the heap model supports no other chip')
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
        startup_internal=tuple(_startup(table, "INTERNAL,8BIT") for table in root.tables("startup_internal")),
        startup_psram=tuple(_startup(table, "SPIRAM") for table in root.tables("startup_psram")),
        reserved=tuple(_reserved(table) for table in root.tables("reserved")),
        costs=_costs(root),
        search_order=root.choice("search_order", _SEARCH_ORDERS, "address"),
        has=root.texts("has"),
    )


# --- the firmware's own allocations


@dataclass(frozen=True)
class Allocation:
    """One entry of a ledger: blocks to allocate (`sizes`), or blocks of an earlier entry to free (`frees`).

    `only`: skipped unless the profile's `has` has this name. `unless`: skipped if the profile's `has` or startup blocks
    have this name.
    """

    what: str
    caps: str = ""
    sizes: tuple[int, ...] = ()
    frees: str = ""
    only: str = ""
    unless: str = ""


@dataclass(frozen=True)
class Placed:
    """Address of a ledger's block, and its cost with header and rounding."""

    what: str
    caps: str
    requested: int
    address: int
    cost: int


@dataclass(frozen=True)
class Explanation:
    """Result of a ledger: figures per memory type (see MEMORIES), address of each held block, all blocks."""

    figures: Mapping[str, Figures]
    placed: tuple[Placed, ...]
    blocks: tuple[Block, ...]


def load_ledger(path: Path | str) -> list[Allocation]:
    """Read a ledger: the firmware's own allocations, starting at app_main, in order, as a TOML file.

    ```toml
    [[allocation]]
    what = "console task"       # a name; later entries may free it
    caps = "INTERNAL,8BIT"      # capabilities, or "malloc" for malloc()
    sizes = [4096, 352]         # requested bytes in the order of the calls; one block: size = 4096
    only = "one core"           # optional: skipped unless the profile's `has` has this name
    unless = "console"          # optional: skipped if the profile's `has` or startup blocks have this name

    [[allocation]]
    frees = "console task"      # all of that entry's blocks, last one first
    ```

    Raises:
        ProfileError: the file cannot be read or is not a valid ledger.
    """
    root = _read(Path(path))
    root.only("allocation")
    ledger = []
    for table in root.tables("allocation"):
        if "frees" in table.data:
            table.only("frees")
            ledger.append(Allocation(what=f"free of {table.text('frees')}", frees=table.text("frees")))
            continue
        table.only("what", "caps", "size", "sizes", "only", "unless")
        if ("size" in table.data) == ("sizes" in table.data):
            raise table.error("size", "either size or sizes")
        sizes = (table.integer("size", low=1),) if "size" in table.data else table.sizes("sizes")
        only, unless = (table.text(key) if key in table.data else "" for key in ("only", "unless"))
        ledger.append(Allocation(table.text("what"), table.text("caps"), sizes, only=only, unless=unless))
    return ledger


def explain(profile: BoardProfile, ledger: Iterable[Allocation]) -> Explanation:
    """Apply a ledger to the heap before the first allocation; the firmware must then report the same figures.

    Raises ProfileError for a block that does not fit, and for a free of a block that is not allocated.
    """
    system = profile.boot_heap()
    held: dict[str, list[Placed]] = {}
    names = {*profile.has, *(blocks.what for step in _STEPS for blocks in profile.startup(step))}
    for number, entry in enumerate(ledger, start=1):
        if (entry.unless and entry.unless in names) or (entry.only and entry.only not in names):
            continue
        place = f"ledger entry {number} ({entry.what})"
        if entry.frees:
            if entry.frees not in held:
                raise ProfileError(
                    f"{place}: no block named {entry.frees!r} is allocated",
                    "name the `what` of an earlier entry",
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
                    "the ledger allocates more than the board has",
                )
            cost = system.allocated_size(address) + 4
            held.setdefault(entry.what, []).append(Placed(entry.what, entry.caps, size, address, cost))
    return Explanation(
        figures={memory: system.stats(caps) for memory, caps in MEMORIES.items()},
        placed=tuple(block for blocks in held.values() for block in blocks),
        blocks=tuple(system.blocks()),
    )
