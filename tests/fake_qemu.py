"""A stand-in for `qemu-system-xtensa`, as far as the harness can tell them apart: it wants the arguments that
pytest-embedded gives the real one, has its console on standard input and output, and takes QMP on TCP.

Inside is the fake firmware. `STATE`, a folder, tells a test what it was started with and takes orders:
    started    one line of arguments per start
    broken     if it is there, it says what is in it on standard error and ends
    deaf       if it is there, QMP gets no answer
"""

from __future__ import annotations

import json
import os
import secrets
import shlex
import socket
import sys
import threading
from pathlib import Path
from typing import Any

from tests.support.fake_firmware import IDENTITY, FakeFirmware

STATE = Path(os.environ["FAKE_QEMU_STATE"])
APP_OFFSET = 0x10000
FLASH_BYTES = 4 << 20


def main(arguments: list[str]) -> None:
    with (STATE / "started").open("a") as file:
        file.write(shlex.join(arguments) + "\n")
    if (STATE / "broken").exists():
        sys.exit((STATE / "broken").read_text())
    options = {arguments[i]: arguments[i + 1] for i in range(len(arguments) - 1) if arguments[i][0] == "-"}
    assert "-nographic" in arguments
    assert options["-machine"] == "esp32", options
    drive = dict(word.split("=", 1) for word in options["-drive"].split(","))
    assert drive["if"] == "mtd", drive
    image = Path(drive["file"]).read_bytes()
    assert len(image) == FLASH_BYTES, f"QEMU only takes whole flash images, not {len(image)} bytes"
    assert image[0x1000] == image[APP_OFFSET] == 0xE9, "no app image where one belongs"
    psram = int(options["-m"].removesuffix("M")) << 20

    firmware = FakeFirmware(lambda data: os.write(1, data), boot=f"{secrets.randbelow(1 << 31):08x}")
    descriptor = image[APP_OFFSET + 0x20 :]  # esp_app_desc_t
    said: dict[str, Any] = {
        **IDENTITY,
        "build": "qemu",
        "psram": psram,
        "project": descriptor[48:80].split(b"\0")[0].decode(),
        "elf_sha256": descriptor[144:176].hex(),
    }
    firmware.handlers["sys.info"] = lambda _, args: said
    firmware.handlers["mem.thresholds"] = lambda _, args: dict.fromkeys(THRESHOLDS, 1)
    firmware.handlers["die"] = lambda _, args: os._exit(3)
    firmware.handlers["silence"] = lambda _, args: firmware.handlers.update(
        dict.fromkeys(firmware.handlers, mute)
    )
    threading.Thread(target=serve_qmp, args=(options["-qmp"], firmware), daemon=True).start()
    firmware.start()
    while data := os.read(0, 4096):
        if b"\x01x" in data.replace(b"\x01\x01", b"\0"):
            os._exit(0)  # for the monitor, as with -nographic
        firmware.receive(data.replace(b"\x01\x01", b"\x01"))
    threading.Event().wait()  # as the real one, which goes on without input


def mute(_: FakeFirmware, args: dict[str, str]) -> None:
    """No answer."""


THRESHOLDS = [
    f"{name}_{level}"
    for name in ("internal_ram", "dma_capable", "psram", "fragmentation")
    for level in ("warning", "critical")
]


def serve_qmp(where: str, firmware: FakeFirmware) -> None:
    _, host, port = where.split(",", maxsplit=1)[0].split(":")
    with socket.create_server((host, int(port))) as server:
        while True:
            client, _ = server.accept()
            with client:
                qmp_session(client, firmware)


def qmp_session(client: socket.socket, firmware: FakeFirmware) -> None:
    greeting = {"QMP": {"version": {"qemu": {"major": 9, "minor": 2, "micro": 2}}, "capabilities": []}}
    client.sendall(json.dumps(greeting).encode() + b"\r\n")
    text = ""
    while data := client.recv(4096):
        text += data.decode()
        while text.strip():
            try:
                request, end = json.JSONDecoder().raw_decode(text.lstrip())
            except ValueError:
                break  # requests need no newline: a part of one has come
            text = text.lstrip()[end:]
            if request["execute"] == "system_reset" and not (STATE / "deaf").exists():
                firmware.start()
            answer = {"return": {}, **({"id": request["id"]} if "id" in request else {})}
            if not (STATE / "deaf").exists():
                client.sendall(json.dumps(answer).encode() + b"\r\n")


if __name__ == "__main__":
    main(sys.argv[1:])
