"""Runs labgrid-client, labgrid's command-line tool, and reads what it prints.

labgrid is never imported, because its pytest plugin replaces the fixture `target`, and its fork of pyserial overwrites
pyserial. It is installed in its own environment (`make labgrid`).
"""

from __future__ import annotations

import ast
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hotpin_hil.errors import BenchError, UsageError
from hotpin_hil.paths import LABGRID_ENV_DIR

ENV_CLIENT = "HOTPIN_LABGRID_CLIENT"
"""Environment variable with the path of labgrid-client."""
NAME = "labgrid-client"

KNOWN_VERSIONS = (25, 26)
"""Major versions with the commands and outputs below. Older clients need an older coordinator, without gRPC."""
CALL_S = 60.0
"""Time limit of one call, which takes 0.5 s on an idle machine."""

_OTHER_SETTINGS = ("LG_ENV", "LG_PLACE", "LG_STATE", "LG_INITIAL_STATE", "LG_TOKEN", "PLACE", "STATE")
"""Variables of a user's own labgrid project, which would name other places."""

_LOST = ("coordinator is unavailable", "coordinator became unavailable", "Could not connect to coordinator")
_PREFIX = re.compile(r"^(?:[\w.-]+|Server error): (?:Error: )?")
_PLACE = re.compile(r"Place '(.*)':")
_FIELD = re.compile(r"  (tags|acquired|changed|reservation): (.*)")
_RESOURCE = re.compile(r"(Acquired|Matching|Orphaned) resource '.*' \(([^/]*)/[^/]*/([^/]*)/[^/]*\):?")
_RESERVATION = re.compile(r"Reservation '(.*)':")
_STATE = re.compile(r"  state: (\w+)")
_ALLOCATION = re.compile(r"  allocations:\n    main: (.*)")


class LabgridError(BenchError):
    """labgrid refused a request, or its client failed."""


class CoordinatorError(LabgridError):
    """labgrid's coordinator does not answer."""


@dataclass(frozen=True)
class LabgridPlace:
    """A place as the coordinator describes it. Its texts come from other users and may contain anything."""

    name: str
    tags: Mapping[str, str]
    acquired: str = ""
    """The host and user that hold the place, as `host/user`; empty if it is free."""
    changed: str = ""
    """Local time of the last change."""
    reservation: str = ""
    """Token of the reservation to which the place is assigned."""


@dataclass(frozen=True)
class LabgridResource:
    """A resource of a place."""

    exporter: str
    cls: str
    params: Mapping[str, Any] | None
    """None while the exporter is not connected."""
    is_available: bool = True


@dataclass(frozen=True)
class LabgridReservation:
    """A reservation: waiting, allocated, acquired, expired or invalid."""

    token: str
    state: str
    place: str = ""
    """The place that it is assigned to."""


