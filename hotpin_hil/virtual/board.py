"""One virtual ESP32-CAM: reset circuit, flash, ROM, and the firmware process behind one serial port."""

from __future__ import annotations

import asyncio
import os
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from hotpin_hil.errors import BenchError
from hotpin_hil.paths import NATIVE_ELFS_FILE
from hotpin_hil.virtual import bootlog, image
from hotpin_hil.virtual.bootlog import BOARD_PREFIX, Boot, RunApp
from hotpin_hil.virtual.chip import Registers, format_mac, parse_mac
from hotpin_hil.virtual.faults.board import Faults
from hotpin_hil.virtual.flash import Flash
from hotpin_hil.virtual.host_watch import HostWatch
from hotpin_hil.virtual.loader_protocol import Chip
from hotpin_hil.virtual.package import is_registered
from hotpin_hil.virtual.process import (
    RESET_STATUS,
    FirmwareProcess,
    Program,
    StartParameters,
    describe_exit,
    report,
)
from hotpin_hil.virtual.profile import BoardProfile
from hotpin_hil.virtual.reset import ResetCircuit
from hotpin_hil.virtual.rfc2217 import LoopbackPort, Server
from hotpin_hil.virtual.rom import Loader

RTC_BYTES = 8192
CONSOLE_BAUD = 115200
_BAUD_TOLERANCE = 0.03  # a UART samples wrong bits beyond about 3 %
_GRAIN_S = 0.002  # boot log lines this close together are sent in one write
_RESTART_PAUSE_S = (0.0, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
_LONG_RUN_S = 0.2  # firmware that ran at least this long is not in a boot loop
# Bytes as a receiver at the wrong baud rate would read them; any fixed, unreadable mapping works.
_GARBLED = bytes((byte * 167 + 0x9B) & 0xFF | 0x80 for byte in range(256))


@dataclass(frozen=True)
class BoardOptions:
    """Run options of a board.

    Attributes:
        seed: Seed of the board's random numbers.
        time_scale: Virtual seconds per host second; 0 runs as fast as possible.
        paced: Whether the UART transmits at its baud rate instead of at once.
        registry: File that lists the ELFs that this checkout built and may run.
    """

    seed: int
    time_scale: float = 1.0
    paced: bool = False
    registry: Path = NATIVE_ELFS_FILE


class Esp32Cam:
    """A powered board on its own serial port.

    Needs a running event loop. `close` powers it off and also closes the port; the flash file stays in
    `directory`.
    """

    def __init__(
        self, profile: BoardProfile, index: int, directory: Path, options: BoardOptions, port: LoopbackPort
    ) -> None:
        self.profile = profile
        mac = parse_mac(profile.mac)
        self._mac = mac[:3] + ((int.from_bytes(mac[3:], "big") + index) & 0xFFFFFF).to_bytes(3, "big")
        self._options = options
        self._time_scale = options.time_scale
        self._directory = directory
        self._index = index
        self._releases = 0
        self._random = random.Random()
        self._loop = asyncio.get_running_loop()
        self._host = HostWatch()
        self.faults = Faults(
            self, f"{options.seed}/{index}", lambda text: report(f"{self.mac}: {text}"), self._loop.call_later
        )
        self._flash = Flash(directory / "flash.bin", profile.flash_mb * 0x100000)
        self._flash.written = self.faults.programmed
        self._registers = Registers(self._mac, profile.revision, self._flash.size, self._rate)
        self._circuit = ResetCircuit(self._hold, self._release, self._loop.call_later)
        self._timer: asyncio.TimerHandle | None = None
        self._boot_lines: deque[bootlog.Line] = deque()
        self._loader: Loader | None = None
        self._process: FirmwareProcess | None = None
        self._started_at = 0.0
        self._restarts = 0
        self._powered = False
        self._power_timer: asyncio.TimerHandle | None = None
        self._sensor_used = False
        self._app: image.FlashedApp | None = None
        self._crashed = False
        self._said = ""
        self._host_baud: int | None = None
        self._uart_baud: int | None = CONSOLE_BAUD
        self._output_paused = False
        self._server = Server(self, f"HotPin virtual ESP32-CAM {self.mac}", port)
        self.power_on()

    @property
    def mac(self) -> str:
        """MAC address, `aa:bb:cc:dd:ee:ff`."""
        return format_mac(self._mac)

    @property
    def url(self) -> str:
        """Serial port URL for pyserial, esptool and pytest-embedded."""
        return f"rfc2217://127.0.0.1:{self._server.number}"

    @property
    def flash_bytes(self) -> int:
        """Flash size in bytes."""
        return self._flash.size

    @property
    def process_id(self) -> int | None:
        """Process id of the firmware on the host, or None if no firmware is running."""
        return self._process.pid if self._process is not None else None

    @property
    def directory(self) -> Path:
        """Directory of the board's flash file."""
        return self._directory

    def state(self) -> dict[str, object]:
        """Board identity and current state, ready for JSON.

        `holds` is the app in flash, `firmware` the project and version of the app started since the last reset, `said`
        the last message of the board itself since then, `server_pid` the process that serves the board, `host_faults`
        the host faults since the board was started.
        """
        app = bootlog.app_in(self._flash)
        return {
            "name": self._directory.name,
            "mac": self.mac,
            "port": self.url,
            "profile": self.profile.name,
            "power": "on" if self._powered else "off",
            "runs": self.runs,
            "firmware_pid": self.process_id,
            "holds": f"{app.project} {app.version} (ELF {app.elf_sha256[:9]})" if app is not None else None,
            "firmware": f"{self._app.project} {self._app.version}" if self._app is not None else None,
            "said": self._said,
            "client": self._server.connected,
            "time_scale": self._time_scale,
            "faults": [str(fault) for fault in self.faults.in_force],
            "line_changes": self.faults.line.changes,
            "host_faults": self._host.faults,
            "server_pid": os.getpid(),
        }

    @property
    def runs(self) -> str:
        """Current activity.

        One of "off", "in reset", "rom loader", "booting", "firmware", "hung" (firmware stopped by a fault),
        "crashed" (the firmware's host runtime failed) and "halted" (nothing runs until a reset).
        """
        if not self._powered:
            return "off"
        if self._circuit.held:
            return "in reset"
        if self._loader is not None:
            return "rom loader"
        if self._process is not None:
            return "hung" if self._process.frozen else "firmware"
        if self._timer is not None:
            return "booting"
        return "crashed" if self._crashed else "halted"

    def set_time_scale(self, scale: float | None) -> None:
        """Change the pace of the board's clock, in virtual seconds per host second; None restores the server's pace."""
        self._time_scale = self._options.time_scale if scale is None else scale
        self.tell_firmware(f"time_scale_milli={round(self._time_scale * 1000)}")

    def jump(self, us: int) -> None:
        """Advance the running firmware's clock and its pending deadlines by `us` microseconds, so that no deadline
        expires in between."""
        self.tell_firmware(f"jump={us}")

    def power_on(self) -> None:
        """Switch power on and reset; volatile state is lost. No effect if the board already has power."""
        self._cancel(self._power_timer)
        if self._powered:
            return
        self._powered = self._flash.powered = True
        self._sensor_used = False
        self.reset()

    def power_off(self) -> None:
        """Switch power off. The port stays open, because the USB bridge has its own supply."""
        self._cancel(self._power_timer)
        self._powered = self._flash.powered = False
        self._stop()

    def reset(self) -> None:
        """Press the reset button: EN goes low and rises again unless the port's control lines hold it low."""
        self._hold()
        if not self._circuit.held:
            self._release(self._circuit.dtr and not self._circuit.rts)

    def close(self) -> None:
        """Power off and release the port and the files."""
        self._stop()
        self._cancel(self._power_timer)
        self.faults.close()
        self._host.close()
        self._circuit.close()
        self._server.close()
        self._flash.close()

    # Serial port side (called by the server)

    def opened(self) -> None:
        """Handle a new client; its control lines are not asserted yet."""

    def closed(self) -> None:
        """Handle the client's disconnection, which releases both control lines."""
        self._host_baud = None
        self.resume_output()
        self._circuit.set_lines(False, False)

    def received(self, data: bytes) -> None:
        """Handle bytes from the host."""
        data = self.faults.line.to_board(data)
        if self._mismatched():
            data = data.translate(_GARBLED)
        if self._loader is not None:
            self._loader.feed(data)
            self._serve_loader()
        elif self._process is not None:
            self._restarts = 0  # firmware that reads commands is not in a boot loop
            self._process.write(data)

    def _serve_loader(self) -> None:
        """Serve one request of the loader per turn of the event loop, so that the other boards of the process get their
        turns. Until all are served, the client's next bytes stay in its connection."""
        waiting = self._loader is not None and self._loader.serve()
        self._server.hold_input(waiting)
        if waiting:
            self._loop.call_soon(self._serve_loader)

    def set_lines(self, dtr: bool, rts: bool) -> None:
        """Set the control lines; true means asserted."""
        self._circuit.set_lines(dtr, rts)

    def set_baud(self, baud: int) -> None:
        """Set the host's baud rate."""
        self._host_baud = baud

    def pause_output(self) -> None:
        """Stop reading firmware output while the client does not keep up."""
        self._output_paused = True
        if self._process is not None:
            self._process.pause()

    def resume_output(self) -> None:
        """Read firmware output again."""
        self._output_paused = False
        if self._process is not None:
            self._process.resume()

    def _transmit(self, data: bytes) -> None:
        if not self._powered:
            return
        data = self.faults.line.to_host(data)
        self._server.send(data.translate(_GARBLED) if self._mismatched() else data)

    def _mismatched(self) -> bool:
        """Whether host and chip use different baud rates; a rate that was never set matches any."""
        host, chip = self._host_baud, self._uart_baud
        return host is not None and chip is not None and abs(host - chip) > _BAUD_TOLERANCE * chip

    def _rate(self) -> int:
        return self._uart_baud or self._host_baud or CONSOLE_BAUD

    def _set_uart_baud(self, baud: int | None) -> None:
        self._uart_baud = self._host_baud if baud is None else baud

    def _say(self, text: str) -> None:
        """Print a message of the board itself on the UART and in the server's output."""
        self._said = text
        self._transmit(bootlog.encode_lines(["", BOARD_PREFIX + text]))
        report(f"{self.mac}: {text}")

    # Actions of faults

    def cut_power(self, off_s: float) -> None:
        """Cut power now and restore it after `off_s` seconds (0: only by `power_on`)."""
        self.power_off()
        if off_s > 0:
            self._power_timer = self._loop.call_later(off_s, self.power_on)

    def reset_by_brown_out(self) -> None:
        """Reset the chip as the brown-out detector does."""
        if self._powered and not self._circuit.held:
            self._stop()
            self._boot(bootlog.BROWN_OUT_RESET)

    def freeze(self) -> None:
        """Stop the chip until it is reset."""
        if self._process is not None:
            self._process.freeze()
        else:
            self._stop()

    def tell_firmware(self, line: str) -> None:
        """Send a line to the host runtime of the running firmware, if any."""
        if self._process is not None:
            self._process.tell(line)

    def type_in(self, text: str) -> None:
        """Write text to the firmware's UART as if the client had sent it."""
        if self._process is not None:
            self._process.write(text.encode())

    def drop_client(self) -> None:
        """Drop the client's connection."""
        self._server.drop_client()

    def refuse_clients(self, refusing: bool) -> None:
        """Refuse new clients, or accept them again."""
        self._server.refuse(refusing)

    def hang_bridge(self, hung: bool) -> None:
        """Stop all traffic between chip and client, or let it pass again."""
        self._server.hang(hung)

    @staticmethod
    def _cancel(timer: asyncio.TimerHandle | None) -> None:
        if timer is not None:
            timer.cancel()

    # Reset and boot

    def _hold(self) -> None:
        """Handle EN going low."""
        self._stop()

    def _release(self, download: bool) -> None:
        """Handle EN rising, which the chip sees as a power-on reset. No effect without power."""
        self._stop()
        if not self._powered:
            return
        # Seeded at each reset: the chip's progress before the reset depends on the host's speed, and random numbers
        # must not depend on it.
        self._releases += 1
        self._random.seed(f"{self._options.seed}/{self._index}/{self._releases}")
        self._restarts = 0
        if download and not self.faults.is_in_force("no-download"):
            self._start_loader(bootlog.POWERON_RESET)
        else:
            self._boot(bootlog.POWERON_RESET)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._boot_lines.clear()
        if self._loader is not None:
            self._loader.stop()
            self._loader = None
        self._app = None
        self._crashed = False
        self._said = ""
        if self._process is not None:
            process, self._process = self._process, None
            process.kill()
        self.faults.chip_stopped()

    def _after(self, seconds: float, action: Callable[[], None]) -> None:
        def run() -> None:
            self._timer = None
            action()

        self._timer = self._loop.call_later(seconds, run)

    def _start_loader(self, cause: int) -> None:
        self._uart_baud = CONSOLE_BAUD
        self._transmit(bootlog.download_banner(cause))
        self._uart_baud = None  # unknown until the ROM has measured the host's rate
        self._loader = Loader(
            Chip(
                self._registers,
                self._flash,
                self._transmit,
                self._set_uart_baud,
                self._leave_loader,
                self._say,
            )
        )

    def _leave_loader(self) -> None:
        self._stop()
        self._boot(bootlog.SW_RESET)

    def _boot(self, cause: int) -> None:
        self._uart_baud = CONSOLE_BAUD
        self._app = None
        if cause == bootlog.POWERON_RESET:
            try:
                (self._directory / "rtc.bin").write_bytes(self._random.randbytes(RTC_BYTES))
            except OSError as error:
                text = f"can't keep RTC memory in {self._directory}: {error.strerror}"
                self._host.failed(text, error)
                self._say(f"{text}; start the board again")
                return
        boot = bootlog.boot(self._flash, cause, self.profile.revision)
        self._boot_lines.extend(boot.lines)
        self._play(boot, cause, self._loop.time())

    def _play(self, boot: Boot, cause: int, started: float) -> None:
        """Print the lines that are due and schedule the rest."""
        due_s = self._loop.time() - started + _GRAIN_S
        texts = []
        while self._boot_lines and self._host_seconds(self._boot_lines[0].at_ms) <= due_s:
            texts.append(self._boot_lines.popleft().text)
        if texts:
            self._transmit(bootlog.encode_lines(texts))
        next_ms = self._boot_lines[0].at_ms if self._boot_lines else boot.end_ms
        wait_s = self._host_seconds(next_ms) - (self._loop.time() - started)
        if self._boot_lines:
            self._after(max(wait_s, 0.0), lambda: self._play(boot, cause, started))
        else:
            self._after(max(wait_s, 0.0), lambda: self._booted(boot, cause))

    def _host_seconds(self, virtual_ms: float) -> float:
        scale = self._time_scale
        return virtual_ms / 1000.0 / scale if scale > 0 else 0.0

    def _booted(self, boot: Boot, cause: int) -> None:
        outcome = boot.outcome
        if isinstance(outcome, RunApp):
            self._run(outcome, cause, int(boot.end_ms * 1000))
        elif isinstance(outcome, bootlog.Restart):
            self._restart(outcome.cause, self._host_seconds(outcome.after_ms))

    def _restart(self, cause: int, at_least_s: float = 0.0) -> None:
        """Handle a reset by the chip itself; a boot loop is slowed down to spare the host's CPU."""
        pause_s = _RESTART_PAUSE_S[min(self._restarts, len(_RESTART_PAUSE_S) - 1)]
        self._restarts += 1
        self._after(max(pause_s, at_least_s), lambda: self._boot(cause))

    # The firmware

    def _run(self, app: RunApp, cause: int, start_us: int) -> None:
        self._app = app.descriptor
        elf = image.unpack_elf(app.segment0)
        if elf is None or app.descriptor is None:
            self._say(
                f"the app at {app.offset:#x} is not a host build and can't run here; flash firmware/build-native"
            )
            return
        program = Program.load(elf)
        if not is_registered(program.sha256, self._options.registry):
            self._say(
                f"the app's ELF {program.sha256} was not built by this checkout and is not run; "
                "run make native here and flash the result"
            )
            return
        profile = self.profile
        if self.faults.is_in_force("no-psram"):
            profile = replace(profile, psram_mb=0)
        parameters = StartParameters(
            profile=profile,
            mac=self.mac,
            flash_file=self._flash.path,
            rtc_file=self._directory / "rtc.bin",
            rom_cause=cause,
            start_us=start_us,
            seed=self._random.getrandbits(32),
            time_scale=self._time_scale,
            paced=self._options.paced,
            elf_sha256=app.descriptor.elf_sha256,
            app_offset=app.offset,
            faults=tuple(self.faults.start_lines(self._sensor_used)),
        )
        self._sensor_used = True
        params_file = self._directory / "params.txt"
        try:
            self._process = FirmwareProcess(program, params_file, parameters, self._transmit, self._exited)
        except (BenchError, OSError) as error:
            self._host.failed(str(error), error if isinstance(error, OSError) else error.__cause__)
            self._say(str(error))
            return
        self._started_at = self._loop.time()
        if self._output_paused:
            self._process.pause()

    def _exited(self, status: int, diagnostic: str) -> None:
        self._process = None
        self.faults.chip_stopped()
        if self._loop.time() - self._started_at >= _LONG_RUN_S:
            self._restarts = 0
        cause = status - RESET_STATUS
        if cause == bootlog.POWERON_RESET:  # the fault cuts power where the firmware would have panicked
            self.cut_power(self.faults.panic_off_s)
            return
        if cause in bootlog.RESET_NAMES:
            self._restart(cause)
            return
        self._crashed = True
        self._host.process_ended(status)
        hint = f": {diagnostic}" if diagnostic else ""
        self._say(
            f"the host runtime of the firmware failed with {describe_exit(status)}{hint}; reset to continue"
        )
