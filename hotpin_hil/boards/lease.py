"""Leases: two runs never use the same board, whichever name each of them has for it.

A board is leased by locking a file for each of its names, port and MAC. The kernel drops a lock with the process
that has it, however that ends: a run that crashed blocks nothing, and what its file still says is not believed.

A run whose tests are run by several processes shares its lease with them. The board is free only when the last
of them is gone, so that a killed run's worker does not find another run on its board.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import re
import shlex
import socket
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from hotpin_hil.errors import UsageError

try:
    import fcntl
except ImportError:  # not on Windows, where two runs on one board meet at its port
    fcntl = None  # type: ignore[assignment]

ENV_LEASES = "HOTPIN_LEASES"
"""Folder of the lock files, for runs that do not have the same home folder: other users, containers."""
COMMAND_MAX = 100

LOOK_S = 0.2
"""How long a name that is locked is tried again: `holder_of` of another process locks it for a moment too."""
_POLL_S = 0.01


@dataclass(frozen=True)
class Holder:
    """Who has a board, as its lock file says."""

    pid: int
    user: str
    host: str
    since: str
    """Local time, ISO 8601."""
    command: str
    board: str
    """The board as its user calls it."""

    @classmethod
    def me(cls, board: str) -> Holder:
        command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
        return cls(
            pid=os.getpid(),
            user=_user(),
            host=socket.gethostname(),
            since=datetime.now().astimezone().isoformat(timespec="seconds"),
            command=command if len(command) <= COMMAND_MAX else command[: COMMAND_MAX - 3] + "...",
            board=board,
        )

    def __str__(self) -> str:
        if not self.pid:
            return "another run"
        return f"pid {self.pid} of {self.user}@{self.host} since {self.since} ({self.command})"


UNKNOWN = Holder(pid=0, user="?", host="?", since="?", command="?", board="?")
"""For a lock file that does not say who has it: its holder is just writing it."""


class TakenError(UsageError):
    """Another run has the board."""

    def __init__(self, board: str, holder: Holder) -> None:
        super().__init__(f"{board} is in use by {holder}", "wait for its end")
        self.board = board
        self.holder = holder


def port_name(port: str) -> str:
    """The lease name of a port: the same for each path to one device, and for each URL of one server."""
    if "://" not in port:
        return f"port-{os.path.realpath(port)}"
    address = urlsplit(port)
    host = "localhost" if address.hostname in ("127.0.0.1", "::1") else address.hostname
    return f"port-{host}:{address.port}"


def mac_name(mac: str) -> str:
    return f"mac-{mac.lower()}"


class Lease:
    """What one process has leased; grows name by name, and ends with `release` or with the process."""

    def __init__(self, folder: Path, board: str, *, shared: bool = False) -> None:
        """board: what others are told. shared: worker processes of this run are to `join`."""
        self._folder = folder
        self._board = board
        self._shared = shared
        self._files: dict[str, IO[str]] = {}

    def add(self, name: str) -> None:
        """Locks one name of the board; TakenError if another run has it, and nothing changes then."""
        if name in self._files or fcntl is None:
            return
        file = _open(self._folder, name)
        if not _lock(file, fcntl.LOCK_EX):
            raise self._taken(file)
        file.truncate(0)
        json.dump(asdict(Holder.me(self._board)), file)
        file.flush()
        # Not atomic: in between another run may have got it.
        if self._shared and not _lock(file, fcntl.LOCK_SH):
            raise self._taken(file)
        self._files[name] = file

    def join(self, name: str) -> None:
        """Shares the lease of the run that this process is a worker of."""
        if name in self._files or fcntl is None:
            return
        file = _open(self._folder, name)
        if not _lock(file, fcntl.LOCK_SH):
            raise self._taken(file)
        self._files[name] = file

    def _taken(self, file: IO[str]) -> TakenError:
        holder = _read(file)
        file.close()
        return TakenError(self._board, holder)

    def adopt(self, other: Lease) -> None:
        """Takes over what another one holds."""
        self._files.update(other._files)
        other._files.clear()

    def release(self) -> None:
        """Gives everything back. Safe to call twice."""
        for file in self._files.values():
            with contextlib.suppress(OSError):
                file.close()
        self._files.clear()

    def __enter__(self) -> Lease:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def holder_of(folder: Path, *names: str) -> Holder | None:
    """Who has a board under one of its names; None if nobody has."""
    for name in names:
        path = _path(folder, name)
        if fcntl is None or not path.exists():
            continue
        with _open(folder, name) as file:
            # Not LOCK_SH, which a run with workers would not keep out.
            if not _lock(file, fcntl.LOCK_EX):
                return _read(file)
    return None


def lease_folder(environment: Mapping[str, str]) -> Path:
    """Where this user's lock files are.

    Below the home folder: the usual places for such files differ between a login and a service of the same
    user, who would then not see each other's leases.
    """
    given = environment.get(ENV_LEASES)
    if given:
        return Path(given).absolute()
    try:
        return Path.home() / ".cache" / "hotpin-hil" / "leases"
    except RuntimeError as error:  # a container's user without a name
        raise UsageError("this user has no home folder for leases", f"set HOME or {ENV_LEASES}") from error


def _path(folder: Path, name: str) -> Path:
    return folder / f"{re.sub(r'[^0-9A-Za-z.-]', '_', name)}.lock"


def _open(folder: Path, name: str) -> IO[str]:
    path = _path(folder, name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return os.fdopen(_descriptor(path), "r+", encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"can't write the lease {path}: {error.strerror}", f"set {ENV_LEASES} to a folder you can write"
        ) from error


def _descriptor(path: Path) -> int:
    """Opens a lock file, which everybody who can reach its folder may lock: it is made so if it is not there."""
    # Most kernels refuse O_CREAT for another user's file in a folder like /tmp (fs.protected_regular).
    with contextlib.suppress(FileNotFoundError):
        return os.open(path, os.O_RDWR)
    umask = os.umask(0)
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    except FileExistsError:  # another run was quicker
        return os.open(path, os.O_RDWR)
    finally:
        os.umask(umask)


def _lock(file: IO[str], how: int) -> bool:
    deadline = time.monotonic() + LOOK_S
    while True:
        try:
            fcntl.flock(file, how | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
        time.sleep(_POLL_S)


def _read(file: IO[str]) -> Holder:
    try:
        file.seek(0)
        said: dict[str, Any] = json.loads(file.read())
        return Holder(**said)
    except (OSError, ValueError, TypeError):
        return UNKNOWN


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return str(os.getuid()) if hasattr(os, "getuid") else "?"
