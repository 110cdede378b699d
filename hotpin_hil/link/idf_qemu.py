"""pytest-embedded's QEMU service with the fast reader and the channel of the serial line.

`HilQemu` and `HilQemuApp` take the place of pytest-embedded's `Qemu` and `QemuApp` and keep their methods. What
differs:

- UART0 is QEMU's standard input and output, read by one blocking thread; what QEMU itself says is in a log file;
- each test begins with the build's flash image, made in this process;
- a QEMU that ends, ends the channel with a PortError that quotes its last words.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import io
import logging
import os
import shlex
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import esptool
import pytest_embedded_qemu
from pytest_embedded_idf.app import IdfApp
from pytest_embedded_qemu.app import QemuApp
from pytest_embedded_qemu.qemu import Qemu
from qemu.qmp import QMPClient

from hotpin_hil.errors import FlashError, PortError
from hotpin_hil.link.channel import Channel
from hotpin_hil.link.idf_serial import flash_files

PSRAM_ARGUMENTS = "-m 4M"
"""The machine `esp32` has as much PSRAM as QEMU is given memory: 4 MB are mapped on the real board."""
STOP_TIMEOUT_S = 5.0
QMP_TIMEOUT_S = 5.0
_READ_BYTES = 65536
_ESCAPE = b"\x01"
"""Ctrl-A. With -nographic QEMU's monitor listens on the same input: with an "x" behind it, it ends QEMU; twice, it is
one byte for the board."""
_PR_SET_PDEATHSIG = 1
"""linux/prctl.h"""
_REMEDY = "run it again; if it ends again, start QEMU by hand with the command in the log"


def install() -> None:
    """Make pytest-embedded use these classes. Idempotent."""
    pytest_embedded_qemu.Qemu = HilQemu
    pytest_embedded_qemu.QemuApp = HilQemuApp


def extra_arguments(given: str | None) -> str:
    """`--qemu-extra-args` with 4 MB of PSRAM, unless they say how much memory there is."""
    words = shlex.split(given or "")
    return shlex.join(words if "-m" in words else [*words, *shlex.split(PSRAM_ARGUMENTS)])


class HilQemuApp(QemuApp):  # type: ignore[misc]  # pytest-embedded is not typed
    """A build and its flash image for QEMU."""

    def create_image(self) -> None:
        make_image(self, self.image_path)


def make_image(app: IdfApp, path: str) -> None:
    """The whole flash in one file, as esptool merges it. BuildError, FlashError."""
    settings = [
        text.replace("_", "-") if text.startswith("--") else text
        for text in app.flash_args.get("write_flash_args", ())
    ]
    arguments = ["--chip", app.target, "merge-bin", "--output", str(path)]
    arguments += ["--pad-to-size", app.flash_settings.get("flash_size", "4MB"), *settings, *flash_files(app)]
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said):
            esptool.main(arguments)
    except (esptool.FatalError, OSError, SystemExit) as error:
        last = [line for line in said.getvalue().splitlines() if line.strip()][-1:]
        raise FlashError(
            f"esptool could not make QEMU's flash image {path}: {error} {' '.join(last)}".rstrip(),
            "build the firmware again: hotpin-hil build --board qemu",
        ) from error


class _Piped(subprocess.Popen[bytes]):
    """Gives its standard output to a pipe, where DuplicateStdoutPopen would have it in a file that is polled."""

    def __init__(self, cmd: list[str], **kwargs: Any) -> None:
        # A session of its own: Ctrl-C in the terminal must not take it away before the clean-up is through.
        own = {"stdout": subprocess.PIPE, "start_new_session": True, "preexec_fn": _end_with_parent}
        super().__init__(cmd, **{**kwargs, **own})


def _end_with_parent() -> None:
    """In the child: Linux ends it when the tests are killed, since it would go on without standard input."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class HilQemu(Qemu, _Piped):  # type: ignore[misc]
    """QEMU for one test; `channel` is the content of its UART0 and the way to write to it."""

    REDIRECT_CLS = None

    def __init__(self, *, app: Any = None, **kwargs: Any) -> None:
        self.channel = Channel(self._send, name="QEMU")
        self.channel.reset_asked()
        self._ending = False
        try:
            super().__init__(app=app, **kwargs)
        except OSError as error:
            raise PortError(f"QEMU did not start: {error}", "check --qemu-prog-path") from error
        self._read()

    # --- what the suite asks of a line ---

    def hard_reset(self) -> None:
        """Reset the machine, over QMP."""
        self.channel.reset_asked()
        if self.channel.error is not None:
            raise self.channel.error
        try:
            asyncio.run(self._reset_over_qmp())
        except Exception as error:  # of qemu.qmp and asyncio: there are many
            reason = str(error) or f"no answer in {QMP_TIMEOUT_S:g} s"
            raise PortError(f"QEMU does not take a reset over QMP: {reason}", _REMEDY) from error

    def flash(self, app: Any = None) -> None:
        """Put another build (the test's own, if none is given) into the flash and restart QEMU."""
        self._end()
        make_image(app or self.app, self.image_path)
        self.channel.reset_asked()
        self._ending = False
        _Piped.__init__(self, self._cmd, stdin=subprocess.PIPE, stderr=self._fw, bufsize=0)
        self._read()

    async def _reset_over_qmp(self) -> None:
        """Like pytest-embedded's, with a timeout."""
        client = QMPClient()
        try:
            await asyncio.wait_for(client.connect((str(self.qmp_addr), int(self.qmp_port))), QMP_TIMEOUT_S)
            await asyncio.wait_for(client.execute("system_reset"), QMP_TIMEOUT_S)
        finally:
            await asyncio.wait_for(client.disconnect(), QMP_TIMEOUT_S)

    # --- bytes ---

    def _send(self, data: bytes) -> None:
        assert self.stdin is not None
        self.stdin.write(data.replace(_ESCAPE, 2 * _ESCAPE))

    def _read(self) -> None:
        self._reader = threading.Thread(
            target=self._run, args=(self.stdout,), name="reader of QEMU", daemon=True
        )
        self._reader.start()

    def _run(self, output: Any) -> None:
        while data := os.read(output.fileno(), _READ_BYTES):
            self.channel.feed(data)
            try:
                self._q.put(data)
            except (OSError, EOFError) as error:
                logging.debug("console log of QEMU is closed: %s", error)
        if not self._ending:
            self.channel.lost(PortError(f"QEMU has ended{self._last_words()}", _REMEDY))

    def _last_words(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(STOP_TIMEOUT_S)
        said = Path(self._logfile).read_text(errors="replace").splitlines()
        last = [line.strip() for line in said if line.strip()][-1:]
        return f" (exit status {self.returncode}){f': {last[0]}' if last else ''}"

    # --- the end ---

    def _end(self) -> None:
        self._ending = True
        for insist in (subprocess.Popen.terminate, subprocess.Popen.kill):
            insist(self)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.wait(STOP_TIMEOUT_S)
                break
        self._reader.join(STOP_TIMEOUT_S)
        for pipe in (self.stdin, self.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    def terminate(self) -> None:
        """End QEMU and the reader thread; a wait on the channel raises PortError."""
        self._end()
        self.close()
        self.channel.lost(PortError("QEMU was stopped", "it is, at the test's end"))
