"""Measures a user's waiting times with this harness and with the stock tools, in the same run on the same virtual
board.

    python -m tests.system.benchmarks.bench_tools [--only NAME]

- first, later: the set-up of a test as pytest measures it, plus the wait until the firmware is ready. First: onto
  an erased board; later: onto a board that already has the firmware. Stock: pytest-embedded without our plugin.
- flash: esptool writes 721 KB at 921600 baud. Stock: the same esptool on pyserial's RFC 2217 client.
- boards: start of 20 boards until all accept a connection. Stock: 20 instances of esptool's esp_rfc2217_server.

A measurement that would take longer than LIMIT_S is ended then and reported as LIMIT_S. If a stock tool fails, its row
contains the reason.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pty
import random
import re
import select
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from hotpin_hil.boards.board_process import BoardProcess
from hotpin_hil.paths import FIRMWARE_DIR, NATIVE_BUILD_DIR, PROJECT_ROOT
from hotpin_hil.pytest_plugin.plugin import DEFAULT_TIME_SCALE
from tests.support.command import run_command
from tests.support.virtual_board import ESPTOOL
from tests.system.benchmarks.stock import StockFailure, measure_stock

LIMIT_S = 120.0
"""Timeout of each tool in seconds."""
FLASH_BYTES = 721 * 1024
BOARDS = 20
SETUPS = 3
STOCK_TRIES = 3
"""Number of attempts with a stock tool. Stock tools restore the baud rate only after the board has started to boot, and
may miss its first output."""
STOCK_ESPTOOL = "import esptool; esptool._main()"

TEST = """
import pytest

@pytest.mark.parametrize("number", range({setups}))
def test_set_up(dut, number):
    dut.expect("HotPin ready", timeout=30)
"""


Row = tuple[str, float, float | StockFailure]
"""Name of the measurement, seconds with this harness, and seconds with the stock tool or its failure."""


class Failed(Exception):
    """A measured tool failed; the message is its last output."""


def timed(command: list[str], cwd: Path) -> tuple[float, str]:
    """Runs a tool; returns its duration in seconds (at most LIMIT_S) and its output."""
    began = time.perf_counter()
    environment = {**os.environ, "CI": "", "PYTHONPATH": str(PROJECT_ROOT)}
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            env=environment,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return LIMIT_S, ""
    if done.returncode != 0:
        raise Failed((done.stdout + done.stderr)[-2000:])
    return time.perf_counter() - began, done.stdout


@contextlib.contextmanager
def erased_board(folder: Path) -> Iterator[str]:
    """A virtual board with empty flash."""
    with tempfile.TemporaryDirectory(dir=folder) as state:
        arguments = ["--time-scale", f"{DEFAULT_TIME_SCALE:g}"]
        board = BoardProcess.start(folder / "board.log", Path(state), arguments)
        try:
            yield board.port
        finally:
            board.stop()


def set_ups(folder: Path, options: list[str]) -> tuple[float, float]:
    """Durations in seconds of test set-ups on a board that is erased at first: the first set-up, and the shortest of
    the later ones."""
    (folder / "test_set_up.py").write_text(TEST.format(setups=SETUPS))
    with erased_board(folder) as port:
        command = [sys.executable, "-m", "pytest", "test_set_up.py", "--rootdir", str(folder)]
        command += ["--target", "esp32", "--embedded-services", "esp,idf", "--port", port]
        command += ["--app-path", str(FIRMWARE_DIR), "--build-dir", NATIVE_BUILD_DIR.name]
        command += ["-p", "no:cacheprovider", "-vv", "--durations=0", "--durations-min=0.001", *options]
        took, output = timed(command, folder)
    if not output:
        return took, took
    phases = {
        (phase, int(number)): float(seconds)
        for seconds, phase, number in re.findall(r"([\d.]+)s (setup|call) +\S*\[(\d+)\]", output)
    }
    if any(("setup", number) not in phases for number in range(SETUPS)):
        raise Failed(f"pytest reported the durations of only {len(phases)} phases:\n{output[-2000:]}")
    waits = [phases["setup", number] + phases.get(("call", number), 0.0) for number in range(SETUPS)]
    return waits[0], min(waits[1:])


def stock_set_ups(folder: Path) -> tuple[float, float]:
    """Like set_ups(), but without this project's plugin. Repeats the measurement if a test fails."""
    for _ in range(STOCK_TRIES - 1):
        try:
            return set_ups(folder, ["-p", "no:hotpin_hil"])
        except Failed:
            print("stock: a test failed, repeating the measurement", flush=True)
    return set_ups(folder, ["-p", "no:hotpin_hil"])


