"""`hotpin-hil boards`: lists attached boards and the boards of a bench, with their chips and current users."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hotpin_hil.boards.bench import BoardEntry
from hotpin_hil.boards.kind import BoardKind
from hotpin_hil.boards.lease import Holder, Lease, TakenError, holder_of, mac_name, port_name
from hotpin_hil.boards.ports import SerialBridge
from hotpin_hil.boards.probe import ChipReport
from hotpin_hil.errors import HilError, PortError

MB = 1024 * 1024

Probe = Callable[[str, Callable[[str], object]], ChipReport]
"""Probes the chip on a port; the callback receives the name of each slow step."""


@dataclass
class BoardRow:
    """One board, or a port that may have one."""

    port: str | None
    bridge: SerialBridge | None = None
    entry: BoardEntry | None = None
    """The board's entry in bench.toml."""
    chip: ChipReport | None = None
    """None if the chip was not probed or did not answer."""
    holder: Holder | None = None
    """The run that leased the board."""
    problem: HilError | None = None

    @property
    def mac(self) -> str | None:
        """MAC from the chip, or else from the bench file."""
        return self.chip.mac if self.chip else self.entry.mac if self.entry else None

    def as_json(self) -> dict[str, Any]:
        """One object of `hotpin-hil boards --json`."""
        entry, bridge, chip = self.entry, self.bridge, self.chip
        return {
            "name": entry.name if entry else None,
            "kind": entry.kind.value if entry else BoardKind.HARDWARE.value,
            "port": self.port,
            "bridge": bridge.bridge if bridge else None,
            "location": bridge.location if bridge else None,
            "serial_number": bridge.serial_number if bridge else None,
            "stable_port": bridge.stable if bridge else None,
            "mac": self.mac,
            "chip": chip.chip if chip else None,
            "revision": chip.revision if chip else None,
            "flash": chip.flash if chip else None,
            "psram": chip.psram if chip else None,
            "apps": [{"partition": label, **app.as_json()} for label, app in chip.apps] if chip else None,
            "features": list(entry.features) if entry else None,
            "power": entry is not None and entry.power is not None,
            "notes": entry.notes if entry else None,
            "lease": asdict(self.holder) if self.holder else None,
            "problem": self.problem.message if self.problem else None,
            "remedy": self.problem.remedy if self.problem else None,
        }

    def lines(self) -> Iterator[str]:
        """Yield the lines for the terminal: a heading, then indented details."""
        entry = self.entry
        where = self.port or "on no port"
        if self.bridge:
            where += f" ({self.bridge.bridge} at {self.bridge.location or '?'})"
        head = [entry.name] if entry else []
        head += [self.mac or "MAC unknown", where]
        if entry:
            head += [entry.kind.value, "in use" if self.holder else "free"]
        yield "  ".join(head)
        if self.holder:
            yield f"    in use by {self.holder}"
        if self.chip:
            yield from self._chip_lines(self.chip)
        if self.problem:
            yield f"    {self.problem.message}"
            if self.problem.remedy:
                yield f"    remedy: {self.problem.remedy}"
        if self.bridge and self.bridge.stable and self.bridge.stable != self.port:
            yield f"    stable name: {self.bridge.stable}"
        if entry:
            power = "; power switch" if entry.power else ""
            yield f"    fitted: {', '.join(entry.features) or 'nothing'}{power}"
            if entry.notes:
                yield f"    {entry.notes}"

    def _chip_lines(self, chip: ChipReport) -> Iterator[str]:
        flash = f"{chip.flash // MB} MB flash" if chip.flash else "its flash chip does not answer"
        psram = {None: "PSRAM unknown (not logged by the flashed firmware)", 0: "no PSRAM"}.get(
            chip.psram, f"{(chip.psram or 0) // MB} MB PSRAM"
        )
        yield f"    {chip.chip} {chip.revision}, {flash}, {psram}"
        for label, app in chip.apps:
            yield (
                f"    firmware: {app.project} {app.version} (IDF {app.idf}, ELF {app.elf_sha256[:9]}) in {label}"
            )
        if chip.flash and not chip.apps:
            yield "    firmware: no ESP-IDF application"


def take_inventory(
    ports: Sequence[SerialBridge],
    bench: Sequence[BoardEntry],
    leases: Path,
    probe: Probe | None,
    tell: Callable[[str], object] = lambda text: None,
) -> list[BoardRow]:
    """List the boards of the bench in file order, then the other attached ports.

    Args:
        ports: the attached serial bridges.
        bench: the boards of the bench file.
        leases: folder of the lock files.
        probe: identifies a chip, which resets it; called only for free boards. None: do not probe.
        tell: receives progress messages.

    Raises:
        UsageError: a lock file cannot be opened.
    """
    bridges = {port_name(port.device): port for port in ports}
    rows = []
    for entry in bench:
        bridge = bridges.pop(port_name(entry.port), None) if entry.port else None
        rows.append(BoardRow(entry.port, bridge, entry))
    described = len(rows)
    rows += [BoardRow(bridge.device, bridge) for bridge in bridges.values()]
    for row in rows:
        if row.port is not None:
            _look(row, row.port, leases, probe, tell)
    _find(rows[:described], rows[described:], rows, leases, probe is not None)
    return rows


def _look(row: BoardRow, port: str, leases: Path, probe: Probe | None, tell: Callable[[str], object]) -> None:
    names = [port_name(port)]
    if row.entry and row.entry.mac and row.entry.kind is BoardKind.HARDWARE:
        names.append(mac_name(row.entry.mac))
    if probe is None:
        row.holder = holder_of(leases, *names)
        row.problem = None if row.holder else _missing(port)
        return
    name = row.entry.name if row.entry else port
    try:
        with Lease(leases, name) as lease:
            for lock_name in names:
                lease.add(lock_name)
            row.chip = probe(port, lambda what: tell(f"{name}: {what} ..."))
    except TakenError as taken:
        row.holder = taken.holder
    except HilError as error:
        row.problem = error
    if row.chip and row.entry and row.entry.mac not in (None, row.chip.mac):
        row.problem = PortError(
            f"the board on this port has the MAC {row.chip.mac}, but the bench file names {row.entry.mac}",
            "correct mac or port in bench.toml",
        )


def _missing(port: str) -> HilError | None:
    """The error that opening the port would raise, if it can be predicted without opening the port."""
    from hotpin_hil.link.port import port_error

    if "://" in port:
        return None
    try:
        os.stat(port)
        if not os.access(port, os.R_OK | os.W_OK):
            raise PermissionError(13, os.strerror(13), port)
    except OSError as error:
        return port_error(port, error)
    return None


def _find(
    wanted: list[BoardRow], attached: list[BoardRow], rows: list[BoardRow], leases: Path, is_probed: bool
) -> None:
    """Assign attached ports to boards of the bench that are known only by their MAC."""
    for row in wanted:
        if row.port is not None or row.entry is None or row.entry.mac is None:
            continue
        found = next((other for other in attached if other.mac == row.entry.mac), None)
        if found is not None:
            rows.remove(found)
            row.port, row.bridge, row.chip = found.port, found.bridge, found.chip
            continue
        row.holder = holder_of(leases, mac_name(row.entry.mac))
        if row.holder is None:
            text = (
                "it is on none of the attached ports" if is_probed else "its port is unknown without probing"
            )
            row.problem = PortError(text, "plug it in" if is_probed else "leave out --no-probe")
