"""Tests the RFC 2217 client against pyserial's own server side."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import serial
from serial import rfc2217

from hotpin_hil.errors import PortError
from hotpin_hil.link.port import open_port, register_handlers
from hotpin_hil.link.port_reader import PortReader
from hotpin_hil.link.serial_handlers.protocol_rfc2217 import Serial, _connect, _Setting, _telnet_parser
from tests.support.rfc2217_server import Rfc2217Server


@pytest.fixture
def server() -> Iterator[Rfc2217Server]:
    server = Rfc2217Server()
    threads = threading.active_count()
    yield server
    server.close()
    assert threading.active_count() < threads + 1, "a thread is still running"


@pytest.fixture
def no_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes every sleep fail: an answer must wake the harness's client at once. pyserial's client sleeps for 50 ms at a
    time."""

    def fail(seconds: float) -> None:
        raise AssertionError(f"slept {seconds} s")

    monkeypatch.setattr(rfc2217, "time", SimpleNamespace(sleep=fail, time=time.time))


@pytest.fixture
def client(server: Rfc2217Server) -> Iterator[Any]:
    connection = open_port(server.url, 115200)
    yield connection
    connection.close()


def test_url_opens_with_this_client(client: Any) -> None:
    assert isinstance(client, Serial)
    register_handlers()
    assert serial.protocol_handler_packages.count("hotpin_hil.link.serial_handlers") == 1


def test_opens_with_lines_released_and_settings_sent_once(server: Rfc2217Server, client: Any) -> None:
    assert server.lines() == [("dtr", False), ("rts", False)]
    assert server.changes.count(("baudrate", 115200)) == 1


def test_timeout_and_unchanged_settings_send_nothing(server: Rfc2217Server, client: Any) -> None:
    before = list(server.changes)
    for timeout in (0.1, None, 3, 0):
        client.timeout = timeout
    client.baudrate = 115200
    client.apply_settings(client.get_settings())
    client.reset_input_buffer()  # when this is acknowledged, the server has processed everything sent earlier
    assert server.changes == [*before, ("purge", "rx")]


@pytest.mark.usefixtures("no_sleep")
def test_changed_settings_are_acknowledged_at_once(server: Rfc2217Server, client: Any) -> None:
    client.baudrate = 921600
    client.rts = True
    client.dtr = True
    client.rts = False
    assert server.changes[-4:] == [("baudrate", 921600), ("rts", True), ("dtr", True), ("rts", False)]


def test_answer_of_an_interrupted_change_is_no_refusal_of_the_next() -> None:
    """If Ctrl-C interrupts a change of the baud rate, the clean-up requests the former rate before the first answer has
    arrived."""
    connection = SimpleNamespace(rfc2217_send_subnegotiation=lambda option, value: None, logger=None)
    setting = _Setting(connection, "baudrate", rfc2217.SET_BAUDRATE, rfc2217.SERVER_SET_BAUDRATE)
    former, new, other = (rate.to_bytes(4, "big") for rate in (115200, 921600, 300))
    setting.set(new)
    setting.set(former)
    setting.check_answer(new)
    assert setting.state == rfc2217.REQUESTED
    setting.check_answer(former)
    assert setting.state == rfc2217.ACTIVE
    setting.set(new)
    setting.check_answer(other)
    assert setting.state == rfc2217.REALLY_INACTIVE


