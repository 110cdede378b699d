"""A fake labgrid-client with the commands that the harness uses. A file has the role of the coordinator.

Its texts match labgrid 26.0.1; tests/boards/test_labgrid.py runs the real labgrid.
"""

from __future__ import annotations

import fcntl
import json
import pprint
import sys
import textwrap
import time
from pathlib import Path
from typing import IO, Any

USER = "desk/jo"

PROGRAM = f"""#!{sys.executable} -IS
import runpy, sys
sys.exit(runpy.run_path({__file__!r})["main"](sys.argv[1:], __file__ + ".json"))
"""
"""The fake program, started without the environment's packages, because importing them takes longer than a call."""


class FakeLabgrid:
    """The fake program, and the state of its coordinator."""

    def __init__(self, folder: Path) -> None:
        self.program = folder / "labgrid-client"
        self.program.write_text(PROGRAM)
        self.program.chmod(0o755)
        self._file = folder / "labgrid-client.json"
        self._file.write_text(
            json.dumps({"version": "26.0.1", "is_up": True, "places": {}, "reservations": {}, "calls": []})
        )

    def add_place(self, name: str, port: int = 4000, **more: Any) -> None:
        """Adds a place; `more` are additional fields of its state."""
        serial = {"cls": "NetworkSerialPort", "host": "bench-3.example", "port": port, "protocol": "rfc2217"}
        place = {"tags": {"board": "esp32-cam"}, "acquired": None, "reservation": None, "is_orphaned": False}
        with self as state:
            state["places"][name] = {**place, "resources": [serial], **more}

    def place(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.state["places"][name]
        return found

    @property
    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._file.read_text())
        return found

    def __enter__(self) -> dict[str, Any]:
        self._lock = _lock(self._file)
        self._state = self.state
        return self._state

    def __exit__(self, *_: object) -> None:
        _save(self._file, self._state)
        self._lock.close()


def _lock(path: Path) -> IO[str]:
    """Waits until no other program changes the state; closing the file ends this."""
    lock = path.with_suffix(".lock").open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


def _save(path: Path, state: dict[str, Any]) -> None:
    _schedule(state)
    new = path.with_suffix(".new")
    new.write_text(json.dumps(state))
    new.replace(path)  # the harness kills a program that waits; the old state or the new one is then complete


def _schedule(state: dict[str, Any]) -> None:
    """Assigns free places to reservations, the oldest first."""
    for token, reservation in state["reservations"].items():
        if reservation["state"] != "waiting":
            continue
        for name, place in state["places"].items():
            tags = {**place["tags"], "name": name}
            if (
                not place["acquired"]
                and not place["reservation"]
                and reservation["filters"].items() <= tags.items()
            ):
                place["reservation"] = token
                reservation |= {"state": "allocated", "place": name}
                break


class _Refused(Exception):
    pass


def main(arguments: list[str], path: str) -> int:
    place = ""
    words = []
    for argument in arguments:
        if argument.startswith("--place="):
            place = argument.partition("=")[2]
        elif argument not in ("-x", "-v"):
            words.append(argument)
    _address, command, *rest = words
    while True:
        lock = _lock(Path(path))
        state = json.loads(Path(path).read_text())
        state["calls"].append(" ".join([command, *rest]))
        try:
            if not state["is_up"]:
                raise _Refused("Could not connect to coordinator")
            print(_run(state, command, place, rest), end="")
        except _Refused as error:
            print(f"labgrid-client: Error: {error}", file=sys.stderr)
            return 1
        finally:
            _save(Path(path), state)
            lock.close()
        if command != "wait" or state["reservations"][rest[0]]["state"] != "waiting":
            return 0
        time.sleep(0.02)


