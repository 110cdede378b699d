"""The control channel of a virtual board: a Unix socket in the board's directory, with one JSON object per line.

Requests: `{"do": "state" | "reset" | "power" | "fault" | "clear" | "pace" | "jump" | "stop", …}`. "power" has `on`
(boolean), "fault" has `fault`, `arguments` and optionally `seed`, "pace" has `time_scale` (null: as at the start of the
server), "jump" has `us`. Replies: `{"ok": true, …}` or `{"ok": false, "error": …, "remedy": …}`. The replies to "state"
and to state changes include the board's `state`; the reply to "fault" includes the started fault, also as `text`.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

from hotpin_hil.errors import HilError, HostError, UsageError, host_remedy
from hotpin_hil.virtual.accepting import accept
from hotpin_hil.virtual.faults.board import Faults
from hotpin_hil.virtual.process import report

SOCKET_NAME = "control"
LOCK_NAME = "lock"
"""Lock file in a board's directory, held by the board's server."""
ANSWER_TIMEOUT_S = 5.0
_LINE_MAX = 64 * 1024
_RECEIVE = 4096
"""Bytes read in one turn of the event loop, which bounds the number of requests that delay the other boards."""
_CLIENTS_MAX = 16
TIME_SCALE_MAX = 1e6
"""Largest time scale that the firmware's host runtime accepts (firmware/native/chip/params.c)."""
JUMP_MAX_US = 1 << 53
"""Upper bound of a jump: 2^53 µs, about 285 years. Not every JSON reader reads larger integers exactly."""

Message = dict[str, Any]


class Controlled(Protocol):
    """Board operations that the control channel calls."""

    faults: Faults

    def state(self) -> dict[str, object]: ...
    def reset(self) -> None: ...
    def power_on(self) -> None: ...
    def power_off(self) -> None: ...
    def set_time_scale(self, scale: float | None) -> None: ...
    def jump(self, us: int) -> None: ...


class ControlServer:
    """Control socket of one board. The process that holds the directory's lock may replace a stale socket."""

    def __init__(self, directory: Path, board: Controlled, stop: Callable[[], None]) -> None:
        self._board = board
        self._stop = stop
        self._directory = directory
        self._loop = asyncio.get_running_loop()
        self._clients: set[_Client] = set()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with _short_path(directory) as path:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            old = os.umask(0o177)
            try:
                self._listener.bind(path)
            finally:
                os.umask(old)
        self._listener.listen(_CLIENTS_MAX)
        self._listener.setblocking(False)
        self._loop.add_reader(self._listener, self._accept)

    def close(self) -> None:
        """Close and remove the socket."""
        self._loop.remove_reader(self._listener)
        self._listener.close()
        for client in list(self._clients):
            client.close()
        with contextlib.suppress(OSError):
            (self._directory / SOCKET_NAME).unlink()

    def answer(self, line: bytes) -> Message:
        """Return the reply to one request."""
        try:
            request = json.loads(line)
            if not isinstance(request, dict):
                raise UsageError("a request must be a JSON object")
            return {"ok": True, **self._do(request)}
        except (ValueError, RecursionError) as error:
            return {"ok": False, "error": f"a request must be a JSON object: {error}", "remedy": ""}
        except HilError as error:
            return {"ok": False, "error": error.message, "remedy": error.remedy}

    def _do(self, request: Message) -> Message:
        board = self._board
        match request.get("do"):
            case "state":
                pass
            case "reset":
                board.reset()
            case "power":
                board.power_on() if _on(request) else board.power_off()
            case "clear":
                board.faults.clear()
            case "pace":
                board.set_time_scale(_time_scale(request))
            case "jump":
                board.jump(_microseconds(request))
            case "fault":
                fault = board.faults.inject(str(request.get("fault")), _arguments(request), _seed(request))
                return {
                    "fault": fault.name,
                    "arguments": fault.arguments,
                    "seed": fault.seed,
                    "text": str(fault),
                }
            case "stop":
                self._loop.call_soon(self._stop)
            case other:
                raise UsageError(f"unknown request {other!r}")
        return {"state": board.state()}

    def _accept(self) -> None:
        connection = accept(self._listener, self._accept)
        if connection is not None:
            self._clients.add(_Client(connection, self.answer, self._clients.discard))


