"""Names the call sites of an allocation profile, and finds the sites of a leak.

A site is named after the innermost frame in this project's code, because that is where a fix belongs:
`xQueueGenericCreate` does not leak, its caller does. Without such a frame it is named after the allocator's caller.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from hotpin_hil.analysis.leak import BUDGET_PER_CYCLE
from hotpin_hil.paths import FIRMWARE_DIR
from hotpin_hil.protocol.allocations import AllocationSite
from hotpin_hil.symbols.decoder import AddressDecoder
from hotpin_hil.symbols.machine import call_address
from hotpin_hil.symbols.places import SourcePlace

PASSES_ON = re.compile(
    r"__wrap_\w+|heap_caps_\w+|_?(m|c|re)alloc(_r)?|memalign|posix_memalign|aligned_alloc|strdup|pvPortMalloc\w*"
    r"|native_\w*alloc|native_posix_memalign|native_strdup|heap_fail_quiet_malloc|_Zn[wa]\w*|operator new.*"
)
"""Functions that only forward a call: allocators of the heap, the C library, FreeRTOS and C++, and the test console's
wrappers."""

LEAKED_BLOCKS_MIN = 2
"""One block that stays allocated is a step, not a leak."""


@dataclass(frozen=True)
class NamedSite:
    """A line of source code that allocates."""

    function: str
    """Empty if the site is unknown: allocated before the profile started, or not in its table."""
    file: str = ""
    """Path as the compiler saw it."""
    line: int | None = None
    via: str = ""
    """ESP-IDF function that allocated, called by this line; empty if the line itself allocated."""

    def __str__(self) -> str:
        if not self.function:
            return "an unknown site"
        where = f", {PurePosixPath(self.file).name}:{self.line}" if self.file else ""
        return f"{self.function}{where}" + (f" (in {self.via})" if self.via else "")


@dataclass(frozen=True)
class LeakSource:
    """A site whose memory grew from cycle to cycle."""

    site: NamedSite
    task: str
    memory: str
    bytes: int
    blocks: int
    cycles: int

    @property
    def per_cycle(self) -> float:
        """Bytes per cycle."""
        return self.bytes / self.cycles

    def __str__(self) -> str:
        psram = " of PSRAM" if self.memory == "psram" else ""
        return f"{self.per_cycle:.4g} B{psram} per cycle from {self.site}, task {self.task}"


UNKNOWN = NamedSite("")


class SiteNamer:
    """Names the sites of one firmware image."""

    def __init__(self, decoder: AddressDecoder) -> None:
        self._decoder = decoder
        self._own = _own_files()

    def name(self, site: AllocationSite) -> NamedSite:
        """The source line that the allocation is attributed to; see the module's docstring."""
        return self._choose(self.callers(site))

    def callers(self, site: AllocationSite) -> list[SourcePlace]:
        """The frames from the allocator's caller outwards, without functions that only forward a call."""
        machine = self._decoder.elf.machine
        decoded = self._decoder.decode(call_address(frame, machine) for frame in site.frames)
        places = [place for found in decoded for place in found.places]
        return [place for place in places if not PASSES_ON.fullmatch(place.function)]

    def _choose(self, callers: Sequence[SourcePlace]) -> NamedSite:
        if not callers:
            return UNKNOWN
        own = next((place for place in callers if self._own.search(place.file)), callers[0])
        via = "" if own is callers[0] else callers[0].function
        return NamedSite(own.function, own.file, own.line, via)


def leak_sources(
    changes: Iterable[AllocationSite],
    cycles: int,
    namer: SiteNamer,
    budget_per_cycle: float = BUDGET_PER_CYCLE,
) -> list[LeakSource]:
    """The sites whose bytes and blocks in use grew over `cycles`, the largest growth first.

    Args:
        changes: the changes per site since the mark; the firmware was in the same state at both times.
        cycles: cycles since the mark.
        namer: names the sites.
        budget_per_cycle: allowed growth per cycle, bytes.
    """
    totals: dict[tuple[NamedSite, str, str], list[int]] = defaultdict(lambda: [0, 0])
    for change in changes:
        total = totals[namer.name(change), change.task, change.memory]
        total[0] += change.bytes
        total[1] += change.blocks
    found = [
        LeakSource(site, task, memory, grown, blocks, cycles)
        for (site, task, memory), (grown, blocks) in totals.items()
        if blocks >= LEAKED_BLOCKS_MIN and grown > budget_per_cycle * cycles
    ]
    return sorted(found, key=lambda source: (-source.bytes, str(source)))


def _own_files() -> re.Pattern[str]:
    """Pattern of the paths of this project's sources, as the chip's and the host's compilers write them."""
    folder = FIRMWARE_DIR / "components"
    names = "|".join(re.escape(path.name) for path in sorted(folder.iterdir())) if folder.is_dir() else "(?!)"
    return re.compile(rf"(^|/)(components/({names})/|COMPONENT_({names.upper()})_DIR/|main/main\.c$)")
