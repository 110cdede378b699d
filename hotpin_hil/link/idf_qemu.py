"""pytest-embedded's QEMU service with the fast reader and the channel of the serial line.

`hotpin_hil.link.embedded` installs it. `HilQemu` and `HilQemuApp` replace its `Qemu` and `QemuApp` and keep their
methods. Differences:

- UART0 is QEMU's standard input and output, read by one blocking thread; QEMU's own messages go to a log file;
- each emulator has its own copy of the build's flash image and its own control socket (a file, so that two workers
  never compete for a port);
- a boot that a known emulator fault stops is repeated (`emulator_start`), and the fault is added to `faults`;
- budgets follow the emulator's clock if it lags behind the host's (`Deadline`);
- when QEMU exits, the channel ends with a PortError that quotes QEMU's last message.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any, ClassVar

import esptool
from pytest_embedded_idf.app import IdfApp
from pytest_embedded_qemu.app import QemuApp
from pytest_embedded_qemu.qemu import Qemu

from hotpin_hil.errors import EmulatorError, FlashError, PortError
from hotpin_hil.link.channel import Channel
from hotpin_hil.link.emulator_start import judge_start
from hotpin_hil.link.idf_serial import fingerprint, flash_files
from hotpin_hil.link.qmp import Qmp

STARTS_MAX = 4
"""Maximum number of attempts; after the last, the test gets the failed boot. About every second boot of a dual-core
build fails in an unpatched emulator, so all four fail in 1 of 16 cases."""
START_S = 10.0
"""Maximum time from reset to ready, on the emulator's clock. A boot with the test of 4 MB of PSRAM takes 5 s."""
STOP_TIMEOUT_S = 5.0
_READ_BYTES = 65536
_ESCAPE = b"\x01"
"""Ctrl-A. With -nographic, QEMU's monitor listens on the same input: Ctrl-A "x" ends QEMU, and a double Ctrl-A sends
the byte itself to the board."""
_PR_SET_PDEATHSIG = 1
"""linux/prctl.h"""
_REMEDY = "run the test again; if QEMU ends again, start it by hand with the command in its log"


class HilQemuApp(QemuApp):  # type: ignore[misc]  # pytest-embedded is not typed
    """A build and its flash image for QEMU."""

    _made: ClassVar[dict[str, str]] = {}
    """Path of an image -> fingerprint of the build in it, for the images that this process made."""

    def create_image(self) -> None:
        build = fingerprint(self)
        is_there = Path(self.image_path).is_file()
        if is_there and (self.skip_regenerate_image or self._made.get(self.image_path) == build):
            return
        self._made.pop(self.image_path, None)
        make_image(self, self.image_path)
        self._made[self.image_path] = build


def make_image(app: IdfApp, path: str) -> None:
    """Merge the whole flash into one file with esptool. Raises BuildError or FlashError."""
    settings = [
        text.replace("_", "-") if text.startswith("--") else text
        for text in app.flash_args.get("write_flash_args", ())
    ]
    arguments = ["--chip", app.target, "merge-bin", "--output", str(path)]
    arguments += ["--pad-to-size", app.flash_settings.get("flash_size", "4MB"), *settings, *flash_files(app)]
    output = io.StringIO()
    try:
        with contextlib.redirect_stdout(output):
            esptool.main(arguments)
    except (esptool.FatalError, OSError, SystemExit) as error:
        last = [line for line in output.getvalue().splitlines() if line.strip()][-1:]
        raise FlashError(
            f"esptool could not make QEMU's flash image {path}: {error} {' '.join(last)}".rstrip(),
            "build the firmware again: hotpin-hil build --board qemu",
        ) from error


PIPE_BYTES = 1024 * 1024
"""Size of the console pipe. It is large because QEMU drops output that does not fit: while the host is busy, an idle
board may print the output of hours before the host reads it."""


class _Piped(subprocess.Popen[bytes]):
    """Process with a pipe as standard output, instead of DuplicateStdoutPopen's polled file."""

    def __init__(self, cmd: list[str], **kwargs: Any) -> None:
        # A separate session, because Ctrl-C in the terminal must not end QEMU before the clean-up.
        own = {
            "stdout": subprocess.PIPE,
            "pipesize": PIPE_BYTES,
            "start_new_session": True,
            "preexec_fn": _end_with_parent,
        }
        super().__init__(cmd, **{**kwargs, **own})