@dataclass(frozen=True)
class LabgridClient:
    """labgrid-client for one coordinator. Methods that send a command raise the errors of `run`."""

    program: str
    coordinator: str
    """`host:port`."""

    def command(self, *arguments: str) -> list[str]:
        """The arguments of a command that works in any shell: it unsets the variables that would change it."""
        unset = [word for name in _OTHER_SETTINGS for word in ("-u", name)]
        return ["env", *unset, self.program, "-x", self.coordinator, *arguments]

    def by_hand(self, *arguments: str) -> str:
        """A command as a user would type it."""
        return shlex.join([NAME, "-x", self.coordinator, *arguments])

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a command, and discard its output."""
        try:
            return subprocess.Popen(
                [self.program, "-x", self.coordinator, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=_environment(),
                start_new_session=True,
            )
        except OSError as error:
            raise self._not_run(error) from error

    def run(self, *arguments: str) -> str:
        """Run a command.

        Returns:
            Its standard output.

        Raises:
            CoordinatorError: the coordinator does not answer.
            LabgridError: the command failed; the message has its reason.
        """
        try:
            done = subprocess.run(
                [self.program, "-x", self.coordinator, *arguments],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                env=_environment(),
                timeout=CALL_S,
                check=False,
                # Ctrl-C must not end the command halfway.
                start_new_session=True,
            )
        except subprocess.TimeoutExpired as error:
            raise self._no_answer(f" within {CALL_S:g} s") from error
        except OSError as error:
            raise self._not_run(error) from error
        if done.returncode == 0:
            return done.stdout
        if any(text in done.stderr for text in _LOST):
            raise self._no_answer()
        lines = [line for line in done.stderr.split("\n") if line.strip()]
        reason = _PREFIX.sub("", lines[-1]) if lines else f"exit status {done.returncode}"
        raise LabgridError(f"{NAME} {shlex.join(arguments)}: {reason}", f"try {self.by_hand(*arguments)}")

    def _no_answer(self, within: str = "") -> CoordinatorError:
        return CoordinatorError(
            f"labgrid's coordinator {self.coordinator} does not answer{within}",
            "start labgrid-coordinator there, or correct the coordinator in [labgrid] or --labgrid-coordinator",
        )

    def _not_run(self, error: OSError) -> LabgridError:
        return LabgridError(
            f"{self.program} cannot be run: {error.strerror}", f"set {ENV_CLIENT} to a {NAME} that runs"
        )

    def check_version(self) -> None:
        """Check that the harness supports this version of labgrid.

        Raises:
            UsageError: the version is unknown, or the program does not report one.
            LabgridError: the coordinator does not answer, or the program failed.
        """
        version = self.run("version").strip()
        number = re.match(r"(\d+)\.\d", version)
        if number is None or int(number[1]) not in KNOWN_VERSIONS:
            known = " or ".join(map(str, KNOWN_VERSIONS))
            raise UsageError(
                f"{self.program} reports version {version[:40]!r}; it must be {known}",
                f"set {ENV_CLIENT} to a {NAME} of version {known}; make labgrid installs one in .venv-labgrid/bin",
            )

    def places(self) -> list[LabgridPlace]:
        """All places of the coordinator."""
        return parse_places(self.run("-v", "places"))

    def show(self, pattern: str) -> tuple[LabgridPlace, list[LabgridResource]]:
        """A place and its resources.

        Args:
            pattern: its name, or `+` and the token of its reservation.
        """
        text = self.run(f"--place={pattern}", "show")
        places = parse_places(text)
        if len(places) != 1:
            raise LabgridError(
                f"{NAME} show prints {len(places)} places", "see docs/bench.md for known versions"
            )
        return places[0], parse_resources(text)

    def reserve(self, filters: Mapping[str, str]) -> LabgridReservation:
        """Reserve a place with these tags; a free place is assigned immediately."""
        found = parse_reservations(self.run("reserve", *(f"{key}={value}" for key, value in filters.items())))
        if len(found) != 1:
            raise LabgridError(
                f"{NAME} reserve prints no reservation", "see docs/bench.md for known versions"
            )
        return found[0]

    def reservation(self, token: str) -> LabgridReservation:
        """The state of a reservation; `expired` if the coordinator does not list it."""
        for found in parse_reservations(self.run("reservations")):
            if found.token == token:
                return found
        return LabgridReservation(token, "expired")

    def acquire(self, token: str) -> None:
        """Acquire the place of a reservation."""
        self.run(f"--place=+{token}", "acquire")

    def give_back(self, token: str) -> None:
        """Release the place of a reservation and cancel the reservation.

        Raises:
            LabgridError: the place may still be held.
        """
        for arguments, harmless in (
            ((f"--place=+{token}", "release"), ("is not acquired", "matches nothing")),
            (("cancel-reservation", token), ("does not exist",)),
        ):
            try:
                self.run(*arguments)
            except LabgridError as error:
                if not any(text in error.message for text in harmless):
                    raise


def find_client(environment: Mapping[str, str]) -> str:
    """Path of labgrid-client: from HOTPIN_LABGRID_CLIENT, on the PATH, or installed by `make labgrid`.

    Raises:
        UsageError: there is none, or HOTPIN_LABGRID_CLIENT does not name a program.
    """
    given = environment.get(ENV_CLIENT)
    if given:
        found = shutil.which(given)
        if found is None:
            raise UsageError(
                f"{ENV_CLIENT} is {given!r}, which is not a program", f"give the path of {NAME}, or unset it"
            )
        return found
    found = shutil.which(NAME, path=environment.get("PATH")) or shutil.which(LABGRID_ENV_DIR / "bin" / NAME)
    if found is None:
        raise UsageError(
            f"the boards come from labgrid, but {NAME} was not found",
            f"run make labgrid, or set {ENV_CLIENT} to its path",
        )
    return str(found)


def parse_places(text: str) -> list[LabgridPlace]:
    """Parse the places in the output of `show` or `-v places`."""
    found: list[tuple[str, dict[str, str]]] = []
    for line in text.split("\n"):
        if start := _PLACE.fullmatch(line):
            found.append((start[1], {}))
        elif found and (field := _FIELD.fullmatch(line)):
            found[-1][1][field[1]] = field[
                2
            ]  # the last such line counts: a place's comment may contain one, but is printed first
    return [
        LabgridPlace(
            name=name,
            tags=dict(tag.partition("=")[::2] for tag in fields.get("tags", "").split(", ") if tag),
            acquired="" if fields.get("acquired") == "None" else fields.get("acquired", ""),
            changed=fields.get("changed", ""),
            reservation=fields.get("reservation", ""),
        )
        for name, fields in found
    ]


def parse_resources(text: str) -> list[LabgridResource]:
    """Parse the resources in the output of `show`.

    Raises:
        LabgridError: a resource cannot be parsed.
    """
    found: list[tuple[re.Match[str], list[str]]] = []
    for line in text.split("\n"):
        if start := _RESOURCE.fullmatch(line):
            found.append((start, []))
        elif found:
            found[-1][1].append(line)
    return [_resource(start, "\n".join(lines)) for start, lines in found]


def _resource(start: re.Match[str], text: str) -> LabgridResource:
    if start[1] == "Orphaned":
        return LabgridResource(start[2], start[3], None)
    try:
        fields = ast.literal_eval(text.strip())
        return LabgridResource(start[2], start[3], dict(fields["params"]), bool(fields["avail"]))
    except (ValueError, SyntaxError, LookupError, TypeError, MemoryError, RecursionError) as error:
        raise LabgridError(
            f"cannot parse what {NAME} show prints below {start[0]!r}",
            "see docs/bench.md for the supported versions",
        ) from error


def parse_reservations(text: str) -> list[LabgridReservation]:
    """Parse the reservations in the output of `reserve` or `reservations`."""
    found = []
    for block in re.split(r"^(?=Reservation ')", text, flags=re.MULTILINE):
        start, state = _RESERVATION.match(block), _STATE.search(block)
        if start and state:
            place = _ALLOCATION.search(block)
            found.append(LabgridReservation(start[1], state[1], place[1] if place else ""))
    return found


def _environment() -> dict[str, str]:
    environment = {name: value for name, value in os.environ.items() if name not in _OTHER_SETTINGS}
    return {**environment, "PYTHONIOENCODING": "utf-8", "PYTHONWARNINGS": "ignore"}