@pytest.mark.usefixtures("server")
def test_change_after_an_interrupted_one_works(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C comes while an answer is being parsed; the clean-up must still be able to restore the former rate."""

    def interrupt(suboption: bytes) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(client, "_telnet_process_subnegotiation", interrupt)
        with pytest.raises(KeyboardInterrupt):
            client.baudrate = 921600
    client.baudrate = 115200
    assert client.baudrate == 115200


def test_every_byte_value_passes_both_ways(server: Rfc2217Server) -> None:
    got = bytearray()
    everything = bytes(range(256)) * 5 + b"\xff\xff\xff"
    complete = threading.Event()

    def received(data: bytes) -> None:
        got.extend(data)
        if len(got) >= len(everything):
            complete.set()

    server.received = received
    port = open_port(server.url, 115200)
    port.write(everything)
    assert complete.wait(5)
    assert bytes(got) == everything
    for start in range(0, len(everything), 7):  # the chunk size splits telnet commands
        server.send(everything[start : start + 7])
    port.timeout = 5
    assert port.read(len(everything)) == everything
    port.close()


@pytest.mark.usefixtures("no_sleep")
def test_read_returns_as_soon_as_bytes_arrive(server: Rfc2217Server, client: Any) -> None:
    client.timeout = 10
    timer = threading.Timer(0.05, server.send, [b"abc"])
    began = time.monotonic()
    timer.start()
    assert client.read(3) == b"abc"
    assert time.monotonic() - began < 10, "the client waited for the timeout"
    timer.join()


def test_read_returns_the_received_bytes_at_its_timeout(server: Rfc2217Server, client: Any) -> None:
    server.send(b"ab")
    client.timeout = 0.05
    assert client.read(10) == b"ab"
    assert client.read(10) == b""
    client.timeout = 0
    assert client.read(1) == b""


def test_reset_input_buffer_drops_earlier_input(server: Rfc2217Server, client: Any) -> None:
    server.send(b"old")
    client.reset_input_buffer()
    assert client.in_waiting == 0
    server.send(b"new")
    client.timeout = 5
    assert client.read(3) == b"new"


@pytest.mark.usefixtures("no_sleep")
def test_line_changes_work_while_another_thread_reads(server: Rfc2217Server, client: Any) -> None:
    got: list[bytes] = []
    reader = PortReader(client, got.append, lambda error: None)
    reader.start()
    for _ in range(20):
        client.rts = not client.rts
    server.send(b"x")
    reader.terminate()
    assert b"".join(got) == b"x"


def test_cancelled_read_leaves_nothing_behind(server: Rfc2217Server, client: Any) -> None:
    for _ in range(50):
        got: list[bytes] = []
        reader = PortReader(client, got.append, lambda error: None)
        reader.start()
        reader.terminate()
        assert not reader.is_alive()
    server.send(b"abc")
    client.timeout = 5
    assert client.read(3) == b"abc", "an earlier cancellation ended this read"


def test_cancellation_during_delivery_does_not_end_the_next_read(server: Rfc2217Server, client: Any) -> None:
    delivering, go_on = threading.Event(), threading.Event()

    def deliver(data: bytes) -> None:
        delivering.set()
        go_on.wait(5)

    reader = PortReader(client, deliver, lambda error: None)
    reader.start()
    server.send(b"x")
    assert delivering.wait(5)
    timer = threading.Timer(0.02, go_on.set)
    timer.start()
    reader.terminate()
    timer.join()
    threading.Timer(0.02, server.send, [b"abc"]).start()
    client.timeout = 5
    assert client.read(3) == b"abc"


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
def test_telnet_commands_are_understood_in_any_chunking(size: int) -> None:
    seen: list[Any] = []
    port = SimpleNamespace(
        _rx=bytearray(),
        _telnet_process_subnegotiation=lambda data: seen.append(("sub", data)),
        _telnet_negotiate_option=lambda command, option: seen.append((command, option)),
        _telnet_process_command=seen.append,
    )
    stream = b"a\xff\xffb\xff\xfa\x2c\x65\xff\xff\x01\xff\xf0c\xff\xfb\xff\xff\xf1\xff\xff"
    parser = _telnet_parser(port)  # type: ignore[arg-type]
    next(parser)
    for start in range(0, len(stream), size):
        parser.send(stream[start : start + size])
    assert bytes(port._rx) == b"a\xffbc\xff"
    assert seen == [("sub", b"\x2c\x65\xff\x01"), (b"\xfb", b"\xff"), b"\xf1"]


def test_open_waits_for_a_server_that_listens_a_moment_later() -> None:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    timer = threading.Timer(0.1, listener.listen)
    timer.start()
    _connect(listener.getsockname(), "rfc2217://test").close()
    timer.join()
    listener.close()


def test_close_ends_a_waiting_read(server: Rfc2217Server, client: Any) -> None:
    client.timeout = None
    reader = threading.Thread(target=client.read)
    reader.start()
    client.close()
    reader.join(5)
    assert not reader.is_alive()
    client.close()  # closing twice is allowed


@pytest.mark.usefixtures("no_sleep")
def test_reopens_at_once_where_a_stock_client_waits(server: Rfc2217Server, client: Any) -> None:
    for _ in range(5):
        client.close()
        client.open()
    assert server.clients == 6


def test_lost_connection_is_named_in_read_and_write(server: Rfc2217Server, client: Any) -> None:
    server.send(b"last words")
    server.drop()
    client.timeout = 5
    assert client.read(100) == b"last words"
    with pytest.raises(
        serial.SerialException, match=rf"127\.0\.0\.1:{server.number} was lost.*server stopped"
    ):
        client.read(1)


def test_refused_connection_names_port_and_remedy(server: Rfc2217Server) -> None:
    url = server.url
    with (
        open_port(url, 115200),
        pytest.raises(PortError, match=rf"{server.number}.*refused.*another program"),
    ):
        open_port(url, 115200)


@pytest.mark.parametrize(
    ("greeting", "message"),
    [
        (b"", "accepts the connection but sends nothing .*serves another client"),
        (b"login: ", "does not speak RFC 2217"),
    ],
)
def test_busy_or_non_rfc2217_server_is_named(greeting: bytes, message: str) -> None:
    """Two kinds of servers cannot be used: Espressif's server while it has another client, and a server that only
    forwards raw bytes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = Serial(None)
        port.port = f"rfc2217://127.0.0.1:{listener.getsockname()[1]}?timeout=0.5"
        accepted: list[socket.socket] = []

        def greet() -> None:
            accepted.append(listener.accept()[0])
            accepted[0].sendall(greeting)

        greeter = threading.Thread(target=greet)
        greeter.start()
        with pytest.raises(serial.SerialException, match=message):
            port.open()
        assert not port.is_open
        greeter.join()
        accepted[0].close()


@pytest.mark.parametrize(
    "url", ["rfc2217://127.0.0.1", "rfc2217://127.0.0.1:99999", "rfc2217://x:1?nonsense"]
)
def test_bad_url_is_a_port_error(url: str) -> None:
    with pytest.raises(PortError, match="rfc2217"):
        open_port(url, 115200)


def test_missing_device_names_the_remedy() -> None:
    with pytest.raises(PortError, match=r"no-such-port.*--port"):
        open_port("/dev/no-such-port", 115200)