def _end_with_parent() -> None:
    """Runs in the child: makes Linux kill QEMU with its parent, because QEMU ignores a closed standard input."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class HilQemu(Qemu, _Piped):  # type: ignore[misc]
    """QEMU for one test; `channel` reads and writes its UART0."""

    REDIRECT_CLS = None
    QEMU_DEFAULT_QMP_FMT = ""
    """Empty: pytest-embedded would use a TCP port, and two workers may find the same port free."""

    def __init__(
        self,
        *,
        app: Any = None,
        qemu_image_path: str | None = None,
        qemu_extra_args: str | None = None,
        dut_index: int = 0,
        **kwargs: Any,
    ) -> None:
        # A Unix socket's path has at most 107 characters, so the socket is not in the evidence folder.
        self._sockets = tempfile.TemporaryDirectory(prefix="hotpin-qemu-")
        self._qmp = Qmp(f"{self._sockets.name}/qmp")
        self.channel = Channel(self._send, name="QEMU", board_clock_s=self._qmp.clock_s)
        self.faults: list[str] = []
        """Known emulator faults that made the harness restart QEMU."""
        self._reader: threading.Thread | None = None
        self._ending = False
        self._switch = threading.Lock()
        self._trial: Channel | None = None
        """Channel that receives the console output instead of `channel` during a boot."""
        template = Path(str(qemu_image_path))
        self._image = template.with_name(f"{template.stem}-board{dut_index}.bin")
        try:
            shutil.copyfile(template, self._image)
            self._begin_trial()
            super().__init__(
                app=app,
                qemu_image_path=str(self._image),
                qemu_extra_args=f"{qemu_extra_args or ''} -qmp unix:{self._qmp.path},server=on,wait=off",
                **kwargs,
            )
            self._read()
            self._finish_trial()
        except BaseException as error:
            if self._reader is not None:
                self.terminate()
            if isinstance(error, OSError):
                raise EmulatorError(f"QEMU did not start: {error}", "check --qemu-prog-path") from error
            raise

    # --- operations that every serial line has ---

    def hard_reset(self) -> None:
        """Reset the machine over QMP, and wait until its boot has ended. Raises PortError if QEMU ended or hangs."""
        if self.channel.error is not None:
            raise self.channel.error
        self._begin_trial()
        try:
            self._qmp.execute("system_reset")
        except PortError:
            self._show_trial()
            raise
        self._finish_trial()

    def flash(self, app: Any = None) -> None:
        """Write a build to the flash, restart QEMU, and wait until its boot has ended.

        Args:
            app: build to write; None for the test's own.
        """
        self._end()
        make_image(app or self.app, str(self._image))
        self._begin_trial()
        self._launch()
        self._finish_trial()

    def read_flash(self, offset: int, size: int, path: Path) -> None:
        """Copy a part of the flash to a file while the board runs. Raises FlashError."""
        try:
            with self._image.open("rb") as image:
                image.seek(offset)
                path.write_bytes(image.read(size))
        except OSError as error:
            raise FlashError(f"QEMU's flash image cannot be read: {error}", "run the test again") from error

    def qmp_execute_cmd(self, execute: str, arguments: dict[str, Any] | None = None) -> Any:
        """Like pytest-embedded's method, over this emulator's own socket and with a time limit."""
        return self._qmp.execute(execute, arguments)

    # --- starts ---

    def _begin_trial(self) -> None:
        """Withhold the console output and save the flash, so that the boot can be repeated."""
        self.channel.announce_reset()
        shutil.copyfile(self._image, self._image.with_suffix(".before"))
        with self._switch:
            self._trial = Channel(name="QEMU", board_clock_s=self._qmp.clock_s)

    def _finish_trial(self) -> None:
        """Repeat the boot while a known emulator fault stops it, then release the console output.

        Raises:
            EmulatorError: QEMU cannot be started at all.
        """
        try:
            for _ in range(STARTS_MAX - 1):
                fault = self._fault_of_start()
                if not fault:
                    break
                self.faults.append(fault)
                self._end()
                shutil.copyfile(self._image.with_suffix(".before"), self._image)
                self._begin_trial()
                self._launch()
            else:
                self._fault_of_start()  # the test reports this failure
        finally:
            self._show_trial()

    def _fault_of_start(self) -> str:
        """Wait for the end of the boot; returns the known emulator fault, or an empty string."""
        trial = self._trial
        assert trial is not None
        try:
            start = trial.wait(lambda: judge_start(trial), START_S)
        except PortError as error:
            if self.returncode is not None and self.returncode < 0:
                return f"QEMU crashed with signal {-self.returncode}"
            if not trial.text():  # no output: its arguments are wrong, so every test would fail
                raise EmulatorError(
                    error.message, "start QEMU by hand with the command in its log"
                ) from error
            return ""
        if start is None and not self._qmp.answers():
            return "QEMU hung"
        return start.fault if start else ""

    def _show_trial(self) -> None:
        with self._switch:
            trial, self._trial = self._trial, None
            if trial is not None:
                self._deliver(trial.text())
                if trial.error is not None:
                    self.channel.report_lost(trial.error)

    def _launch(self) -> None:
        self._ending = False
        Path(self._qmp.path).unlink(missing_ok=True)
        self._qmp.reset_state()
        _Piped.__init__(self, self._cmd, stdin=subprocess.PIPE, stderr=self._fw, bufsize=0)
        self._read()

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
            with self._switch:
                if self._trial is not None:
                    self._trial.feed(data)
                else:
                    self._deliver(data)
        if not self._ending:
            error = PortError(f"QEMU has ended{self._last_words()}", _REMEDY)
            with self._switch:
                (self._trial or self.channel).report_lost(error)

    def _deliver(self, data: bytes) -> None:
        self.channel.feed(data)
        try:
            self._q.put(data)
        except (OSError, EOFError) as error:
            logging.debug("console log of QEMU is closed: %s", error)

    def _last_words(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(STOP_TIMEOUT_S)
        log = Path(self._logfile).read_text(errors="replace").splitlines()
        last = [line.strip() for line in log if line.strip()][-1:]
        return f" (exit status {self.returncode}){f': {last[0]}' if last else ''}"

    # --- the end ---

    def _end(self) -> None:
        self._ending = True
        for stop in (subprocess.Popen.terminate, subprocess.Popen.kill):
            stop(self)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.wait(STOP_TIMEOUT_S)
                break
        if self._reader is not None:
            self._reader.join(STOP_TIMEOUT_S)
        for pipe in (self.stdin, self.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    def terminate(self) -> None:
        """End QEMU and the reader thread; waits on the channel then raise PortError."""
        self._end()
        self.close()
        self._show_trial()
        self.channel.report_lost(PortError("QEMU was stopped", "each test's QEMU is stopped at its end"))
        self._sockets.cleanup()
        for image in (self._image, self._image.with_suffix(".before")):
            image.unlink(missing_ok=True)
