"""The server side of RFC 2217: a serial port on a TCP socket, one client at a time.

Every request is answered immediately and in order, because clients poll for the replies. Bytes are forwarded in
both directions as they arrive, without buffering.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import Callable
from typing import Protocol

from hotpin_hil.errors import UsageError
from hotpin_hil.virtual.accepting import accept
from hotpin_hil.virtual.process import report

IAC, DONT, DO, WONT, WILL, SB, SE = 255, 254, 253, 252, 251, 250, 240
BINARY, SUPPRESS_GO_AHEAD, COM_PORT = 0, 3, 44
_OFFERED = (BINARY, SUPPRESS_GO_AHEAD, COM_PORT)

SIGNATURE, SET_BAUDRATE, SET_DATASIZE, SET_PARITY, SET_STOPSIZE, SET_CONTROL = 0, 1, 2, 3, 4, 5
NOTIFY_MODEMSTATE, FLOWCONTROL_SUSPEND, FLOWCONTROL_RESUME = 7, 8, 9
SET_LINESTATE_MASK, SET_MODEMSTATE_MASK, PURGE_DATA = 10, 11, 12
_SERVER = 100  # added to a command's code in the server's reply
_DTR_ON, _DTR_OFF, _RTS_ON, _RTS_OFF = 8, 9, 11, 12
_MODEM_STATE = 0xB0  # carrier, DSR and CTS are set, like in a USB adapter that does not wire them

_MAX_SUBNEGOTIATION = 256
_PAUSE_AT = 64 * 1024
_DROP_AT = 1024 * 1024
_CLOSE_AT = 2 * _DROP_AT
"""Backlog in bytes at which the connection is closed. Above `_DROP_AT` it grows only by unread answers."""
_RECEIVE = 64 * 1024


class SerialPort(Protocol):
    """The server's calls to the board behind the port."""

    def opened(self) -> None: ...
    def closed(self) -> None: ...
    def received(self, data: bytes) -> None: ...
    def set_lines(self, dtr: bool, rts: bool) -> None: ...
    def set_baud(self, baud: int) -> None: ...
    def pause_output(self) -> None: ...
    def resume_output(self) -> None: ...


class LoopbackPort:
    """A port number of 127.0.0.1 reserved for one board until `close`, whether or not a server listens on it."""

    def __init__(self, number: int = 0) -> None:
        """Reserve port `number`; 0 means any free port. Raises UsageError if it is not available."""
        with contextlib.ExitStack() as stack:
            try:
                holder = stack.enter_context(_loopback_socket(number))
                self.number: int = holder.getsockname()[1]
                # A board with a client does not listen, and at that time the kernel lets other processes bind its
                # number.
                claim = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
                claim.bind(f"\0hotpin-virtual-board-{self.number}")
            except OSError as error:
                raise _port_error(number, error) from error
            self._sockets = stack.pop_all()

    def close(self) -> None:
        """Release the port number; does nothing if called again."""
        self._sockets.close()


class Server:
    """Serial port server on a loopback port, for the life of the board.

    It does not listen while a client is connected, so that a second client is refused immediately.
    """

    def __init__(self, port: SerialPort, signature: str, address: LoopbackPort) -> None:
        self._port = port
        self._signature = signature.encode()
        self._loop = asyncio.get_running_loop()
        self._address = address
        self._listener: socket.socket | None = None
        self._connection: Connection | None = None
        self._refusing = False
        self._hung = False
        self._listen()

    @property
    def number(self) -> int:
        """The TCP port number."""
        return self._address.number

    @property
    def connected(self) -> bool:
        """Whether a client is attached."""
        return self._connection is not None

    def send(self, data: bytes) -> None:
        """Send bytes from the chip; they are lost without a client, as on a real wire."""
        if self._connection is not None:
            self._connection.send(data)

    def drop_client(self) -> None:
        """Close the connection from the board's side."""
        if self._connection is not None:
            self._connection.close()

    def refuse(self, refusing: bool) -> None:
        """Refuse new clients as if the port were in use, or accept them again."""
        self._refusing = refusing
        if refusing:
            self._stop_listening()
        elif self._connection is None:
            self._listen()

    def hold_input(self, held: bool) -> None:
        """Stop reading the client's bytes, which then wait in the socket, or resume reading."""
        if self._connection is not None:
            self._connection.hold_input(held)

    def hang(self, hung: bool) -> None:
        """Stop all data in both directions, or let it pass again; clients may still connect and disconnect."""
        self._hung = hung
        if self._connection is not None:
            self._connection.hung = hung

    def close(self) -> None:
        """Disconnect the client without notifying the board, and release the port number."""
        self._stop_listening()
        if self._connection is not None:
            connection, self._connection = self._connection, None
            connection.discard()
        self._address.close()

    def _listen(self) -> None:
        if self._refusing or self._listener is not None:
            return
        self._listener = _loopback_socket(self.number)
        self._listener.listen(1)
        self._loop.add_reader(self._listener, self._accept)

    def _stop_listening(self) -> None:
        if self._listener is not None:
            self._loop.remove_reader(self._listener)
            self._listener.close()
            self._listener = None

    def _accept(self) -> None:
        assert self._listener is not None
        client = accept(self._listener, self._accept)
        if client is None:
            return
        self._stop_listening()
        self._connection = Connection(client, self._port, self._signature, self._lost)
        self._connection.hung = self._hung
        self._port.opened()
        self._connection.start()

    def _lost(self) -> None:
        self._connection = None
        self._listen()
        self._port.closed()


