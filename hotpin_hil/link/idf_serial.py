"""pytest-embedded's serial service for ESP-IDF boards, without its waits.

`HilIdfSerial` replaces pytest-embedded's `IdfSerial` and keeps its methods. Differences:

- one blocking reader thread instead of a 50 ms poll; bytes reach `channel` before pytest-embedded's queue;
- download mode is entered only to flash or erase; a set-up with nothing to flash needs only one reset;
- flash contents that are already up to date are not written again, in this run or the next;
- after flashing the board is reset once, with the console's baud rate set;
- a lost port ends the channel with a PortError; there is no silent reconnect.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any, ClassVar

import esptool
from esptool.targets import CHIP_DEFS
from pytest_embedded_idf.serial import IdfSerial
from pytest_embedded_serial.serial import Serial

from hotpin_hil.errors import BuildError, FlashError, PortError, UsageError, host_remedy
from hotpin_hil.link.channel import Channel
from hotpin_hil.link.port import is_network, open_port, port_error
from hotpin_hil.link.port_reader import PortReader

CONNECT_ATTEMPTS = 3
EN_LOW_S = 0.1
"""Reset pulse, as in esptool: EN needs about 5 ms; the longer pulse also covers bytes that are still
buffered in a USB bridge."""
EN_LOW_NETWORK_S = 0.02
"""Reset pulse on a network port: the server acknowledges each edge."""

_FLASH_REMEDY = "check cable and power; let nothing pull GPIO2 or GPIO12 high while flashing; then run again"


def _hex(data: bytes, auto_split: bool = True) -> str:
    """Bytes in esptool's trace, on one line."""
    return data.hex(" ")


# esptool formats every packet for its trace, even while the trace is off. Its own formatter took a tenth of a run's
# CPU time.
esptool.loader.HexFormatter = _hex


