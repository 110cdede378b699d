"""The board server: any number of virtual boards in one process (`hotpin-hil board start`)."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import fcntl
import json
import os
import re
import secrets
import signal
import subprocess
import sys
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from pathlib import Path
from typing import IO, TextIO

from hotpin_hil.errors import UsageError
from hotpin_hil.paths import BUILD_DIR, NATIVE_ELFS_FILE, state_dir
from hotpin_hil.virtual import profile as profiles
from hotpin_hil.virtual.board import BoardOptions, Esp32Cam
from hotpin_hil.virtual.control import LOCK_NAME, ControlServer, check_time_scale
from hotpin_hil.virtual.rfc2217 import LoopbackPort

MAX_BOARDS = 256
_LAST_PORT = 65535


def default_state_dir() -> Path:
    """Folder of the boards that a user starts without --state-dir."""
    return (state_dir() or BUILD_DIR) / "virtual-boards"


def main_start(args: argparse.Namespace) -> int:
    """Run `hotpin-hil board start` until SIGTERM, SIGINT or, on request, the end of stdin.

    Args:
        args: Parsed command line; `args.flash` is the folder of a build for the virtual board, or None.

    Returns:
        The exit status.

    Raises:
        HilError: The boards can't be started.
    """
    if sys.platform != "linux":
        raise UsageError(
            f"the virtual board needs Linux, but this is {sys.platform}",
            "attach a real board, or run in a Linux container",
        )
    with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C before the signal handlers are installed
        asyncio.run(
            serve(
                count=args.count,
                profile=args.profile or profiles.DEFAULT_PROFILE,
                state_dir=Path(args.state_dir) if args.state_dir else default_state_dir(),
                seed=args.seed,
                time_scale=1.0 if args.time_scale is None else args.time_scale,
                paced=bool(args.paced),
                json_out=bool(args.json),
                until_eof=bool(args.until_eof),
                port=args.port,
                flash=args.flash,
            )
        )
    return 0


async def serve(
    count: int,
    profile: str,
    state_dir: Path,
    *,
    seed: int | None = None,
    time_scale: float = 1.0,
    paced: bool = False,
    json_out: bool = False,
    until_eof: bool = False,
    port: int | None = None,
    flash: Path | None = None,
    registry: Path = NATIVE_ELFS_FILE,
    out: TextIO | None = None,
) -> None:
    """Run `count` boards until stopped; prints one line per board to `out` (stdout) when all are ready.

    Each board takes the first free place in `state_dir` and keeps its flash there for the next board in that
    place. `port` is the port of the first board, and the others follow it; None: any free ports. All boards are
    flashed with the build in `flash` before they are ready.
    """
    if not 1 <= count <= MAX_BOARDS:
        raise UsageError(f"can't start {count} boards", f"ask for 1 to {MAX_BOARDS}")
    check_time_scale(time_scale)
    if port is not None and not 1 <= port <= _LAST_PORT + 1 - count:
        raise UsageError(f"port {port} is not valid", f"give 1 to {_LAST_PORT + 1 - count}")
    board_profile = profiles.load(profile)
    options = BoardOptions(secrets.randbits(32) if seed is None else seed, time_scale, paced, registry)
    with contextlib.ExitStack() as stack:
        # Before the first child starts: no signal may end this process and leave the child behind.
        stopped = _stop_event(until_eof, stack)
        boards: list[Esp32Cam] = []
        ports = _take_ports(port, count, stack)
        places = _take_places(state_dir, board_profile.name, count, stack)
        for (index, directory, lock), address in zip(places, ports, strict=True):
            board = Esp32Cam(board_profile, index, directory, options, address)
            boards.append(board)
            place = stack.enter_context(contextlib.ExitStack())
            place.enter_context(lock)
            place.callback(board.close)
            control = ControlServer(directory, board, partial(_stop_one, board, place, boards, stopped))
            place.callback(control.close)
        if flash is not None:
            for board in boards:
                await _flash(board, flash, stopped)
        output = out if out is not None else sys.stdout
        for board in boards:
            print(start_line(_about(board), json_out), file=output)
        output.flush()
        await stopped.wait()


def start_line(about: Mapping[str, str], json_out: bool) -> str:
    """Line printed for a board that has started."""
    if json_out:
        return json.dumps(about)
    return f"virtual ESP32-CAM {about['name']}, {about['mac']}, at {about['port']}"


def _about(board: Esp32Cam) -> dict[str, str]:
    return {
        "name": board.directory.name,
        "port": board.url,
        "mac": board.mac,
        "directory": str(board.directory),
    }


def _stop_one(
    board: Esp32Cam, place: contextlib.ExitStack, boards: list[Esp32Cam], stopped: asyncio.Event
) -> None:
    """Stop one board; stopping the last one ends the server."""
    place.close()
    if board in boards:
        boards.remove(board)
    if not boards:
        stopped.set()


async def _flash(board: Esp32Cam, build: Path, stopped: asyncio.Event) -> None:
    """Flash a board with `hotpin-hil board flash`. Raises UsageError with that command's message if it fails."""
    directory = board.directory
    words = ["board", "flash", directory.name, "--state-dir", str(directory.parent), "--build", str(build)]
    with subprocess.Popen(
        [sys.executable, "-m", "hotpin_hil", *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    ) as process:
        await _first(_ended(process), stopped.wait())
        if stopped.is_set():
            process.terminate()
        _, output = process.communicate()
    if process.returncode and not stopped.is_set():
        raise UsageError(output.decode(errors="replace").strip().removeprefix("error: "))


async def _ended(process: subprocess.Popen[bytes]) -> None:
    """Wait for the end of a process without a thread, unlike asyncio's own subprocesses."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    pidfd = os.pidfd_open(process.pid)
    loop.add_reader(pidfd, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(pidfd)
        os.close(pidfd)


async def _first(*events: Coroutine[object, object, object]) -> None:
    """Wait for the first of several events."""
    waiting = [asyncio.ensure_future(event) for event in events]
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


def _take_ports(first: int | None, count: int, stack: contextlib.ExitStack) -> list[LoopbackPort]:
    """Port numbers for `count` boards; closing the stack releases them."""
    ports = []
    for index in range(count):
        ports.append(LoopbackPort(first + index if first is not None else 0))
        stack.callback(ports[-1].close)
    return ports


def _take_places(
    state_dir: Path, profile_name: str, count: int, stack: contextlib.ExitStack
) -> list[tuple[int, Path, IO[bytes]]]:
    """Directories, numbers and locks for `count` boards; closing the stack releases them.

    The kernel releases a lock when its process ends, so a dead process never blocks a place.
    """
    places: list[tuple[int, Path, IO[bytes]]] = []
    stem = re.sub(r"[^\w.-]", "_", profile_name)
    for index in range(MAX_BOARDS):
        directory = state_dir.resolve() / f"{stem}-{index}"
        lock = _lock(directory)
        if lock is not None:
            stack.enter_context(lock)
            places.append((index, directory, lock))
        if len(places) == count:
            return places
    raise UsageError(
        f"only {len(places)} of {MAX_BOARDS} board folders are free in {state_dir}", "stop other boards"
    )


def _lock(directory: Path) -> IO[bytes] | None:
    """Create and lock a board's directory; None if another process has locked it."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        file = open(directory / LOCK_NAME, "ab")  # noqa: SIM115 - stays open as long as the board
    except OSError as error:
        raise UsageError(
            f"can't write the board state in {directory}: {error.strerror}", "give a writable --state-dir"
        ) from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        return None
    return file


def _stop_event(until_eof: bool, stack: contextlib.ExitStack) -> asyncio.Event:
    """An event that is set by SIGTERM, by SIGINT and, with `until_eof`, by the end of stdin."""
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    with contextlib.suppress(ValueError, RuntimeError):  # only a main thread can have handlers
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopped.set)
            stack.callback(loop.remove_signal_handler, number)
    if until_eof:
        stack.callback(_watch_stdin(loop, stopped))
    return stopped


def _watch_stdin(loop: asyncio.AbstractEventLoop, stopped: asyncio.Event) -> Callable[[], object]:
    def readable() -> None:
        try:
            ended = not os.read(0, 4096)
        except OSError:
            ended = True
        if ended:
            loop.remove_reader(0)
            stopped.set()

    try:
        loop.add_reader(0, readable)
    except OSError:  # epoll can't wait for a file or /dev/null, so it counts as ended
        stopped.set()
    return lambda: loop.remove_reader(0)
