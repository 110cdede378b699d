"""Measures the round trip of a command over RFC 2217, with this harness and with stock pytest-embedded, in the same
run.

    python -m tests.system.benchmarks.bench_link [--count N] [--echo]

Three ways to send the same request and read the reply:

- ours:          Device.command
- dut.expect:    write and expect on our serial service (what an IDF user's own test does)
- stock:         write and expect on pytest-embedded's serial service and pyserial's RFC 2217 client

The request goes to a virtual board that runs the host build of the firmware; with --echo, or without that build, to an
echo server in a separate process. The set-up of a test (open, reset, wait until ready) is also measured.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import os
import re
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest_embedded.dut_factory
import serial
from pytest_embedded.log import MessageQueueManager, PexpectProcess
from pytest_embedded_idf.app import IdfApp
from pytest_embedded_serial.serial import Serial as StockSerial

from hotpin_hil.boards.board_process import BoardProcess
from hotpin_hil.device import Device
from hotpin_hil.link.console_log import ConsoleLog
from hotpin_hil.link.idf_serial import HilIdfSerial
from hotpin_hil.link.port import HANDLER_PACKAGE
from hotpin_hil.paths import FIRMWARE_DIR, NATIVE_BUILD_DIR
from hotpin_hil.protocol.request import encode_request
from hotpin_hil.pytest_plugin.plugin import DEFAULT_TIME_SCALE
from tests.support.command import run_command
from tests.support.fake_firmware import FakeFirmware
from tests.support.rfc2217_server import Rfc2217Server
from tests.system.benchmarks.stock import StockFailure, measure_stock

COMMAND = ("heap.probe", {"caps": "DMA"})
LIMIT_P95_MS = 2.0
"""Promised limit in ms for a command on the virtual board."""
SETUPS = 10
WARM_UP = 10

_spawn = multiprocessing.get_context("spawn")


def listen_quietly(*args: Any) -> None:
    """Runs pytest-embedded's listener without its copy of the console on the terminal."""
    with open(os.devnull, "w") as nowhere:
        pytest_embedded.dut_factory._stdout = nowhere
        pytest_embedded.dut_factory._listen(*args)


def serve_echo(url: Any) -> None:
    """Main function of the echo server's process."""
    server = Rfc2217Server()
    firmware = FakeFirmware(server.send)
    server.received = firmware.receive
    url.send(server.url)
    url.recv()
    server.close()


class Expect:
    """`dut.expect` as in pytest-embedded: pexpect on the console log that the queue's listener writes."""

    def __init__(self, log: Path) -> None:
        self._file = log.open("rb")
        self._pexpect = PexpectProcess(self._file)

    def ask(self, port: Any, number: int) -> None:
        name, args = COMMAND
        port.write(encode_request(number, name, args))
        self._pexpect.expect(re.compile(rb"@%d \{.*\}\*[0-9A-F]{4}" % number), timeout=10)

    def close(self) -> None:
        self._file.close()


@contextmanager
def stock_console(log: Path) -> Iterator[Any]:
    """pytest-embedded's queue, with the manager and listener processes that write the log."""
    log.touch()
    manager = MessageQueueManager()
    manager.start()
    queue = manager.MessageQueue()  # type: ignore[attr-defined]
    listener = _spawn.Process(target=listen_quietly, args=(queue, str(log)), daemon=True)
    listener.start()
    try:
        yield queue
    finally:
        listener.kill()
        listener.join()
        manager.shutdown()


def measure(ask: Callable[[int], object], count: int) -> list[float]:
    """Durations of `count` calls of `ask` after a warm-up, in ms."""
    durations = []
    for number in range(1, count + WARM_UP + 1):
        began = time.perf_counter()
        ask(number)
        durations.append((time.perf_counter() - began) * 1000)
    return durations[WARM_UP:]