class HilIdfSerial(IdfSerial):  # type: ignore[misc]  # pytest-embedded is not typed
    """One board's port for one test; `channel` reads and writes the port."""

    _flashed: ClassVar[dict[str, str]] = {}
    """Port -> fingerprint of the image that this process last flashed there."""

    power_cycle: ClassVar[Callable[[], bool] | None] = None
    """Hook that power-cycles a chip that does not enter download mode; returns whether it switched the power. The
    port is closed during the call."""

    channel: Channel

    def __init__(
        self,
        *,
        app: Any,
        msg_queue: Any,
        port: str | None = None,
        target: str | None = None,
        beta_target: str | None = None,
        baud: int = IdfSerial.DEFAULT_BAUDRATE,
        esptool_baud: int = IdfSerial.ESPTOOL_DEFAULT_BAUDRATE,
        esp_flash_force: bool = False,
        skip_autoflash: bool = False,
        erase_all: bool = False,
        erase_nvs: bool = False,
        confirm_target_elf_sha256: bool = False,
        meta: Any = None,
        port_mac: str | None = None,
        pexpect_proc: Any = None,
        **kwargs: Any,
    ) -> None:
        if port_mac is not None:
            raise UsageError(
                "--port-mac does not work with this esptool", "choose the board with --board-mac"
            )
        if port is None:
            raise PortError("no serial port given", "name it with --port, or choose a board with --board")
        self.app = app
        self.target = beta_target or target or app.target
        if app.target != self.target:
            raise BuildError(
                f"{app.binary_path} is built for {app.target}, not {self.target}",
                f"build it for {self.target} (idf.py set-target {self.target})",
            )
        self.esptool_baud = esptool_baud
        self.esp_flash_force = esp_flash_force
        self.skip_autoflash = skip_autoflash
        self.erase_all = erase_all
        self.erase_nvs = erase_nvs
        self.confirm_target_elf_sha256 = confirm_target_elf_sha256
        connection = open_port(port, baud)
        self.channel = Channel(connection.write, name=port)
        try:
            self.esp = CHIP_DEFS[self.target](connection, baud)
            # Skip the constructors of IdfSerial and EspSerial, which enter download mode for every test.
            Serial.__init__(self, msg_queue, port=connection, baud=baud, meta=meta, **kwargs)
        except BaseException:
            connection.close()
            raise

    # --- set-up ---

    def _post_init(self) -> None:
        if self._meta:
            self._meta.set_port_target_cache(self.port, self.target)
        if self.erase_all:
            self.erase_flash()

    def _start(self) -> None:
        on_chip = self._flashed.get(self.port) == fingerprint(self.app) and not self.confirm_target_elf_sha256
        if on_chip or (self.skip_autoflash and not self.erase_all):
            self.hard_reset()
        else:
            self.flash()

    def hard_reset(self) -> None:
        """Reset the chip through EN. If no reader is running, as in set-up, pending bytes are dropped first."""
        self.channel.announce_reset()
        try:
            self.proc.dtr = False
            self.proc.rts = True
            time.sleep(EN_LOW_NETWORK_S if is_network(self.port) else EN_LOW_S)
            if not self._reading():
                self.proc.reset_input_buffer()
            self.proc.rts = False
        except OSError as error:
            raise port_error(self.port, error) from error

    # --- flashing ---

    def forget_flashed(self) -> None:
        """Forget the known contents of the flash, so that the next set-up writes it."""
        self._flashed.pop(self.port, None)

    def flash(self, app: Any = None) -> None:
        """Write the flash files that changed, then reset. Raises FlashError, BuildError or PortError."""
        app = app or self.app
        files = flash_files(app)
        self.forget_flashed()
        with self.disable_redirect_thread():
            with self._boot_loader():
                if self.erase_nvs:
                    nvs = app.partition_table["nvs"]
                    self._esptool("erase-region", str(nvs["offset"]), str(nvs["size"]))
                    self.esp.connect(attempts=CONNECT_ATTEMPTS)
                # IDF still writes --flash_mode, which makes esptool 5 print a warning each time.
                settings = [
                    text.replace("_", "-") if text.startswith("--") else text
                    for text in (*app.flash_args["write_flash_args"], *self._force_flag(app))
                ]
                self._esptool("write-flash", *files, *settings, "--skip-flashed")
            self.hard_reset()
        self._flashed[self.port] = fingerprint(app)
        if self._meta:
            self._meta.set_port_app_cache(self.port, app)

    def _esptool(self, command: str, *arguments: str) -> None:
        # Staying in the stub saves a boot at the wrong baud rate; the caller resets.
        options = ["--baud", str(self.esptool_baud), "--after", "no-reset-stub"]
        run_esptool([*options, command, *arguments], self.esp)

    def read_flash(self, offset: int, size: int, path: Path) -> None:
        """Copy a part of the flash to a file, then reset the chip. Raises FlashError or PortError."""
        with self.disable_redirect_thread():
            with self._boot_loader():
                self._esptool("read-flash", hex(offset), hex(size), str(path))
            self.hard_reset()

    def erase_flash(self, force: bool = False) -> None:
        """Erase the whole flash and reset the chip. Its ROM then reports an invalid header."""
        self.forget_flashed()
        if self._meta and self.port in self._meta.port_app_cache:
            self._meta.drop_port_app_cache(self.port)
        forced = ["--force"] if force or self._force_flag() else []
        with self.disable_redirect_thread():
            with self._boot_loader():
                self._esptool("erase-flash", *forced)
            self.hard_reset()

    @contextmanager
    def _boot_loader(self) -> Iterator[None]:
        """Run the block in the ROM's download mode; restores the port's settings and converts esptool's errors."""
        settings = self.proc.get_settings()
        try:
            with redirect_stdout(self._q):
                self._connect()
                yield
        except SystemExit as error:  # click reports a bad argument like this
            raise FlashError(f"esptool refused its arguments: {error}", "see the log above") from error
        except esptool.FatalError as error:
            # The other lines only link to esptool's troubleshooting page.
            raise FlashError(f"{self.port}: {str(error).splitlines()[0]}", _FLASH_REMEDY) from error
        except OSError as error:
            raise port_error(self.port, error) from error
        finally:
            if self.proc.is_open:
                self.proc.apply_settings(settings)

    def _connect(self) -> None:
        """Enter download mode. If that fails and the board has a power switch, cycle the power and try once more."""
        try:
            self.esp.connect(attempts=CONNECT_ATTEMPTS)
        except (esptool.FatalError, OSError):
            cycle = type(self).power_cycle
            if cycle is None:
                raise
            self.proc.close()  # the USB bridge may also lose power
            is_cycled = cycle()
            self.proc.open()
            if not is_cycled:
                raise
            self.esp.connect(attempts=CONNECT_ATTEMPTS)

    # --- reading ---

    def _reading(self) -> bool:
        return self._redirect_thread is not None and self._redirect_thread.is_alive()

    def start_redirect_thread(self) -> None:
        if not self._reading():
            self.channel.announce_reset()  # the chip may have been reset while the port was not read
            self._redirect_thread = PortReader(self.proc, self._deliver, self._line_lost)
            self._redirect_thread.start()

    def _deliver(self, data: bytes) -> None:
        self.channel.feed(data)
        try:
            self._q.put(data)
        except (OSError, EOFError) as error:  # the queue's process ends before the port at the session's end
            logging.debug("console log of %s is closed: %s", self.port, error)
            if host_remedy(error):  # `dut.expect` reads the log, and would miss the rest
                self.channel.report_lost(
                    PortError(f"cannot write the console log: {error}", host_remedy(error))
                )

    def _line_lost(self, error: BaseException) -> None:
        self.channel.report_lost(port_error(self.port, error))

    @contextmanager
    def disable_redirect_thread(self, kill_port: bool = False) -> Iterator[bool]:
        """Stop the reader within the block (with `kill_port` also close the port); yields whether it was running."""
        was_reading = self.stop_redirect_thread()
        if kill_port:
            self.proc.close()
        try:
            yield was_reading
        finally:
            if kill_port:
                try:
                    self.proc.open()
                except OSError as error:
                    raise port_error(self.port, error) from error
            if was_reading:
                self.start_redirect_thread()

    def close(self) -> None:
        """Close the port and end the reader thread; waits on the channel then raise PortError."""
        super().close()
        self.channel.report_lost(
            PortError(f"{self.channel.name} was closed", "each test's port is closed at its end")
        )