def flash(folder: Path, program: str) -> float:
    """Duration of a complete run of esptool, in seconds."""
    image = folder / "image.bin"
    image.write_bytes(random.Random(721).randbytes(FLASH_BYTES))  # random, so that compression has no effect
    with erased_board(folder) as port:
        command = [sys.executable, "-c", program, "--port", port, "--baud", "921600"]
        return timed([*command, "write-flash", "0x10000", str(image)], folder)[0]


def start_boards(folder: Path) -> float:
    """Seconds until 20 virtual boards listen."""
    command = [sys.executable, "-m", "hotpin_hil", "board", "start", "--count", str(BOARDS), "--json"]
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=folder) as state:
        process = subprocess.Popen(
            [*command, "--until-eof", "--state-dir", state],
            cwd=PROJECT_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            output = b""
            while output.count(b"\n") < BOARDS:
                if not select.select([process.stdout], [], [], LIMIT_S)[0]:
                    return LIMIT_S
                output += os.read(process.stdout.fileno(), 4096)
            for line in output.splitlines():
                number = int(json.loads(line)["port"].rsplit(":", 1)[1])
                socket.create_connection(("127.0.0.1", number), 5).close()
            return time.perf_counter() - began
        finally:
            process.stdin.close()
            process.wait(30)


def start_servers(_folder: Path) -> float:
    """Seconds until 20 of esptool's RFC 2217 servers listen, each on a pseudo-terminal."""
    terminals = [pty.openpty() for _ in range(BOARDS)]
    ports = free_ports(BOARDS)
    began = time.perf_counter()
    servers = [
        subprocess.Popen(
            [sys.executable, "-m", "esp_rfc2217_server", "-p", str(port), os.ttyname(terminal)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for port, (_, terminal) in zip(ports, terminals, strict=True)
    ]
    try:
        for port, server in zip(ports, servers, strict=True):
            while not listens(port):
                if server.poll() is not None:
                    raise Failed(f"esp_rfc2217_server exited with status {server.returncode}")
                if time.perf_counter() - began > LIMIT_S:
                    return LIMIT_S
                time.sleep(0.005)
        return time.perf_counter() - began
    finally:
        for server in servers:
            server.terminate()
        for server in servers:
            server.wait(30)
        for pair in terminals:
            for fd in pair:
                os.close(fd)


def free_ports(count: int) -> list[int]:
    """Ports that are free now; another process may open them at any time."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [listener.getsockname()[1] for listener in sockets]
    for listener in sockets:
        listener.close()
    return ports


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 0.5).close()
    except OSError:
        return False
    return True


def report(rows: list[Row]) -> None:
    print(f"\n{'what a user waits for, s':<44}{'ours':>8}{'stock':>9}{'times faster':>14}")
    for what, ours, stock in rows:
        if isinstance(stock, StockFailure):
            print(f"{what:<44}{ours:>8.2f}  {stock}", flush=True)
            continue
        more = ">" if stock >= LIMIT_S else " "
        print(f"{what:<44}{ours:>8.2f}{more:>2}{stock:>7.2f}{stock / ours:>14.1f}", flush=True)


def measure(folder: Path, only: str | None) -> Iterator[list[Row]]:
    """Yields the rows of each finished measurement."""
    if only in (None, "setup"):
        ours = set_ups(folder, ["--board", "virtual"])
        stock = measure_stock(lambda: stock_set_ups(folder))
        first, later = (stock, stock) if isinstance(stock, StockFailure) else stock
        yield [
            ("first set-up of a test, onto an erased board", ours[0], first),
            ("later set-up, nothing to flash", ours[1], later),
        ]
    if only in (None, "flash"):
        seconds = flash(folder, ESPTOOL)
        stock_seconds = measure_stock(lambda: flash(folder, STOCK_ESPTOOL))
        yield [("esptool writes 721 KB at 921600 baud", seconds, stock_seconds)]
    if only in (None, "boards"):
        seconds = start_boards(folder)
        stock_seconds = measure_stock(lambda: start_servers(folder))
        yield [(f"{BOARDS} boards that can be connected to", seconds, stock_seconds)]


def main() -> int:
    parser = argparse.ArgumentParser(description="waiting times of a user, ours against the stock tools")
    parser.add_argument("--only", choices=["setup", "flash", "boards"])
    only: str | None = parser.parse_args().only
    if not (NATIVE_BUILD_DIR / "flasher_args.json").is_file():
        print(f"error: no host build in {NATIVE_BUILD_DIR}; run make native", file=sys.stderr)
        return 1
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        try:
            for done in measure(Path(name), only):
                rows += done
                print(f"{done[0][0]}: done", flush=True)
        except Failed as failure:
            print(f"error: {failure}", file=sys.stderr)
            return 1
    report(rows)
    return 0


if __name__ == "__main__":
    run_command(main)