class Connection:
    """One client: receives telnet and RFC 2217 commands, and sends the chip's bytes."""

    def __init__(
        self, client: socket.socket, port: SerialPort, signature: bytes, lost: Callable[[], None]
    ) -> None:
        self._socket = client
        self._port = port
        self._signature = signature
        self._lost = lost
        self._loop = asyncio.get_running_loop()
        self._closed = False
        self.hung = False
        """Whether the bridge hangs; bytes from both sides are lost."""
        self._pending = bytearray()
        self._paused = False
        self._suspended = False
        self._held = False
        self._said_will: set[int] = set()
        self._said_do: set[int] = set()
        self._settings = {
            SET_BAUDRATE: bytes(4),
            SET_DATASIZE: b"\x08",
            SET_PARITY: b"\x01",
            SET_STOPSIZE: b"\x01",
        }
        self._dtr = self._rts = False
        # Parser state: `_command` is the telnet command that waits for its option byte.
        self._after_iac = False
        self._command: int | None = None
        self._subnegotiation: bytearray | None = None
        client.setblocking(False)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def start(self) -> None:
        """Offer the options and start reading."""
        for option in (BINARY, COM_PORT):
            self._will(option)
            self._do(option)
        self._loop.add_reader(self._socket, self._readable)

    def send(self, data: bytes) -> None:
        """Send data bytes to the client; bytes beyond a backlog of one megabyte are lost."""
        if len(self._pending) < _DROP_AT:
            self._write(data.replace(b"\xff", b"\xff\xff"))

    def hold_input(self, held: bool) -> None:
        """Stop or resume reading."""
        if held == self._held or self._closed:
            return
        self._held = held
        if held:
            self._loop.remove_reader(self._socket)
        else:
            self._loop.add_reader(self._socket, self._readable)

    def close(self) -> None:
        """End the connection and notify the server."""
        if not self._closed:
            self.discard()
            self._lost()

    def discard(self) -> None:
        """End the connection without notifying the server."""
        if not self._closed:
            self._closed = True
            self._loop.remove_reader(self._socket)
            self._loop.remove_writer(self._socket)
            self._socket.close()

    # Output

    def _reply(self, data: bytes) -> None:
        """Send an answer; ends the connection of a client that does not read its answers."""
        if len(self._pending) < _CLOSE_AT:
            self._write(data)
        elif not self._closed:
            report(
                f"{self._signature.decode()}: connection closed, because the client has left "
                f"{len(self._pending)} bytes unread"
            )
            self.close()

    def _write(self, data: bytes) -> None:
        if self._closed or self.hung:
            return
        if not self._pending and not self._suspended:
            try:
                sent = self._socket.send(data)
            except (BlockingIOError, InterruptedError):
                sent = 0
            except OSError:
                return  # the reader also sees the error and closes
            if sent == len(data):
                return
            data = data[sent:]
            self._loop.add_writer(self._socket, self._writable)
        self._pending += data  # a writer is waiting, or the client has suspended the flow
        if len(self._pending) >= _PAUSE_AT and not self._paused:
            self._paused = True
            self._port.pause_output()

    def _writable(self) -> None:
        try:
            sent = self._socket.send(self._pending)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self._loop.remove_writer(self._socket)
            return
        del self._pending[:sent]
        if not self._pending:
            self._loop.remove_writer(self._socket)
            if self._paused:
                self._paused = False
                self._port.resume_output()

    # Input

    def _readable(self) -> None:
        try:
            data = self._socket.recv(_RECEIVE)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:
            self.close()
        elif not self.hung:
            self._parse(data)

    def _parse(self, data: bytes) -> None:
        at = 0
        while at < len(data) and not self._closed:
            if self._command is not None:
                command, self._command = self._command, None
                self._negotiate(command, data[at])
                at += 1
            elif self._after_iac:
                self._after_iac = False
                self._telnet(data[at])
                at += 1
            else:
                end = data.find(IAC, at)
                stop = len(data) if end < 0 else end
                if stop > at:
                    self._content(data[at:stop])
                self._after_iac = end >= 0
                at = stop + 1

    def _content(self, data: bytes) -> None:
        if self._subnegotiation is None:
            self._port.received(data)
        elif len(self._subnegotiation) + len(data) <= _MAX_SUBNEGOTIATION:
            self._subnegotiation += data

    def _telnet(self, byte: int) -> None:
        if byte == IAC:
            self._content(b"\xff")
        elif byte == SB:
            self._subnegotiation = bytearray()
        elif byte == SE:
            content, self._subnegotiation = self._subnegotiation, None
            if content is not None and len(content) >= 2 and content[0] == COM_PORT:
                self._com_port(content[1], bytes(content[2:]))
        elif byte in (DO, DONT, WILL, WONT):
            self._command = byte

    def _negotiate(self, command: int, option: int) -> None:
        if command == DO:
            self._will(option) if option in _OFFERED else self._answer(WONT, option)
        elif command == WILL:
            self._do(option) if option in _OFFERED else self._answer(DONT, option)
        elif command == DONT and option in self._said_will:
            self._said_will.discard(option)
            self._answer(WONT, option)
        elif command == WONT and option in self._said_do:
            self._said_do.discard(option)
            self._answer(DONT, option)

    def _will(self, option: int) -> None:
        if option not in self._said_will:
            self._said_will.add(option)
            self._answer(WILL, option)

    def _do(self, option: int) -> None:
        if option not in self._said_do:
            self._said_do.add(option)
            self._answer(DO, option)

    def _answer(self, command: int, option: int) -> None:
        self._reply(bytes([IAC, command, option]))

    def _com_port(self, command: int, value: bytes) -> None:
        if command == SIGNATURE:
            if not value:
                self._com_port_answer(command, self._signature)
        elif command in self._settings:
            self._set(command, value)
        elif command == SET_CONTROL and value:
            self._com_port_answer(command, bytes([self._control(value[0])]))
        elif command == NOTIFY_MODEMSTATE:
            self._com_port_answer(command, bytes([_MODEM_STATE]))
        elif command == FLOWCONTROL_SUSPEND:
            self._suspended = True
            self._loop.remove_writer(self._socket)
        elif command == FLOWCONTROL_RESUME:
            self._suspended = False
            if self._pending:
                self._loop.add_writer(self._socket, self._writable)
        elif command in (SET_LINESTATE_MASK, SET_MODEMSTATE_MASK) and value:
            self._com_port_answer(command, value)
            if command == SET_MODEMSTATE_MASK:
                self._com_port_answer(NOTIFY_MODEMSTATE, bytes([_MODEM_STATE & value[0]]))
        elif command == PURGE_DATA and value:
            # Nothing to purge: bytes from the chip precede this reply, and clients discard everything before it.
            self._com_port_answer(command, value)

    def _set(self, command: int, value: bytes) -> None:
        """Apply a port setting; zero requests the current one."""
        if len(value) == len(self._settings[command]) and any(value):
            self._settings[command] = value
            if command == SET_BAUDRATE:
                self._port.set_baud(int.from_bytes(value, "big"))
        self._com_port_answer(command, self._settings[command])

    def _control(self, code: int) -> int:
        """Apply a control request; returns the new state in the request's own codes."""
        if code in (_DTR_ON, _DTR_OFF):
            self._dtr = code == _DTR_ON
            self._port.set_lines(self._dtr, self._rts)
        elif code in (_RTS_ON, _RTS_OFF):
            self._rts = code == _RTS_ON
            self._port.set_lines(self._dtr, self._rts)
        queries = {
            0: 1,  # no flow control
            4: 6,  # no break
            7: _DTR_ON if self._dtr else _DTR_OFF,
            10: _RTS_ON if self._rts else _RTS_OFF,
            13: 14,  # no inbound flow control
        }
        return queries.get(code, code)

    def _com_port_answer(self, command: int, value: bytes) -> None:
        body = bytes([COM_PORT, command + _SERVER]) + value.replace(b"\xff", b"\xff\xff")
        self._reply(bytes([IAC, SB]) + body + bytes([IAC, SE]))


def _port_error(number: int, error: OSError) -> UsageError:
    if error.errno == errno.EADDRINUSE:
        return UsageError(f"port {number} is in use", "give --port another number, or leave it out")
    return UsageError(f"port {number} cannot be used: {error.strerror}", "give --port a number from 1024 up")


def _loopback_socket(number: int) -> socket.socket:
    """A socket bound to a port of 127.0.0.1 (0: any free port); several sockets may be bound to the same port."""
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(("127.0.0.1", number))
        bound.setblocking(False)
    except BaseException:
        bound.close()
        raise
    return bound