def run_esptool(arguments: list[str], esp: Any) -> None:
    """Run one esptool command on a connected chip.

    esptool's command-line library turns Ctrl-C into an exit with status 1, which would look like a bad argument.

    Raises:
        FatalError: the command failed.
        SystemExit: an argument is bad.
    """
    try:
        esptool.main(arguments, esp=esp)
    except SystemExit as error:
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, KeyboardInterrupt):
                raise KeyboardInterrupt from error
            cause = cause.__context__
        raise


def flash_files(app: Any) -> list[str]:
    """Address and file arguments for `esptool write-flash`.

    Raises:
        BuildError: there is nothing to flash, or a file is missing.
    """
    if not app.flash_files or not app.flash_settings:
        raise BuildError(f"{app.binary_path} has nothing to flash", "build the firmware first")
    missing = [file.file_path for file in app.flash_files if not Path(file.file_path).is_file()]
    if missing:
        raise BuildError(f"{missing[0]} is missing from the build", "build the firmware again")
    plain = [file for file in app.flash_files if not file.encrypted]
    secret = [file for file in app.flash_files if file.encrypted]
    arguments = [text for file in plain for text in (hex(file.offset), str(file.file_path))]
    if secret:
        arguments.append("--encrypt-files" if plain else "--encrypt")
        arguments += [text for file in secret for text in (hex(file.offset), str(file.file_path))]
    return arguments


def fingerprint(app: Any) -> str:
    """SHA-256 of what flashing `app` writes: flash settings, offsets and file contents."""
    digest = hashlib.sha256(repr(app.flash_args.get("write_flash_args")).encode())
    for file in sorted(app.flash_files):
        digest.update(f"{file.offset:#x} {file.encrypted} ".encode())
        digest.update(Path(file.file_path).read_bytes() if Path(file.file_path).is_file() else b"missing")
    return digest.hexdigest()
