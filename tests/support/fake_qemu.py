"""A fake `qemu-system-xtensa`. Like the real program it accepts the harness's arguments, has its console on standard
input and output, and serves QMP on a Unix socket.

It runs the fake firmware. The folder `STATE` records its starts and controls it:
    started    one line of arguments per start of an emulator
    broken     if it exists, it prints the file's content on standard error and ends
    version    what --version says, instead of a version that fits
    machines   what `-machine help` says, instead of a list with the ESP32
    starts     JSON list, one entry for each boot of the firmware (by a start of the emulator or a reset), in order:
               "" boots, "hang" hangs QMP and console, "crash" ends by a signal, other text is printed
               where the firmware would be ready
    late       how many seconds it takes until it is up
    deaf       if it exists, QMP gets no answer
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shlex
import signal
import socket
import struct
import sys
import threading
import time
import zlib
from pathlib import Path
from typing import Any

from tests.support.fake_firmware import IDENTITY, FakeFirmware

STATE = Path(os.environ.get("FAKE_QEMU_STATE", "."))
APP_OFFSET = 0x10000
CORE_DUMP_OFFSET = 0x210000
STARTS_OFFSET = 0x9000
"""Offset of a byte that counts boots: 0xFF in erased flash, 0 after the first boot."""
FLASH_BYTES = 4 << 20
_DUMP = struct.pack("<II8s", 20, 0x0102, b"\x7fELFdump")
CORE_DUMP = _DUMP + zlib.crc32(_DUMP).to_bytes(4, "little")
"""A core dump in the format of esp_core_dump: length, version with a CRC-32, content, checksum."""
VERSION = "QEMU emulator version 9.2.2 (esp_develop_9.2.2_20250817)\nCopyright (c) 2003-2024\n"
MACHINES = "Supported machines are:\nesp32                Espressif ESP32 machine\nnone                 empty machine\n"
PANIC = (
    "\r\nGuru Meditation Error: Core  0 panic'ed (LoadProhibited). Exception was unhandled.\r\n\r\n"
    "Core  0 register dump:\r\nPC      : 0x400d1234  PS      : 0x00060b30\r\n\r\n"
    "Backtrace: 0x400d1234:0x3ffb1000\r\n\r\nI (900) esp_core_dump_flash: Core dump has been saved to flash.\r\n"
    "Rebooting...\r\n"
)


def main(arguments: list[str]) -> None:
    if arguments == ["--version"]:
        print(ordered("version") or VERSION, end="")
        return
    if arguments == ["-machine", "help"]:
        print(ordered("machines") or MACHINES, end="")
        return
    time.sleep(float(ordered("late") or 0))
    with (STATE / "started").open("a") as file:
        file.write(shlex.join(arguments) + "\n")
    if (STATE / "broken").exists():
        sys.exit((STATE / "broken").read_text())
    options = {arguments[i]: arguments[i + 1] for i in range(len(arguments) - 1) if arguments[i][0] == "-"}
    assert "-nographic" in arguments
    assert options["-machine"] == "esp32", options
    drive = dict(word.split("=", 1) for word in options["-drive"].split(","))
    assert drive["if"] == "mtd", drive
    flash = Path(drive["file"])
    image = flash.read_bytes()
    assert len(image) == FLASH_BYTES, f"QEMU only accepts whole flash images, not {len(image)} bytes"
    assert image[0x1000] == image[APP_OFFSET] == 0xE9, "there is no app image at the app's offset"

    firmware = FakeFirmware(lambda data: os.write(1, data), boot=f"{secrets.randbelow(1 << 31):08x}")
    descriptor = image[APP_OFFSET + 0x20 :]  # esp_app_desc_t
    identity: dict[str, Any] = {
        **IDENTITY,
        "build": "qemu",
        "psram": int(options.get("-m", "0M").removesuffix("M")) << 20,
        "project": descriptor[48:80].split(b"\0")[0].decode(),
        "elf_sha256": descriptor[144:176].hex(),
    }
    firmware.handlers["sys.info"] = lambda _, args: identity
    firmware.handlers["mem.thresholds"] = lambda _, args: dict.fromkeys(THRESHOLDS, 1)
    firmware.handlers["die"] = lambda _, args: os._exit(3)
    firmware.handlers["panic"] = lambda _, args: panic(firmware, flash)
    firmware.handlers["silence"] = lambda _, args: firmware.handlers.update(
        dict.fromkeys(firmware.handlers, mute)
    )
    threading.Thread(target=serve_qmp, args=(options["-qmp"], firmware, flash), daemon=True).start()
    start(firmware, flash)
    while data := os.read(0, 4096):
        if b"\x01x" in data.replace(b"\x01\x01", b"\0"):
            os._exit(0)  # Ctrl-A x quits, as in QEMU with -nographic
        firmware.receive(data.replace(b"\x01\x01", b"\x01"))
    threading.Event().wait()  # the real QEMU also keeps running when its input ends


def ordered(name: str) -> str:
    return (STATE / name).read_text() if (STATE / name).exists() else ""


hung = threading.Event()


def start(firmware: FakeFirmware, flash: Path) -> None:
    """Boots the firmware with the next outcome in `starts`."""
    count_start(flash)
    orders = json.loads(ordered("starts") or "[]")
    order = orders.pop(0) if orders else ""
    left = STATE / "starts.new"
    left.write_text(json.dumps(orders))
    left.replace(STATE / "starts")  # complete even if the harness kills this process meanwhile
    if order == "hang":
        hung.set()
        threading.Event().wait()
    if order == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if order:
        firmware.output(b"\r\nrst:0x1 (POWERON_RESET),boot:0x13 (SPI_FAST_FLASH_BOOT)\r\n")
        firmware.output(f"{order}\r\n".encode())
        firmware.start(reason="INT_WDT")  # the firmware boots again
        return
    firmware.start()


def count_start(flash: Path) -> None:
    """Counts a boot in the flash, as the firmware does in NVS."""
    with flash.open("r+b") as file:
        file.seek(STARTS_OFFSET)
        starts = int.from_bytes(file.read(1), "little") + 1 & 0xFF
        file.seek(STARTS_OFFSET)
        file.write(bytes([starts]))


def panic(firmware: FakeFirmware, flash: Path) -> None:
    """Panics, leaves a core dump in the flash image, and boots again."""
    with flash.open("r+b") as file:
        file.seek(CORE_DUMP_OFFSET)
        file.write(CORE_DUMP)
    firmware.output(PANIC.encode())
    firmware.start(reason="PANIC")


def mute(_: FakeFirmware, args: dict[str, str]) -> None:
    """A command handler that sends no reply."""


THRESHOLDS = [
    f"{name}_{level}"
    for name in ("internal_ram", "dma_capable", "psram", "fragmentation")
    for level in ("warning", "critical")
]


def serve_qmp(where: str, firmware: FakeFirmware, flash: Path) -> None:
    path = where.removeprefix("unix:").split(",", maxsplit=1)[0]
    with socket.socket(socket.AF_UNIX) as server:
        Path(path).unlink(missing_ok=True)  # like QEMU
        server.bind(path)
        server.listen()
        while True:
            client, _ = server.accept()
            with (
                client,
                contextlib.suppress(ConnectionError),
            ):  # the client may already have disconnected, which QEMU also tolerates
                qmp_session(client, firmware, flash)


def qmp_session(client: socket.socket, firmware: FakeFirmware, flash: Path) -> None:
    greeting = {"QMP": {"version": {"qemu": {"major": 9, "minor": 2, "micro": 2}}, "capabilities": []}}
    client.sendall(json.dumps(greeting).encode() + b"\r\n")
    text = ""
    while data := client.recv(4096):
        text += data.decode()
        while text.strip():
            try:
                request, end = json.JSONDecoder().raw_decode(text.lstrip())
            except ValueError:
                break  # requests have no final newline, so an incomplete request waits for more data
            text = text.lstrip()[end:]
            if hung.is_set() or (STATE / "deaf").exists():
                continue
            if request["execute"] == "system_reset":
                threading.Thread(target=start, args=(firmware, flash), daemon=True).start()
            result: Any = "Host - Guest clock  0 ms\r\n" if "human" in request["execute"] else {}
            answer = {"return": result, **({"id": request["id"]} if "id" in request else {})}
            client.sendall(json.dumps(answer).encode() + b"\r\n")


if __name__ == "__main__":
    main(sys.argv[1:])
