"""The firmware process, which acts as the board's CPU while an app runs.

It is started as `<elf> <params-file>`. File descriptors 0 and 1 are UART0 (one end of a socket pair), and the host
runtime prints its diagnostics on 2. The process exits with status 100 + N where the chip would reset with ROM code N.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import fcntl
import hashlib
import os
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hotpin_hil.errors import BenchError
from hotpin_hil.virtual.profile import BoardProfile

RESET_STATUS = 100
"""The firmware process exits with this plus the ROM's reset code where the chip would reset."""

_PR_SET_PDEATHSIG = 1
_SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
_READ = 64 * 1024
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class StartParameters:
    """Parameters for starting the firmware once; times in microseconds of the virtual clock."""

    profile: BoardProfile
    mac: str
    flash_file: Path
    rtc_file: Path
    rom_cause: int
    start_us: int
    seed: int
    time_scale: float
    paced: bool
    elf_sha256: str
    app_offset: int
    faults: tuple[str, ...] = ()
    """Active faults at the start, as lines for `FirmwareProcess.tell`."""

    def text(self) -> str:
        """The params file: `key=value` lines."""
        profile = self.profile
        lines = [
            f"mac={self.mac}",
            f"chip_revision={profile.revision}",
            f"psram_bytes={profile.psram_mb * 0x100000}",
            *([f"cores={profile.cores}"] if profile.cores else []),
            f"flash_file={self.flash_file}",
            f"rtc_file={self.rtc_file}",
            f"rom_cause={self.rom_cause}",
            f"start_us={self.start_us}",
            f"seed={self.seed}",
            f"time_scale={self.time_scale:g}",
            f"uart_paced={int(self.paced)}",
            f"elf_sha256={self.elf_sha256}",
            f"app_offset={self.app_offset:#x}",
        ]
        lines += [f"fault={line}" for line in self.faults]
        lines += profile.boot_lines()
        return "".join(f"{line}\n" for line in lines)


