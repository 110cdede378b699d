"""bench.toml: the boards of a bench with their fitted parts and power switches."""

from __future__ import annotations

import json
import os
import re
import shlex
import string
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from hotpin_hil.boards.bench_keys import NUMBER, check_keys
from hotpin_hil.boards.kind import BoardKind, is_loopback
from hotpin_hil.boards.labgrid_place import AcquiredPlace
from hotpin_hil.boards.labgrid_settings import TABLE, LabgridSettings, read_labgrid
from hotpin_hil.boards.power import PowerSwitch
from hotpin_hil.compat import tomllib
from hotpin_hil.errors import UsageError

ENV_BENCH = "HOTPIN_BENCH"

FEATURES = ("camera", "audio", "mic")
"""Parts that a board may have: an OV2640, the I2S amplifier, the I2S microphone."""
POWER = "power"
"""Argument of the `needs` marker of a test that switches the board's power."""

_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_TYPES: dict[str, tuple[type, ...]] = {
    "name": (str,),
    "mac": (str,),
    "port": (str,),
    "kind": (str,),
    "features": (list,),
    "power": (dict,),
    "notes": (str,),
}
_POWER_TYPES: dict[str, tuple[type, ...]] = {
    "on": (str,),
    "off": (str,),
    "cycle": (str,),
    "off_s": NUMBER,
    "timeout_s": NUMBER,
}
_AUTO = "auto"


@dataclass(frozen=True)
class BoardEntry:
    """A board that a run may use: from a bench file or labgrid, attached, or named by its port."""

    name: str
    kind: BoardKind
    port: str | None = None
    """Device or URL; None for a board that is identified by its MAC on one of the attached ports."""
    mac: str | None = None
    features: tuple[str, ...] = FEATURES
    """Fitted parts. If the bench file does not list them, the board counts as fully fitted."""
    power: PowerSwitch | None = None
    notes: str = ""
    place: AcquiredPlace | None = None
    """The labgrid place that the run has acquired for it."""

    def is_without(self, needed: str) -> bool:
        """Whether the board does not have this feature. The feature `POWER` means a power switch."""
        return self.power is None if needed == POWER else needed not in self.features

    def as_json(self) -> str:
        """JSON for `from_json` in another process."""
        return json.dumps({**asdict(self), "kind": self.kind.value})

    @classmethod
    def from_json(cls, text: str) -> BoardEntry:
        """Inverse of `as_json`."""
        fields = json.loads(text)
        power, place = fields.pop("power"), fields.pop("place")
        return cls(
            **{**fields, "kind": BoardKind(fields["kind"]), "features": tuple(fields["features"])},
            power=PowerSwitch(**power) if power else None,
            place=AcquiredPlace(**place) if place else None,
        )

    def __str__(self) -> str:
        where = self.port if self.port != self.name else None
        known = ", ".join(text for text in (self.mac, where) if text)
        return f"{self.name} ({known})" if known else self.name


@dataclass(frozen=True)
class Bench:
    """The boards of one bench.toml, in file order, or the labgrid settings in it."""

    path: Path
    boards: tuple[BoardEntry, ...]
    labgrid: LabgridSettings | None = None


def find_bench(given: str | None, environment: Mapping[str, str]) -> Bench | None:
    """Read the bench file that --bench or HOTPIN_BENCH names; None if neither is given.

    Raises:
        UsageError: the file cannot be read or is invalid.
    """
    path = given or environment.get(ENV_BENCH)
    return load_bench(Path(path)) if path else None


