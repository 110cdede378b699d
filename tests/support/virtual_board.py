"""A board server for tests, with a small fake firmware."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import serial

from hotpin_hil.link.port import register_handlers
from hotpin_hil.paths import NATIVE_BUILD_DIR, PROJECT_ROOT
from hotpin_hil.virtual import package

PATIENCE_S = 20.0
"""Timeout of every wait, in host seconds; on an idle machine each takes milliseconds."""

CSV = """nvs, data, nvs, 0x9000, 0x6000
factory, app, factory, 0x10000, 1M
"""

# Fake firmware: prints its parameters and the first bytes of RTC memory, then echoes its input. Certain words at the
# start of the input trigger other actions.
FIRMWARE = r"""
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    char line[4096], rtc_file[4096] = "", rtc[9] = "";
    setvbuf(stdout, NULL, _IONBF, 0);
    FILE *params = fopen(argv[1], "r");
    while (fgets(line, sizeof line, params) != NULL) {
        printf("param %s", line);
        sscanf(line, "rtc_file=%4095[^\n]", rtc_file);
    }
    int fd = open(rtc_file, O_RDWR);
    if (read(fd, rtc, 8) == 8) {
        for (int i = 0; i < 8; i++) printf("%s%02x", i ? "" : "rtc ", (unsigned char)rtc[i]);
    }
    printf("\nfirmware ready\n");
    for (;;) {
        ssize_t n = read(0, line, sizeof line - 1);
        if (n <= 0) return 0;
        line[n] = 0;
        if (strncmp(line, "reset ", 6) == 0) return 100 + atoi(line + 6);
        if (strcmp(line, "quit") == 0) return 0;
        if (strcmp(line, "crash") == 0) { fprintf(stderr, "lost my marbles\n"); abort(); }
        if (strcmp(line, "hang") == 0) { printf("hanging\n"); for (;;) pause(); }
        if (strcmp(line, "flood") == 0) for (int i = 0;; i++) printf("%0999d\n", i);
        fwrite(line, 1, (size_t)n, stdout);
    }
}
"""

SERVER = """
import asyncio, json, sys
from pathlib import Path
from hotpin_hil.virtual.server import serve
options = json.loads(sys.argv[1])
paths = {name: Path(options.pop(name)) for name in ("state_dir", "registry")}
asyncio.run(serve(**paths, **options))
"""


# Runs esptool with the harness's RFC 2217 client, because pyserial's is slow.
ESPTOOL = (
    "from hotpin_hil.link.port import register_handlers; register_handlers(); import esptool; esptool._main()"
)


def run_esptool(
    url: str, *arguments: str, status: int = 0, program: str = ESPTOOL, cwd: Path = PROJECT_ROOT
) -> str:
    """Runs unmodified esptool on a board; returns its output. Fails unless it exits with `status`."""
    done = subprocess.run(
        [sys.executable, "-c", program, "--port", url, *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def native_flash_image(build: Path = NATIVE_BUILD_DIR) -> bytes:
    """4 MB of flash with a host build of the firmware in it; skips the test without that build."""
    arguments = build / "flasher_args.json"
    if not arguments.is_file():
        pytest.skip("no host build of the firmware; make native")
    content = bytearray(b"\xff" * (4 << 20))
    for offset, name in json.loads(arguments.read_text())["flash_files"].items():
        data = (build / name).read_bytes()
        content[int(offset, 0) : int(offset, 0) + len(data)] = data
    return bytes(content)


class Build:
    """A build of the fake firmware, packaged as for the virtual board; its `registry` allows boards to run it."""

    def __init__(self, folder: Path) -> None:
        compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
        if compiler is None:
            pytest.skip("no C compiler for the fake firmware")
        self.folder = folder
        self.registry = folder / "native-elfs.txt"
        (folder / "fw.c").write_text(FIRMWARE)
        (folder / "sdkconfig.json").write_text('{"IDF_TARGET": "esp32"}')
        (folder / "partitions.csv").write_text(CSV)
        subprocess.run([compiler, "-w", "-o", folder / "fw.elf", folder / "fw.c"], check=True)
        package.package(
            folder / "fw.elf",
            folder / "sdkconfig.json",
            folder / "partitions.csv",
            project="fw",
            version="1",
            out=folder,
            registry=self.registry,
        )
        self.files = {
            0x1000: folder / "bootloader/bootloader.bin",
            0x8000: folder / "partition_table/partition-table.bin",
            0x10000: folder / "fw.bin",
        }

    def flash_image(self) -> bytes:
        """4 MB of flash with the build in it."""
        content = bytearray(b"\xff" * (4 << 20))
        for offset, file in self.files.items():
            data = file.read_bytes()
            content[offset : offset + len(data)] = data
        return bytes(content)

    def esptool_files(self) -> list[str]:
        """Offsets and files as arguments for esptool."""
        return [text for offset, file in self.files.items() for text in (hex(offset), str(file))]


class Boards:
    """Board server in its own process."""

    def __init__(self, state_dir: Path, registry: Path, **options: Any) -> None:
        options = {
            "count": 1,
            "profile": "hotpin-5.4",
            "time_scale": 50.0,
            "seed": 1,
            "json_out": True,
        } | options
        options |= {"state_dir": str(state_dir), "registry": str(registry)}
        self.state_dir = state_dir
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVER, json.dumps(options)],
            cwd=PROJECT_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert self.process.stdout is not None
        lines = [self.process.stdout.readline() for _ in range(options["count"])]
        assert all(lines), self.stop()
        self.found: list[dict[str, str]] = [json.loads(line) for line in lines]

    @property
    def url(self) -> str:
        return self.found[0]["port"]

    def stop(self) -> str:
        """Stops the server as a user would; returns its output on standard error."""
        if self.process.poll() is None:
            self.process.terminate()
        return self.process.communicate(timeout=PATIENCE_S)[1].decode()

    def children(self) -> list[int]:
        """Pids of the server's firmware processes."""
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in path.read_text().split()]


class Console:
    """Client of the serial port, with DTR and RTS released."""

    def __init__(self, url: str, baud: int = 115200) -> None:
        register_handlers()
        self.port = serial.serial_for_url(url, do_not_open=True, baudrate=baud, timeout=0.05)
        self.port.dtr = self.port.rts = False
        self.port.open()
        self.text = ""

    def __enter__(self) -> Console:
        return self

    def __exit__(self, *_: object) -> None:
        self.port.close()

    def send(self, text: str) -> None:
        self.port.write(text.encode())

    def expect(self, pattern: str) -> re.Match[str]:
        """Waits for a pattern, and discards the text up to the end of the match."""
        deadline = time.monotonic() + PATIENCE_S
        while (found := re.search(pattern, self.text, re.DOTALL)) is None:
            assert time.monotonic() < deadline, f"no {pattern!r} in {self.text[-2000:]!r}"
            self.text += self.port.read(max(1, self.port.in_waiting)).decode("latin1").replace("\r", "")
        self.text = self.text[found.end() :]
        return found

    def reset(self) -> None:
        """Resets the board over EN, and discards earlier output."""
        self.port.rts = True
        self.port.reset_input_buffer()
        self.text = ""
        self.port.rts = False

    def restart(self) -> None:
        """Resets and waits for the fake firmware."""
        self.reset()
        self.expect("ready\n")


def process_gone(pid: int) -> bool:
    """Waits until a process has ended; returns whether it ended within PATIENCE_S."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state in "ZX":
            return True
        time.sleep(0.01)
    return False