class Program:
    """An executable ELF in memory, sealed and never on disk, so that it cannot be replaced or changed."""

    _cache: dict[str, Program] = {}  # noqa: RUF012 - shared by all boards of this process on purpose

    def __init__(self, elf: bytes, sha256: str) -> None:
        self.sha256 = sha256
        self.fd = os.memfd_create(f"firmware-{sha256[:9]}", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        with os.fdopen(os.dup(self.fd), "wb") as file:
            file.write(elf)
        # The firmware process inherits this descriptor, and every process of the user can open it in /proc.
        fcntl.fcntl(self.fd, fcntl.F_ADD_SEALS, _SEALS)

    @classmethod
    def load(cls, elf: bytes) -> Program:
        """Load a program. The last few are cached, because the boards of one process share them."""
        sha256 = hashlib.sha256(elf).hexdigest()
        if sha256 not in cls._cache:
            while len(cls._cache) >= 4:
                os.close(cls._cache.pop(next(iter(cls._cache))).fd)
            cls._cache[sha256] = cls(elf, sha256)
        return cls._cache[sha256]


class FirmwareProcess:
    """One run of the firmware process."""

    def __init__(
        self,
        program: Program,
        params_file: Path,
        parameters: StartParameters,
        on_output: Callable[[bytes], None],
        on_exit: Callable[[int, str], None],
    ) -> None:
        """Write the params file and start the process.

        `on_output` gets UART bytes; `on_exit` gets the exit status (negative: signal) and the last diagnostic
        line. Raises BenchError if the host can't start the process.
        """
        self._name = parameters.mac
        self._on_output = on_output
        self._on_exit = on_exit
        self._loop = asyncio.get_running_loop()
        self._paused = False
        self.frozen = False
        self._last_diagnostic = ""
        self._diagnostics = bytearray()
        with contextlib.ExitStack() as stack:
            self._uart, theirs = _socket_pair(stack)
            self._faults, their_faults = _socket_pair(stack)
            stack.pop_all()
        try:
            params_file.write_text(
                f"{parameters.text()}faults_fd={their_faults.fileno()}\n", encoding="utf-8"
            )
            self._popen = subprocess.Popen(
                ["firmware", str(params_file)],
                executable=f"/proc/self/fd/{program.fd}",
                pass_fds=[program.fd, their_faults.fileno()],
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                stderr=subprocess.PIPE,
                cwd=params_file.parent,
                start_new_session=True,
                preexec_fn=_die_with_parent(os.getpid()),  # noqa: PLW1509 - a board server has one thread
            )
        except (OSError, subprocess.SubprocessError) as error:
            self._uart.close()
            self._faults.close()
            raise BenchError(
                f"can't start the firmware process: {error}", "is it built for this machine?"
            ) from error
        finally:
            theirs.close()
            their_faults.close()
        assert self._popen.stderr is not None
        self._stderr = self._popen.stderr
        os.set_blocking(self._stderr.fileno(), False)
        try:
            self._pidfd = os.pidfd_open(self._popen.pid)
        except OSError:
            self._popen.kill()
            self._popen.wait()
            for end in (self._uart, self._faults, self._stderr):
                end.close()
            raise
        self._loop.add_reader(self._uart, self._uart_readable)
        self._loop.add_reader(self._stderr, self._stderr_readable)
        self._loop.add_reader(self._pidfd, self._ended)

    @property
    def pid(self) -> int:
        """Process id on the host."""
        return self._popen.pid

    def write(self, data: bytes) -> None:
        """Write bytes to the UART's receiver; bytes beyond its buffer are lost, as on the chip."""
        with contextlib.suppress(OSError):
            self._uart.send(data)

    def tell(self, line: str) -> None:
        """Send a fault, `name` or `name=number`, to the firmware's runtime; lost if it does not listen."""
        with contextlib.suppress(OSError):
            self._faults.send(f"{line}\n".encode())

    def freeze(self) -> None:
        """Stop the process permanently; only `kill` ends it."""
        self.frozen = True
        self._popen.send_signal(signal.SIGSTOP)

    def pause(self) -> None:
        """Stop reading output."""
        if not self._paused:
            self._paused = True
            self._loop.remove_reader(self._uart)

    def resume(self) -> None:
        """Read output again."""
        if self._paused:
            self._paused = False
            self._loop.add_reader(self._uart, self._uart_readable)

    def kill(self) -> None:
        """Kill the process without calling `on_exit`; returns when it has ended."""
        self._forget()
        self._popen.kill()
        self._popen.wait()

    def _uart_readable(self) -> None:
        try:
            data = self._uart.recv(_READ)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if data:
            self._on_output(data)
        else:
            self.pause()  # no more data will arrive; the pidfd reports the end of the process

    def _stderr_readable(self) -> None:
        try:
            data = os.read(self._stderr.fileno(), _READ)
        except BlockingIOError:
            return
        self._diagnostics += data
        *lines, rest = bytes(self._diagnostics).split(b"\n")
        self._diagnostics[:] = rest[-4096:]
        for line in lines:
            self._diagnostic(line)
        if not data:
            self._loop.remove_reader(self._stderr)

    def _diagnostic(self, line: bytes) -> None:
        text = line.decode("utf-8", "replace").rstrip()
        if text:
            self._last_diagnostic = text
            report(f"{self._name}: {text}")

    def _ended(self) -> None:
        self._loop.remove_reader(self._uart)
        with contextlib.suppress(OSError):
            while data := self._uart.recv(_READ):
                self._on_output(data)
        self._stderr_readable()
        if self._diagnostics:
            self._diagnostic(bytes(self._diagnostics))
        self._forget()
        self._on_exit(self._popen.wait(), self._last_diagnostic)

    def _forget(self) -> None:
        for source in (self._uart, self._stderr, self._pidfd):
            self._loop.remove_reader(source)
        self._uart.close()
        self._faults.close()
        self._stderr.close()
        os.close(self._pidfd)


def _socket_pair(stack: contextlib.ExitStack) -> tuple[socket.socket, socket.socket]:
    """The two ends of a socket pair: a non-blocking end for this process, and the other end. The stack closes both."""
    ours, theirs = map(stack.enter_context, socket.socketpair())
    ours.setblocking(False)
    return ours, theirs


def report(text: str) -> None:
    """Print a line for the user who started the boards; a closed output must not stop a board."""
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr, flush=True)


def describe_exit(status: int) -> str:
    """`exit status 3` or `signal 11 (SIGSEGV)`."""
    if status >= 0:
        return f"exit status {status}"
    try:
        return f"signal {-status} ({signal.Signals(-status).name})"
    except ValueError:
        return f"signal {-status}"


def _die_with_parent(parent: int) -> Callable[[], None]:
    def set_up() -> None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if os.getppid() != parent:  # the parent ended before the prctl call
            os._exit(1)

    return set_up