def _run(state: dict[str, Any], command: str, pattern: str, rest: list[str]) -> str:
    if command in state.get("fails", {}):
        raise _Refused(state["fails"][command])
    if command == "version":
        return f"{state['version']}\n"
    if command == "places":
        return "".join(_shown(name, place) for name, place in state["places"].items())
    if command == "reserve":
        token = f"T{len(state['calls']):09}"
        filters = dict(text.split("=") for text in rest)
        state["reservations"][token] = {"state": "waiting", "filters": filters, "place": ""}
        _schedule(state)
        return _reservation(token, state["reservations"][token])
    if command == "reservations":
        return "".join(_reservation(token, each) for token, each in state["reservations"].items())
    if command == "wait":
        if rest[0] not in state["reservations"]:
            raise _Refused(f"Reservation {rest[0]} does not exist")
        return ""
    if command == "cancel-reservation":
        if state["reservations"].pop(rest[0], None) is None:
            raise _Refused(f"Reservation {rest[0]} does not exist")
        for place in state["places"].values():
            if place["reservation"] == rest[0]:
                place["reservation"] = None
        return ""
    name = _find(state, pattern)
    place = state["places"][name]
    if command == "acquire":
        if place["acquired"]:
            raise _Refused(f"Place {name} is already acquired by {place['acquired']}.")
        if place["is_orphaned"]:
            raise _Refused(f"Match */{name}/* has no matching remote resource")
        place["acquired"] = USER
        return f"acquired place {name}\n"
    if command == "release":
        if not place["acquired"]:
            raise _Refused(f"place {name} is not acquired")
        place["acquired"] = None
        return f"released place {name}\n"
    if command == "show":
        return _shown(name, place) + "".join(_resource(name, place, each) for each in place["resources"])
    if command == "power":
        return ""
    raise AssertionError(command)


def _find(state: dict[str, Any], pattern: str) -> str:
    if pattern.startswith("+"):
        found = [name for name, place in state["places"].items() if place["reservation"] == pattern[1:]]
        if not found:
            raise _Refused(f"reservation token {pattern[1:]} matches nothing")
        return found[0]
    if pattern in state["places"]:
        return pattern
    found = [name for name in state["places"] if pattern in name]
    if not found:
        raise _Refused(f"place pattern {pattern} matches nothing")
    return found[0]


def _shown(name: str, place: dict[str, Any]) -> str:
    tags = ", ".join(f"{key}={value}" for key, value in sorted(place["tags"].items()))
    comment = f"  comment: {place['comment']}\n" if "comment" in place else ""
    reservation = f"  reservation: {place['reservation']}\n" if place["reservation"] else ""
    return (
        f"Place '{name}':\n{comment}  tags: {tags}\n  matches:\n    */{name}/*\n  acquired: {place['acquired']}\n"
        "  acquired resources:\n  created: 2026-11-30 08:13:38.418028\n"
        f"  changed: 2026-11-30 08:14:25.174566\n{reservation}"
    )


def _resource(name: str, place: dict[str, Any], resource: dict[str, Any]) -> str:
    cls = resource["cls"]
    path = f"'{cls}' (shelf/{name}/{cls}/{cls})"
    if place["is_orphaned"]:
        return f"Orphaned resource {path}\n"
    extra = {"proxy": "bench-3.example", "proxy_required": resource.get("proxy_required", False)}
    params = {key: value for key, value in resource.items() if key not in ("cls", "avail", "proxy_required")}
    fields = {
        "acquired": name,
        "avail": resource.get("avail", True),
        "cls": cls,
        "params": {"extra": extra, **params},
    }
    return f"Acquired resource {path}:\n{textwrap.indent(pprint.pformat(fields), '  ')}\n"


def _reservation(token: str, reservation: dict[str, Any]) -> str:
    filters = " ".join(f"{key}={value}" for key, value in reservation["filters"].items())
    place = f"  allocations:\n    main: {reservation['place']}\n" if reservation["place"] else ""
    return (
        f"Reservation '{token}':\n  owner: {USER}\n  token: {token}\n  state: {reservation['state']}\n"
        f"  filters:\n    main: {filters}\n{place}  created: 2026-11-30 08:14:07.407059\n"
        "  timeout: 2026-11-30 08:15:07.407484\n"
    )