def load_bench(path: Path) -> Bench:
    """Read and check a bench file.

    Raises:
        UsageError: the file cannot be read or is invalid. The message names file, board, key, value and remedy.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(
            f"cannot read {path}: {error.strerror}", f"correct --bench or {ENV_BENCH}"
        ) from error
    except (ValueError, RecursionError) as error:  # TOMLDecodeError and UnicodeDecodeError are ValueErrors
        reason = " ".join(str(error).split())
        raise UsageError(f"{path} is not TOML: {reason}", "see docs/bench.md for an example") from error
    for key in content:
        if key not in ("board", TABLE):
            raise UsageError(f"{path}: unknown key {key!r}", "each board begins with [[board]]")
    if TABLE in content:
        return _labgrid_bench(path, content)
    rows = content.get("board")
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise UsageError(f"{path} has no boards", "begin each with [[board]], see docs/bench.md")
    boards = tuple(_board(path, number, row) for number, row in enumerate(rows, start=1))
    _check_unique(path, boards)
    return Bench(path, boards)


def _labgrid_bench(path: Path, content: dict[str, Any]) -> Bench:
    if "board" in content:
        raise UsageError(f"{path} has both [[board]] and [{TABLE}]", "write two files")
    if not isinstance(content[TABLE], dict):
        raise UsageError(f"{path}: {TABLE} = {content[TABLE]!r} is not a table", f"begin it with [{TABLE}]")
    return Bench(path, (), read_labgrid(f"{path}: [{TABLE}]", content[TABLE]))


def normal_mac(text: str) -> str | None:
    """Convert a MAC in any usual spelling to the form `24:0a:c4:00:00:01`; None if the text is not a MAC."""
    mac = text.strip().lower().replace("-", ":")
    if re.fullmatch("[0-9a-f]{12}", mac):
        mac = ":".join(re.findall("..", mac))
    return mac if _MAC.fullmatch(mac) else None


def _board(path: Path, number: int, row: dict[str, Any]) -> BoardEntry:
    where = (
        f"{path}: board {row['name']!r}" if isinstance(row.get("name"), str) else f"{path}: board {number}"
    )
    check_keys(where, row, _TYPES)
    name = row.get("name", "")
    if not name or not name.isprintable():
        raise UsageError(f"{where}: name = {name!r} is missing or not printable", "give each board a name")
    mac = None
    if "mac" in row:
        mac = normal_mac(row["mac"])
        if mac is None:
            raise UsageError(
                f"{where}: mac = {row['mac']!r} is not a MAC",
                "write it as 24:0a:c4:00:00:01; hotpin-hil boards shows the board's MAC",
            )
    port = _port(where, row.get("port", _AUTO))
    if port is None and mac is None:
        raise UsageError(
            f"{where} has neither port nor mac, so it can't be found",
            "give its mac, its /dev/serial/by-id path or its rfc2217:// URL; hotpin-hil boards shows them",
        )
    kind = _kind(where, row.get("kind"), port)
    if kind is BoardKind.VIRTUAL and port is None:
        raise UsageError(
            f"{where}: a virtual board cannot be found by its mac", "give the port that it printed"
        )
    return BoardEntry(
        name=name,
        kind=kind,
        port=port,
        mac=mac,
        features=_features(where, row.get("features", list(FEATURES))),
        power=_power(where, row["power"], {"name": name, "mac": mac or "", "port": port or ""})
        if "power" in row
        else None,
        notes=row.get("notes", ""),
    )


def _port(where: str, text: str) -> str | None:
    if text == _AUTO:
        return None
    if not text or not text.isprintable():
        raise UsageError(
            f"{where}: port = {text!r} is not valid", "give a device, an rfc2217:// URL or 'auto'"
        )
    if "://" in text:
        _check_url(where, text)
    return os.path.expanduser(text)


def _check_url(where: str, text: str) -> None:
    try:
        url = urlsplit(text)
        complete = url.scheme == "rfc2217" and bool(url.hostname) and url.port is not None
    except ValueError:  # the port is not a number
        complete = False
    if not complete:
        raise UsageError(
            f"{where}: port = {text!r} is not a URL of a remote board", "write rfc2217://host:port"
        )


def _kind(where: str, text: str | None, port: str | None) -> BoardKind:
    """Without `kind`, a board on loopback counts as virtual, so that a wrong guess cannot overstate the evidence."""
    if text is None:
        return BoardKind.VIRTUAL if port is not None and is_loopback(port) else BoardKind.HARDWARE
    kinds = (BoardKind.HARDWARE.value, BoardKind.VIRTUAL.value)
    if text not in kinds:
        raise UsageError(f"{where}: kind = {text!r} is not valid", f"give {' or '.join(kinds)}")
    return BoardKind(text)


def _features(where: str, values: list[Any]) -> tuple[str, ...]:
    for value in values:
        if value not in FEATURES:
            raise UsageError(f"{where}: unknown feature {value!r}", f"known features: {', '.join(FEATURES)}")
    return tuple(values)


def _power(where: str, row: dict[str, Any], names: dict[str, str]) -> PowerSwitch:
    where = f"{where}: power"
    check_keys(where, row, _POWER_TYPES)
    if "cycle" not in row and not {"on", "off"} <= set(row):
        raise UsageError(f"{where} has neither cycle nor both on and off", "give the commands of the switch")
    for key in ("off_s", "timeout_s"):
        if not 0 < row.get(key, 1) <= 3600:
            raise UsageError(f"{where}: {key} = {row[key]!r} is not valid", "give seconds, up to 3600")
    commands = {key: _filled(where, key, row.get(key, ""), names) for key in ("on", "off", "cycle")}
    return PowerSwitch(
        board=names["name"],
        off_command=commands["off"],
        on_command=commands["on"],
        cycle_command=commands["cycle"],
        **{key: float(row[key]) for key in ("off_s", "timeout_s") if key in row},
    )


def _filled(where: str, key: str, command: str, names: dict[str, str]) -> str:
    """The command with `{name}`, `{mac}` and `{port}` filled in."""
    try:
        shlex.split(command)
        fields = [field for _, field, _, _ in string.Formatter().parse(command) if field is not None]
        unknown = [field for field in fields if not names.get(field)]
        if unknown:
            raise UsageError(
                f"{where}: {key} = {command!r} uses {{{unknown[0]}}}, which the board does not have",
                f"available: {', '.join('{' + name + '}' for name in names)}",
            )
        return command.format(**names)
    except ValueError as error:
        raise UsageError(
            f"{where}: {key} = {command!r} is not valid: {error}",
            "write {{ for a brace, and close each quote",
        ) from error


def _check_unique(path: Path, boards: tuple[BoardEntry, ...]) -> None:
    for key in ("name", "mac", "port"):
        seen: dict[str, str] = {}
        for board in boards:
            value = getattr(board, key)
            if value is not None and value in seen:
                raise UsageError(
                    f"{path}: board {board.name!r}: {key} = {value!r} is also used by {seen[value]!r}",
                    "give each board its own; hotpin-hil boards shows them",
                )
            if value is not None:
                seen[value] = board.name