def bench_ours(port: str, app: Any, log: Path, count: int, boots: bool) -> dict[str, list[float]]:
    console = ConsoleLog(log, terminal=None)

    def set_up() -> tuple[HilIdfSerial, Device]:
        line = HilIdfSerial(app=app, msg_queue=console, port=port, skip_autoflash=not boots)
        device = Device(line.channel)
        if boots:
            device.wait_ready()
        return line, device

    line, device = set_up()
    expect = Expect(log)
    name, args = COMMAND
    results = {
        "ours": measure(lambda _: device.command(name, **args), count),
        "dut.expect": measure(lambda number: expect.ask(line.proc, number), count),
    }
    results["set-up"] = []
    for _ in range(SETUPS):
        line.close()
        began = time.perf_counter()
        line, device = set_up()
        results["set-up"].append((time.perf_counter() - began) * 1000)
    line.close()
    expect.close()
    console.close()
    return results


def bench_stock(port: str, log: Path, count: int) -> list[float]:
    serial.protocol_handler_packages.remove(HANDLER_PACKAGE)
    with stock_console(log) as queue:
        line = stock_serial(port, queue)
        expect = Expect(log)
        durations = measure(lambda number: expect.ask(line.proc, number), count)
        line.close()
        expect.close()
    return durations


def stock_serial(port: str, queue: Any) -> StockSerial:
    """Opens the stock serial service. Retries for 2 s, because pyserial's client does not wait until the server listens
    again after the former client."""
    give_up = time.monotonic() + 2
    while True:
        try:
            return StockSerial(queue, port=port)
        except serial.SerialException:
            if time.monotonic() > give_up:
                raise
            time.sleep(0.05)


@contextmanager
def echo_server() -> Iterator[tuple[str, Any]]:
    here, there = _spawn.Pipe()
    process = _spawn.Process(target=serve_echo, args=(there,))
    process.start()
    try:
        yield here.recv(), SimpleNamespace(target="esp32", flash_files=[], flash_args={}, sdkconfig={})
    finally:
        here.send("stop")
        process.join(10)


@contextmanager
def virtual_board(folder: Path) -> Iterator[tuple[str, Any]]:
    arguments = ["--time-scale", f"{DEFAULT_TIME_SCALE:g}"]
    board = BoardProcess.start(folder / "board.log", folder / "state", arguments)
    try:
        yield board.port, IdfApp(str(FIRMWARE_DIR), NATIVE_BUILD_DIR.name)
    finally:
        board.stop()


def report(results: dict[str, list[float]], stock: list[float] | StockFailure, where: str) -> int:
    """Prints the table; returns 1 if the promised limit is exceeded."""
    print(f"Command round trip on {where}, ms")
    print(f"{'':<12}{'n':>6}{'p50':>9}{'p95':>9}{'times faster (p50)':>21}")
    measured = {label: results[label] for label in ("ours", "dut.expect")}
    if not isinstance(stock, StockFailure):
        measured["stock"] = stock
    tails = {label: statistics.quantiles(durations, n=20)[-1] for label, durations in measured.items()}
    for label, durations in measured.items():
        p50 = statistics.median(durations)
        faster = f"{statistics.median(measured['stock']) / p50:.1f}" if "stock" in measured else "-"
        print(f"{label:<12}{len(durations):>6}{p50:>9.2f}{tails[label]:>9.2f}{faster:>21}")
    if isinstance(stock, StockFailure):
        print(f"{'stock':<12}{stock}")
    print(f"set-up of a test, nothing to flash: p50 {statistics.median(results['set-up']):.0f} ms")
    kept = tails["ours"] <= LIMIT_P95_MS
    print(f"ours: p95 {tails['ours']:.2f} ms, limit {LIMIT_P95_MS:g} ms: {'kept' if kept else 'BROKEN'}")
    return 0 if kept else 1


def main() -> int:
    parser = argparse.ArgumentParser(description="round trip of a console command, ours against stock")
    parser.add_argument(
        "--count", type=int, default=500, help="number of round trips with this harness (default: 500)"
    )
    parser.add_argument(
        "--echo",
        action="store_true",
        help="use an echo server instead of a virtual board, to measure only the host's side",
    )
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    boots = not options.echo and (NATIVE_BUILD_DIR / "flasher_args.json").is_file()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with virtual_board(folder) if boots else echo_server() as (port, app):
            results = bench_ours(port, app, folder / "ours.log", options.count, boots)
            stock = measure_stock(
                lambda: bench_stock(port, folder / "stock.log", max(options.count // 10, 20))
            )
    return report(results, stock, "a virtual board" if boots else "an echo server")


if __name__ == "__main__":
    run_command(main)
