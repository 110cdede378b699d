"""Chooses and opens the source for `hotpin-hil monitor`: a port, a new virtual board, or a file."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

from hotpin_hil.boards.artifacts import check_registered, read_build
from hotpin_hil.boards.board_process import BoardProcess
from hotpin_hil.boards.choose import Wish, choose_board
from hotpin_hil.boards.kind import BoardKind
from hotpin_hil.boards.lease import Lease, lease_folder, port_name
from hotpin_hil.boards.leasing import attached_ports
from hotpin_hil.errors import PortError, UsageError
from hotpin_hil.link.file_follower import FileFollower
from hotpin_hil.link.live_port import LivePort
from hotpin_hil.link.recording import Recording
from hotpin_hil.paths import NATIVE_BUILD_DIR


class Source(Protocol):
    """A source of bytes for a recording."""

    @property
    def port(self) -> str:
        """Name of the port or file."""

    @property
    def problem(self) -> str:
        """Why no bytes arrive; empty while the source works."""

    def open(self) -> None:
        """Begin to read."""

    def close(self) -> None:
        """End reading. Safe to call twice."""


def open_source(options: argparse.Namespace, recording: Recording, cleanup: ExitStack) -> Source:
    """Open the source that the command line names.

    Args:
        options: the command line.
        recording: receives the bytes.
        cleanup: closes the source, ends a virtual board and releases the lease of a real one.

    Raises:
        UsageError: no board fits, another run uses it, or the file cannot be read.
        BuildError: there is no firmware build for a virtual board, or it is unusable.
        BenchError: the port cannot be opened, or the virtual board did not start.
    """
    source = _source(options, recording, cleanup)
    cleanup.callback(source.close)
    source.open()
    return source


def _source(options: argparse.Namespace, recording: Recording, cleanup: ExitStack) -> Source:
    if options.follow:
        return FileFollower(options.follow, recording)
    choice = choose_board(Wish(kind=options.board, port=options.port), os.environ, attached_ports)
    if choice.kind == BoardKind.QEMU:
        raise UsageError("the monitor does not start QEMU", "watch the log of its run with --follow FILE")
    if len(choice.boards) > 1:
        raise UsageError(
            f"several boards are attached: {', '.join(map(str, choice.boards))}", "choose one with --port"
        )
    if not choice.boards:
        return _Restarted(_start_virtual(options, choice.why, cleanup), options.baud, recording)
    port = str(choice.boards[0].port)
    cleanup.enter_context(Lease(lease_folder(os.environ), port)).add(port_name(port))
    return LivePort(port, options.baud, recording)


class _Restarted(LivePort):
    """The port of a board that only the monitor uses. The board is restarted, so that the monitor sees its boot."""

    def open(self) -> None:
        super().open()
        self.reset()


def _start_virtual(options: argparse.Namespace, why: str, cleanup: ExitStack) -> str:
    """Start a virtual board with this checkout's firmware, until the clean-up; returns its port."""
    build = read_build(NATIVE_BUILD_DIR, BoardKind.VIRTUAL)
    check_registered(build)
    options.elf = options.elf or [build.elf_file]
    print(f"{why + ': ' if why else ''}starting a virtual board ...", file=sys.stderr, flush=True)
    folder = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="hotpin-monitor-")))
    try:
        board = BoardProcess.start(
            folder / "board.log", folder / "boards", ["--flash", str(NATIVE_BUILD_DIR)]
        )
    except PortError as error:  # the error's remedy names the log file, which the clean-up removes
        raise PortError(error.message, "run hotpin-hil board start to see why") from error
    cleanup.callback(board.stop)
    return board.port
