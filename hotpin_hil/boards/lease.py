"""Leases: prevent two runs from using the same board, even under different names.

A board is leased by locking a file for each of its names: port and MAC. The kernel releases a lock when its process
ends, so a crashed run does not block a board; the content of an unlocked file is ignored.

The worker processes of a run share its lease. The board becomes free only when the last worker ends, so a worker that
outlives a killed run never shares its board with another run.
"""

from __future__ import annotations

import contextlib
import errno
import getpass
import json
import os
import re
import shlex
import socket
import stat
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
except ImportError:  # Windows, where only one process can open a port
    fcntl = None  # type: ignore[assignment]

ENV_LEASES = "HOTPIN_LEASES"
"""Environment variable with the folder of the lock files, for runs without a common home folder, such as
runs of other users or in containers."""
COMMAND_MAX = 100
_FILE_MAX = 4_096
"""Maximum number of bytes read from a lock file."""

_OPEN = os.O_RDWR | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
"""Flags that open a lock file without following a link, and without waiting if it is a pipe."""
_REMOVE = f"remove it, or set {ENV_LEASES} to another folder"

LOOK_S = 0.2
"""Time to retry a locked name, because `holder_of` in another process locks each name for a moment."""
_POLL_S = 0.01


@dataclass(frozen=True)
class Holder:
    """The run that uses a board, from its lock file."""

    pid: int
    user: str
    host: str
    since: str
    """Local time, ISO 8601."""
    command: str
    board: str
    """The user's name for the board."""

    @classmethod
    def this_process(cls, board: str) -> Holder:
        """This process as the holder of `board`."""
        command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
        return cls(
            pid=os.getpid(),
            user=user_name(),
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
"""Holder for a lock file that is still being written."""


class TakenError(UsageError):
    """Another run uses the board."""

    def __init__(self, board: str, holder: Holder) -> None:
        super().__init__(f"{board} is in use by {holder}", "wait until it ends")
        self.board = board
        self.holder = holder


def port_name(port: str) -> str:
    """The name under which a port is leased: the same for all paths to one device and all URLs of one server."""
    if "://" not in port:
        return f"port-{os.path.realpath(port)}"
    address = urlsplit(port)
    host = "localhost" if address.hostname in ("127.0.0.1", "::1") else address.hostname
    return f"port-{host}:{address.port}"


def mac_name(mac: str) -> str:
    """The name under which a MAC is leased."""
    return f"mac-{mac.lower()}"


class Lease:
    """The locks of one process on a board, until `release` or the end of the process."""

    def __init__(self, folder: Path, board: str, *, shared: bool = False) -> None:
        """Create a lease without locks.

        Args:
            folder: folder of the lock files.
            board: name of the board in messages of other runs.
            shared: whether worker processes of this run will `join`.
        """
        self._folder = folder
        self._board = board
        self._shared = shared
        self._files: dict[str, IO[str]] = {}

    def add(self, name: str) -> None:
        """Lock one name of the board.

        Raises:
            TakenError: another run has locked it; the lease is unchanged.
            UsageError: the lock file cannot be opened or created.
        """
        if name in self._files or fcntl is None:
            return
        file = _open(self._folder, name)
        if not _lock(file, fcntl.LOCK_EX):
            raise self._taken(file)
        file.truncate(0)
        json.dump(asdict(Holder.this_process(self._board)), file)
        file.flush()
        # Not atomic: another run may lock it in between.
        if self._shared and not _lock(file, fcntl.LOCK_SH):
            raise self._taken(file)
        self._files[name] = file

    def join(self, name: str) -> None:
        """Join the lease of the run that started this worker.

        Raises:
            TakenError: another run has locked the name.
            UsageError: the lock file cannot be opened or created.
        """
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
        """Take over the locks of another lease."""
        self._files.update(other._files)
        other._files.clear()

    def release(self) -> None:
        """Release all locks. Safe to call twice."""
        for file in self._files.values():
            with contextlib.suppress(OSError):
                file.close()
        self._files.clear()

    def __enter__(self) -> Lease:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def holder_of(folder: Path, *names: str) -> Holder | None:
    """The run that has locked one of these names; None if all are free.

    Raises:
        UsageError: a lock file cannot be opened.
    """
    for name in names:
        path = _path(folder, name)
        if fcntl is None or not path.exists():
            continue
        with _open(folder, name) as file:
            # Not LOCK_SH, which would succeed even while a run with workers holds the lock.
            if not _lock(file, fcntl.LOCK_EX):
                return _read(file)
    return None


def lease_folder(environment: Mapping[str, str]) -> Path:
    """Folder of this user's lock files.

    It is in the home folder, because a login session and a service of the same user have different runtime folders.

    Raises:
        UsageError: the user has no home folder.
    """
    given = environment.get(ENV_LEASES)
    if given:
        return Path(given).absolute()
    try:
        return Path.home() / ".cache" / "hotpin-hil" / "leases"
    except RuntimeError as error:  # a user without an entry in /etc/passwd, as in some containers
        raise UsageError("this user has no home folder for leases", f"set HOME or {ENV_LEASES}") from error


def _path(folder: Path, name: str) -> Path:
    return folder / f"{re.sub(r'[^0-9A-Za-z.-]', '_', name)}.lock"


def _open(folder: Path, name: str) -> IO[str]:
    path = _path(folder, name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = _descriptor(path)
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
            os.close(descriptor)
            raise UsageError(
                f"the lease {path} is not a plain file: it is a device, or has other hard links", _REMOVE
            )
        return os.fdopen(descriptor, "r+", encoding="utf-8")
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise UsageError(f"the lease {path} is a symbolic link", _REMOVE) from error
        raise UsageError(
            f"can't write the lease {path}: {error.strerror}", f"set {ENV_LEASES} to a folder you can write"
        ) from error


def _descriptor(path: Path) -> int:
    """Open or create a lock file that every user may lock. A link is refused, because the file is overwritten."""
    # Most kernels refuse O_CREAT for another user's file in a folder like /tmp (fs.protected_regular).
    with contextlib.suppress(FileNotFoundError):
        return os.open(path, _OPEN)
    umask = os.umask(0)
    try:
        return os.open(path, _OPEN | os.O_CREAT | os.O_EXCL, 0o666)
    except FileExistsError:  # another run has just created it
        return os.open(path, _OPEN)
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
        fields: dict[str, Any] = json.loads(file.read(_FILE_MAX))
        return Holder(**fields)
    except (OSError, ValueError, TypeError, RecursionError):
        return UNKNOWN


def user_name() -> str:
    """Name of the user who runs this process."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user without an entry in /etc/passwd, as in some containers
        return str(os.getuid()) if hasattr(os, "getuid") else "?"
