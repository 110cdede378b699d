"""A fast RFC 2217 client for pyserial's `rfc2217://` URLs.

pyserial's own client renegotiates the whole port on every assignment of `timeout` (esptool assigns it twice per
command) and polls for each acknowledgement in 50 ms steps. This client keeps pyserial's telnet and option code and
replaces only the waiting. It has no thread: a caller that needs data (a reader, or a writer that waits for
an acknowledgement) receives from the socket, and all other callers wait on one condition.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import struct
import threading
import time
from collections.abc import Callable
from typing import Any

from serial import rfc2217
from serial.serialutil import PortNotOpenError, SerialException, SerialTimeoutException, Timeout, to_bytes

CONNECT_S = 5.0
BUSY_RETRY_S = 0.5
"""Time for retries: a server that serves one client at a time needs a moment before it listens again."""
BUSY_RETRY_STEP_S = 0.01
RECV_BYTES = 65536

_SE, _SB, _IAC = rfc2217.SE[0], rfc2217.SB[0], rfc2217.IAC[0]
_NEGOTIATION = frozenset(b[0] for b in (rfc2217.WILL, rfc2217.WONT, rfc2217.DO, rfc2217.DONT))


class _Setting(rfc2217.TelnetSubnegotiation):  # type: ignore[misc]
    """A setting of the port.

    The server answers in the order of the requests. If the wait for an answer was interrupted, by Ctrl-C for example,
    that answer arrives later and must not count as the answer to the next request.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._unanswered = 0

    def set(self, value: bytes) -> None:
        self._unanswered += 1
        super().set(value)

    def check_answer(self, suboption: bytes) -> None:
        self._unanswered = max(0, self._unanswered - 1)
        if self._unanswered == 0 or suboption.startswith(self.value):
            super().check_answer(suboption)