class _Client:
    """One client connection, line by line; a client that does not read its replies is dropped."""

    def __init__(
        self,
        connection: socket.socket,
        answer: Callable[[bytes], Message],
        gone: Callable[[_Client], None],
    ) -> None:
        self._socket = connection
        self._answer = answer
        self._gone = gone
        self._buffer = bytearray()
        self._loop = asyncio.get_running_loop()
        connection.setblocking(False)
        self._loop.add_reader(connection, self._readable)

    def close(self) -> None:
        self._loop.remove_reader(self._socket)
        self._socket.close()
        self._gone(self)

    def _readable(self) -> None:
        try:
            data = self._socket.recv(_RECEIVE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self._buffer += data
        *lines, rest = bytes(self._buffer).split(b"\n")
        self._buffer[:] = rest
        keeps_up = all(self._reply(line) for line in lines)
        if not keeps_up:
            report(
                "control connection closed, because the client has disconnected or does not read its replies"
            )
        if not data or not keeps_up or len(self._buffer) > _LINE_MAX:
            self.close()

    def _reply(self, line: bytes) -> bool:
        """Send the reply to this request; returns whether it was sent."""
        answer = json.dumps(self._answer(line)).encode() + b"\n"
        try:
            return self._socket.send(answer) == len(answer)
        except OSError:
            return False


class BoardControl:
    """Client of a board's control socket; it opens one connection per request.

    Raises:
        UsageError: The board rejected the request.
        HostError: The process of the board is suspended, or this process has no file handles left.
        NotRunning: No process serves the board.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def ask(self, do: str, *, timeout_s: float = ANSWER_TIMEOUT_S, **more: Any) -> Message:
        """Return the reply to one request."""
        request = json.dumps({"do": do, **more}).encode() + b"\n"
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(timeout_s)
                with _short_path(self.directory) as path:
                    connection.connect(path)
                connection.sendall(request)
                answer = connection.makefile("rb").readline()
        except TimeoutError as error:
            raise HostError(
                f"the process of the board in {self.directory} has not answered for {timeout_s:g} s",
                "resume the process if it is stopped, or reduce the load on this machine",
            ) from error
        except OSError as error:
            if host_remedy(error):
                raise HostError(f"cannot reach the board: {error.strerror}", host_remedy(error)) from error
            raise NotRunning(
                f"no virtual board is running in {self.directory}: {error.strerror or error}", _START
            ) from error
        if not answer:
            raise NotRunning(f"the board in {self.directory} has just ended", _START)
        reply: Message = json.loads(answer)
        if not reply["ok"]:
            raise UsageError(reply["error"], reply["remedy"])
        return reply

    def state(self, timeout_s: float = ANSWER_TIMEOUT_S) -> Message:
        state: Message = self.ask("state", timeout_s=timeout_s)["state"]
        return state

    def stop(self) -> None:
        """Stop the board; returns once its directory and its port are free."""
        self.ask("stop")
        deadline = time.monotonic() + STOP_TIMEOUT_S
        with open(self.directory / LOCK_NAME, "rb") as lock:
            while True:
                with contextlib.suppress(BlockingIOError):
                    fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
                    return
                if time.monotonic() > deadline:
                    raise UsageError(f"the board in {self.directory} does not stop", "kill its server")
                time.sleep(_POLL_S)


class NotRunning(HilError):
    """No process serves the board."""


STOP_TIMEOUT_S = 5.0
_POLL_S = 0.01
_START = "start one: hotpin-hil board start"


def running(state_dir: Path) -> list[BoardControl]:
    """The controls of the boards that are running in this folder, by name; boards that do not answer are left out."""
    found = []
    for path in sorted(state_dir.glob(f"*/{SOCKET_NAME}")):
        control = BoardControl(path.parent)
        with contextlib.suppress(NotRunning, HostError):
            control.state()
            found.append(control)
    return found


@contextlib.contextmanager
def _short_path(directory: Path) -> Iterator[str]:
    """A path to the socket that fits into a socket address (108 bytes), for any depth of directory."""
    folder = os.open(directory, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{SOCKET_NAME}"
    finally:
        os.close(folder)


def _arguments(request: Message) -> Message:
    arguments = request.get("arguments") or {}
    if not isinstance(arguments, dict):
        raise UsageError(f"`arguments` must be an object, but is {arguments!r}")
    return arguments


def _on(request: Message) -> bool:
    on = request.get("on")
    if not isinstance(on, bool):
        raise UsageError(f"`on` must be true or false, but is {on!r}")
    return on


def check_time_scale(scale: float) -> None:
    """Raise UsageError unless a board can run at this many virtual seconds per host second."""
    if not 0 <= scale <= TIME_SCALE_MAX:
        raise UsageError(
            f"time scale {scale:g} is not valid", f"give 0 (no waiting) up to {TIME_SCALE_MAX:.0f}"
        )


def _time_scale(request: Message) -> float | None:
    scale = request.get("time_scale")
    if scale is None:
        return None
    if isinstance(scale, bool) or not isinstance(scale, (int, float)):
        raise UsageError(
            f"`time_scale` must be a number, but is {scale!r}",
            "give a number, or null for the server's time scale",
        )
    check_time_scale(scale)
    return float(scale)


def _microseconds(request: Message) -> int:
    us = request.get("us")
    if isinstance(us, bool) or not isinstance(us, int) or not 0 < us < JUMP_MAX_US:
        raise UsageError(f"`us` must be a whole number from 1 to {JUMP_MAX_US - 1}, but is {us!r}")
    return us


def _seed(request: Message) -> int | None:
    seed = request.get("seed")
    if seed is not None and not (isinstance(seed, int) and not isinstance(seed, bool)):
        raise UsageError(f"`seed` must be a whole number, but is {seed!r}")
    return seed