class Serial(rfc2217.Serial):  # type: ignore[misc]  # pyserial is not typed
    """pyserial port on an RFC 2217 server; safe for one reading and one writing thread."""

    is_open = False  # so that close() is safe after a failed __init__

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._cond = threading.Condition()
        self._rx = bytearray()
        self._lost: SerialException | None = None
        self._pumping = False
        self._cancelled = False
        self._acknowledged: dict[str, bytes] = {}
        self._flow_control: bytes | None = None
        self._wakeup: tuple[socket.socket, socket.socket] | None = None
        self._selector: selectors.BaseSelector | None = None
        self._socket: Any = None
        super().__init__(*args, **kwargs)

    # --- opening and closing ---

    def open(self) -> None:
        """Connect, negotiate, and apply the settings and control lines.

        Raises:
            SerialException: the connection failed; the message names the port and the remedy.
        """
        if self._port is None:
            raise SerialException("Port must be configured before it can be used.")
        if self.is_open:
            raise SerialException("Port is already open.")
        self._ignore_set_control_answer = False
        self._poll_modem_state = False
        self._network_timeout = 3
        try:
            address = self.from_url(self.portstr)
        except TypeError:  # raised by pyserial for a missing port number
            raise SerialException(f"no port number in {self.portstr!r} (rfc2217://host:port)") from None
        self._socket = _connect(address, self.portstr)
        self._reset_state()
        self.is_open = True
        try:
            self._negotiate()
            self._reconfigure_port()
            # DTR (IO0) before RTS (EN): going from both released to both asserted, pyserial's default, in this
            # order never pulls EN low.
            if not self._dsrdtr:
                self._update_dtr_state()
            if not self._rtscts:
                self._update_rts_state()
            self.reset_input_buffer()
            self.reset_output_buffer()
        except BaseException:
            self.close()
            raise

    def _reset_state(self) -> None:
        self._rx.clear()
        self._lost = None
        self._cancelled = False
        self._acknowledged.clear()
        self._flow_control = None
        self._linestate = 0
        self._modemstate = None
        self._modemstate_timeout = Timeout(-1)
        self._remote_suspend_flow = False
        self._write_lock = threading.Lock()
        self._start_parser()
        self._wakeup = socket.socketpair()
        for end in self._wakeup:
            end.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._socket, selectors.EVENT_READ)
        self._selector.register(self._wakeup[0], selectors.EVENT_READ)

    def _negotiate(self) -> None:
        option, subnegotiation = rfc2217.TelnetOption, _Setting
        do, will = (
            (rfc2217.DO, rfc2217.DONT, rfc2217.WILL, rfc2217.WONT),
            (
                rfc2217.WILL,
                rfc2217.WONT,
                rfc2217.DO,
                rfc2217.DONT,
            ),
        )
        mandatory = [
            option(self, "we-BINARY", rfc2217.BINARY, *will, rfc2217.INACTIVE),
            option(self, "we-RFC2217", rfc2217.COM_PORT_OPTION, *will, rfc2217.REQUESTED),
        ]
        self._telnet_options = [
            option(self, "ECHO", rfc2217.ECHO, *do, rfc2217.REQUESTED),
            option(self, "we-SGA", rfc2217.SGA, *will, rfc2217.REQUESTED),
            option(self, "they-SGA", rfc2217.SGA, *do, rfc2217.REQUESTED),
            option(self, "they-BINARY", rfc2217.BINARY, *do, rfc2217.INACTIVE),
            option(self, "they-RFC2217", rfc2217.COM_PORT_OPTION, *do, rfc2217.REQUESTED),
            *mandatory,
        ]
        self._rfc2217_port_settings = {
            "baudrate": subnegotiation(self, "baudrate", rfc2217.SET_BAUDRATE, rfc2217.SERVER_SET_BAUDRATE),
            "datasize": subnegotiation(self, "datasize", rfc2217.SET_DATASIZE, rfc2217.SERVER_SET_DATASIZE),
            "parity": subnegotiation(self, "parity", rfc2217.SET_PARITY, rfc2217.SERVER_SET_PARITY),
            "stopsize": subnegotiation(self, "stopsize", rfc2217.SET_STOPSIZE, rfc2217.SERVER_SET_STOPSIZE),
        }
        self._rfc2217_options = {
            "purge": subnegotiation(self, "purge", rfc2217.PURGE_DATA, rfc2217.SERVER_PURGE_DATA),
            "control": subnegotiation(self, "control", rfc2217.SET_CONTROL, rfc2217.SERVER_SET_CONTROL),
            **self._rfc2217_port_settings,
        }
        for item in self._telnet_options:
            if item.state is rfc2217.REQUESTED:
                self.telnet_send_option(item.send_yes, item.option)
        # An RFC 2217 server activates every mandatory option that it does not refuse.
        agreed = self._wait(
            lambda: sum(o.active for o in mandatory) == sum(o.state != rfc2217.INACTIVE for o in mandatory),
            self._network_timeout,
        )
        if not agreed and not any(item.active for item in self._telnet_options) and not self._rx:
            raise SerialException(
                f"{self.portstr} accepts the connection but sends nothing (it serves another client, which "
                "esp_rfc2217_server does not report, or it hangs)"
            )
        if not agreed:
            raise SerialException(
                f"{self.portstr} answers but does not speak RFC 2217 (is it another program's port? "
                "a raw TCP serial server cannot reset the board)"
            )

    def close(self) -> None:
        """Close the connection; a waiting `read` returns immediately. May be called twice."""
        with self._cond:
            was_open, self.is_open = self.is_open, False
            self._cond.notify_all()
        if not was_open:
            return
        self._wake()
        with self._cond:
            # A thread blocked in the selector must leave it before the sockets are closed.
            while self._pumping:
                self._cond.wait()
            if self._selector is not None:
                self._selector.close()
            for end in self._wakeup or ():
                end.close()
            self._selector = self._wakeup = None
            with contextlib.suppress(OSError):  # the peer closed it first
                self._socket.shutdown(socket.SHUT_RDWR)
            self._socket.close()
            self._socket = None

    # --- settings ---

    def _reconfigure_port(self) -> None:
        """Send the settings that differ from those that the server acknowledged; a new timeout sends nothing."""
        if self._socket is None:
            raise SerialException("Can only operate on open ports")
        if not 0 < self._baudrate < 2**32:
            raise ValueError(f"invalid baudrate: {self._baudrate!r}")
        if self._rtscts and self._xonxoff:
            raise ValueError("xonxoff and rtscts together are not supported")
        self._socket.settimeout(self._write_timeout)  # receiving waits in the selector, never in recv
        wanted = {
            "baudrate": struct.pack("!I", self._baudrate),
            "datasize": struct.pack("!B", self._bytesize),
            "parity": struct.pack("!B", rfc2217.RFC2217_PARITY_MAP[self._parity]),
            "stopsize": struct.pack("!B", rfc2217.RFC2217_STOPBIT_MAP[self._stopbits]),
        }
        changed = {name: value for name, value in wanted.items() if self._acknowledged.get(name) != value}
        for name, value in changed.items():
            self._acknowledged.pop(name, None)
            self._rfc2217_port_settings[name].set(value)
        for name, value in changed.items():
            self._wait_for_option(self._rfc2217_port_settings[name])
            self._acknowledged[name] = value
        flow_control = (
            rfc2217.SET_CONTROL_USE_HW_FLOW_CONTROL
            if self._rtscts
            else rfc2217.SET_CONTROL_USE_SW_FLOW_CONTROL
            if self._xonxoff
            else rfc2217.SET_CONTROL_USE_NO_FLOW_CONTROL
        )
        if self._flow_control != flow_control:
            self.rfc2217_set_control(flow_control)
            self._flow_control = flow_control

    def rfc2217_set_control(self, value: bytes) -> None:
        item = self._rfc2217_options["control"]
        item.set(value)
        if not self._ignore_set_control_answer:
            self._wait_for_option(item)

    def rfc2217_send_purge(self, value: bytes) -> None:
        item = self._rfc2217_options["purge"]
        item.set(value)
        self._wait_for_option(item)

    def _wait_for_option(self, item: Any) -> None:
        def answered() -> bool:
            return bool(item.state in (rfc2217.ACTIVE, rfc2217.REALLY_INACTIVE))

        if not self._wait(answered, self._network_timeout):
            raise SerialException(
                f"{self.portstr} did not acknowledge '{item.name}' within {self._network_timeout} s "
                "(the board's server hangs, or add ?ign_set_control if it never acknowledges line changes)"
            )
        if item.state == rfc2217.REALLY_INACTIVE:
            raise SerialException(f"{self.portstr} refused {item.name} = {item.value.hex()} (hex)")

    def get_modem_state(self) -> int:
        """Modem status lines as the server last sent them.

        With ?poll_modem they are requested again first if the last answer has expired.
        """
        if self._poll_modem_state and self._modemstate_timeout.expired():
            self.rfc2217_send_subnegotiation(rfc2217.NOTIFY_MODEMSTATE)
            self._wait(lambda: not self._modemstate_timeout.expired(), self._network_timeout)
        else:
            self._wait(lambda: False, 0)
        if self._modemstate is None:
            raise SerialException("remote sends no NOTIFY_MODEMSTATE")
        return int(self._modemstate)

    # --- data ---

    @property
    def in_waiting(self) -> int:
        """Bytes that `read` would return without waiting."""
        try:
            self._wait(lambda: False, 0)
        except SerialException:
            if not self._rx:
                raise
        return len(self._rx)

    def read(self, size: int = 1) -> bytes:
        """Read `size` bytes; returns fewer after the timeout, `cancel_read` or close."""
        if not self.is_open:
            raise PortNotOpenError()
        try:
            self._wait(lambda: len(self._rx) >= size or self._cancelled, self._timeout)
        except PortNotOpenError:
            return b""  # closed while waiting: empty, as from pyserial's other ports
        except SerialException:
            if not self._rx:  # bytes from before the loss are still valid
                raise
        with self._cond:
            self._cancelled = False
            data = bytes(self._rx[:size])
            del self._rx[:size]
        return data

    def cancel_read(self) -> None:
        """Make the waiting `read` return immediately, or the next `read` if none is waiting."""
        with self._cond:
            self._cancelled = True
            self._cond.notify_all()
        self._wake()

    def write(self, data: Any) -> int:
        if not self.is_open:
            raise PortNotOpenError()
        self._internal_raw_write(to_bytes(data).replace(rfc2217.IAC, rfc2217.IAC_DOUBLED))
        return len(data)

    def reset_input_buffer(self) -> None:
        """Drop all data received so far, in this client and at the server."""
        if not self.is_open:
            raise PortNotOpenError()
        self.rfc2217_send_purge(rfc2217.PURGE_RECEIVE_BUFFER)
        # The acknowledgement follows the old bytes in the stream, so all of them have arrived.
        with self._cond:
            self._rx.clear()

    def _internal_raw_write(self, data: bytes) -> None:
        with self._write_lock:
            try:
                self._socket.sendall(data)
            except TimeoutError:
                raise SerialTimeoutException(
                    f"{self.portstr}: nothing could be written for {self._write_timeout} s "
                    "(the board's server hangs)"
                ) from None
            except (OSError, AttributeError) as error:
                raise SerialException(
                    f"{self.portstr} was lost while writing: {error} (is the board's server still running?)"
                ) from error

    # --- waiting ---

    def _wake(self) -> None:
        try:
            if self._wakeup is not None:
                self._wakeup[1].send(b"\0")
        except OSError:
            pass  # full: already awake; closed: no thread waits

    def _wait(self, done: Callable[[], bool], timeout: float | None) -> bool:
        """Process the server's data until `done()`; returns False after `timeout` seconds (None: no timeout).

        `done` is called with the lock held. A timeout of 0 processes only data that has already arrived.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        drained = False
        with self._cond:
            while not done():
                if self._lost is not None:
                    raise SerialException(str(self._lost))
                if not self.is_open:
                    raise PortNotOpenError()
                remaining = None if deadline is None else deadline - time.monotonic()
                if remaining is not None and remaining <= 0:
                    if drained or self._pumping:
                        return False
                    remaining = 0
                if self._pumping:
                    self._cond.wait(remaining)
                else:
                    drained = not self._pump(remaining)
            return True

    def _pump(self, timeout: float | None) -> bool:
        """Receive one chunk from the socket. The caller holds the lock; it is released during the wait."""
        self._pumping = True
        self._cond.release()
        data: bytes | None = None
        error = "the server closed the connection"
        try:
            ready = {key.fileobj for key, _ in self._selector.select(timeout)}  # type: ignore[union-attr]
            if self._wakeup[0] in ready:  # type: ignore[index]
                self._wakeup[0].recv(RECV_BYTES)  # type: ignore[index]
            if self._socket in ready:
                data = self._socket.recv(RECV_BYTES)
        except OSError as failure:
            data, error = b"", str(failure)
        finally:
            self._cond.acquire()
            self._pumping = False
            if data:
                self._parse(data)
            elif data == b"":
                self._lost = SerialException(
                    f"{self.portstr} was lost: {error} "
                    "(the board's server stopped, or the board was unplugged)"
                )
            self._cond.notify_all()
        return bool(data)

    def _start_parser(self) -> None:
        self._parser = _telnet_parser(self)
        next(self._parser)

    def _parse(self, data: bytes) -> None:
        try:
            self._parser.send(data)
        except (
            BaseException
        ):  # such as Ctrl-C; an exception ends a generator, and the clean-up needs a parser
            self._start_parser()
            raise


def _connect(address: tuple[str, int], url: str) -> socket.socket:
    deadline = time.monotonic() + BUSY_RETRY_S
    while True:
        try:
            connection = socket.create_connection(address, timeout=CONNECT_S)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return connection
        except ConnectionRefusedError as error:
            if time.monotonic() >= deadline:
                raise SerialException(
                    f"Could not open {url}: connection refused (no board server listens there, "
                    "or another program has the port: close it, or start the board)"
                ) from error
            time.sleep(BUSY_RETRY_STEP_S)
        except OSError as error:
            raise SerialException(f"Could not open {url}: {error} (check host and port)") from error


def _telnet_parser(port: Serial) -> Any:
    """Coroutine that unescapes each chunk sent to it into `port._rx`, and passes commands to pyserial's handlers."""
    suboption: bytearray | None = None
    pending = b""
    while True:
        chunk = yield
        data, pending = pending + chunk, b""
        start = 0
        while start < len(data):
            iac = data.find(_IAC, start)
            end = len(data) if iac < 0 else iac
            (port._rx if suboption is None else suboption).extend(data[start:end])
            start = end
            if iac < 0:
                break
            command = data[iac + 1 : iac + 2]
            if not command or (command[0] in _NEGOTIATION and len(data) < iac + 3):
                pending = data[iac:]  # the rest of the command comes with the next chunk
                break
            start = iac + 2
            if command[0] == _IAC:
                (port._rx if suboption is None else suboption).append(_IAC)
            elif command[0] == _SB:
                suboption = bytearray()
            elif command[0] == _SE:
                port._telnet_process_subnegotiation(bytes(suboption or b""))
                suboption = None
            elif command[0] in _NEGOTIATION:
                start = iac + 3
                port._telnet_negotiate_option(command, data[iac + 2 : iac + 3])
            else:
                port._telnet_process_command(command)
