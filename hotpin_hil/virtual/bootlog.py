"""Boot log between reset and the app: checks and messages of the ROM and the second-stage bootloader.

`boot` checks the flash as the chip does and returns the printed lines, their times after the reset, and how the boot
ends. Texts and order match recorded boots with intact and damaged flash, and IDF v5.4's bootloader.
The second stage itself is part of the board: the bootloader image in flash is checked like a real one, but
not executed.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from hotpin_hil.virtual import image, partition
from hotpin_hil.virtual.flash import Flash, FlashRangeError

POWERON_RESET = 1
SW_RESET = 3
BROWN_OUT_RESET = 15
RTCWDT_RTC_RESET = 16
RESET_NAMES = {
    POWERON_RESET: "POWERON_RESET",
    SW_RESET: "SW_RESET",
    4: "OWDT_RESET",
    5: "DEEPSLEEP_RESET",
    6: "SDIO_RESET",
    7: "TG0WDT_SYS_RESET",
    8: "TG1WDT_SYS_RESET",
    9: "RTCWDT_SYS_RESET",
    10: "INTRUSION_RESET",
    11: "TGWDT_CPU_RESET",
    12: "SW_CPU_RESET",
    13: "RTCWDT_CPU_RESET",
    14: "EXT_CPU_RESET",
    BROWN_OUT_RESET: "RTCWDT_BROWN_OUT_RESET",
    RTCWDT_RTC_RESET: "RTCWDT_RTC_RESET",
}
"""The ESP32 ROM's reset codes and their printed names."""
_WATCHDOG_RESETS = {7, 8, 9, 11, 13}

BOARD_PREFIX = "virtual board: "
"""Prefix of every UART line from the board itself; no chip or firmware prints it."""

_BANNER = "ets Jul 29 2019 12:21:46"
_BOOT_STRAPS = 0x13  # what recorded ESP32-CAM boards print
_BOOTLOADER_OFFSET = 0x1000
_SECOND_STAGE_MS = 29.0  # time of the first bootloader line in the recorded logs
_SPI_MODES = {0: "QIO", 1: "QOUT", 2: "DIO", 3: "DOUT"}
_SPI_SPEEDS = {
    0x0: (40, 2),
    0x1: (26, 3),
    0x2: (20, 4),
    0xF: (80, 1),
}  # MHz, and the clock divider that the ROM prints
_FLASH_SIZES = {code: name for name, code in image.FLASH_SIZES.items()}
_MAX_SEGMENT = 0x1000000
_READ_BYTES_PER_MS = 2700  # recorded logs: 242,752 bytes between the lines of segments 0 and 1, 90 ms
_UART_BYTES_PER_MS = 11.52  # 115200 baud, 10 bits a byte
_UART_FIFO = 128
_WATCHDOG_MS = 1000.0


@dataclass(frozen=True)
class Line:
    """One line of the boot log without its newline, and when it is printed, in ms after the reset."""

    at_ms: float
    text: str


@dataclass(frozen=True)
class RunApp:
    """The bootloader starts this app."""

    offset: int
    segment0: bytes
    descriptor: image.FlashedApp | None


@dataclass(frozen=True)
class Restart:
    """The chip resets itself, `after_ms` after the last line."""

    cause: int
    after_ms: float = 0.0


@dataclass(frozen=True)
class Halt:
    """The chip waits for an external reset."""


@dataclass(frozen=True)
class Boot:
    """A whole boot: lines printed, end time (ms after the reset) and outcome."""

    lines: tuple[Line, ...]
    end_ms: float
    outcome: RunApp | Restart | Halt


def download_banner(cause: int) -> bytes:
    """The ROM's output if IO0 is low at reset."""
    straps = "boot:0x3 (DOWNLOAD_BOOT(UART0/UART1/SDIO_REI_REO_V2))"
    return encode_lines(
        [_BANNER, "", f"rst:{cause:#x} ({reset_name(cause)}),{straps}", "waiting for download"]
    )


def encode_lines(texts: list[str]) -> bytes:
    """The bytes of these lines on the UART."""
    return "".join(f"{text}\r\n" for text in texts).encode("ascii", "replace")


def reset_name(cause: int) -> str:
    """The ROM's name of a reset code."""
    return RESET_NAMES.get(cause, "UNKNOWN")


def boot(flash: Flash, cause: int, revision: int) -> Boot:
    """Boot from `flash` after a reset with ROM code `cause`; `revision` of the chip: major * 100 + minor."""
    uart = _Uart()
    try:
        outcome = _rom(flash, uart, cause) or _second_stage(flash, uart, cause, revision)
    except FlashRangeError:
        outcome = Restart(RTCWDT_RTC_RESET, _WATCHDOG_MS)  # the chip reads garbage until its watchdog fires
    return Boot(tuple(uart.lines), uart.now_ms, outcome)


def app_in(flash: Flash) -> image.FlashedApp | None:
    """Descriptor of the app that the bootloader tries first, or None; the image itself is not checked."""
    uart = _Uart()
    try:
        for _, part in _boot_order(flash, _load_table(flash, uart) or [], uart)[:1]:
            start = part.offset + image.HEADER.size + image.SEGMENT_HEADER.size
            return image.parse_app_descriptor(flash.read(start, image.APP_DESCRIPTOR.size))
    except FlashRangeError:  # a partition shorter than a descriptor, at the end of the flash
        pass
    return None


@dataclass
class _Uart:
    """Boot log under construction; each line gets the time when a chip would print it, including UART waits."""

    lines: list[Line] = field(default_factory=list)
    now_ms: float = 0.0
    _uart_free_ms: float = 0.0

    def raw(self, text: str) -> None:
        self.lines.append(Line(self.now_ms, text))
        bytes_sent = len(text) + 2
        self._uart_free_ms = max(self._uart_free_ms, self.now_ms) + bytes_sent / _UART_BYTES_PER_MS
        self.now_ms = max(self.now_ms, self._uart_free_ms - _UART_FIFO / _UART_BYTES_PER_MS)

    def start_second_stage(self) -> None:
        self._uart_free_ms = self.now_ms = _SECOND_STAGE_MS

    def info(self, tag: str, text: str) -> None:
        self.raw(f"I ({int(self.now_ms)}) {tag}: {text}")

    def warn(self, tag: str, text: str) -> None:
        self.raw(f"W ({int(self.now_ms)}) {tag}: {text}")

    def error(self, tag: str, text: str) -> None:
        self.raw(f"E ({int(self.now_ms)}) {tag}: {text}")


def _rom(flash: Flash, uart: _Uart, cause: int) -> Halt | Restart | None:
    """Load the bootloader image as the ROM does; returns None if it starts.

    If the ROM finds no bootloader, its watchdog resets it and it tries again, as on real boards. The emulator of the
    recorded boots has no such watchdog and stops.
    """
    uart.raw(_BANNER)
    uart.raw("")
    uart.raw(f"rst:{cause:#x} ({reset_name(cause)}),boot:{_BOOT_STRAPS:#x} (SPI_FAST_FLASH_BOOT)")
    start = flash.read(_BOOTLOADER_OFFSET, image.HEADER.size)
    header = image.ImageHeader.parse(start)
    if header.magic != image.IMAGE_MAGIC:
        uart.raw(f"invalid header: {int.from_bytes(start[:4], 'little'):#010x}")
        return Restart(RTCWDT_RTC_RESET, _WATCHDOG_MS)
    uart.raw(f"configsip: 0, SPIWP:{header.wp_pin:#x}")
    uart.raw("clk_drv:0x00,q_drv:0x00,d_drv:0x00,cs0_drv:0x00,hd_drv:0x00,wp_drv:0x00")
    divider = _SPI_SPEEDS.get(header.spi_size_speed & 0xF, (40, 2))[1]
    uart.raw(f"mode:{_SPI_MODES.get(header.spi_mode, 'SLOW_RD')}, clock div:{divider}")
    position = image.HEADER.size
    checksum = image.CHECKSUM_SEED
    for index in range(header.segment_count):
        address, length = image.SEGMENT_HEADER.unpack(flash.read(_BOOTLOADER_OFFSET + position, 8))
        if length >= _MAX_SEGMENT:
            uart.raw(f"load:{address:#010x},len:{length - (length >> 31 << 32)}")
            return Restart(RTCWDT_RTC_RESET, _WATCHDOG_MS)
        position += 8
        uart.raw(f"load:{address:#010x},len:{length}")
        checksum ^= image.xor_bytes(flash.read(_BOOTLOADER_OFFSET + position, length))
        _log_leftover(uart, position, length, last=index == header.segment_count - 1)
        position += length
    stored = flash.read(_BOOTLOADER_OFFSET + (position | 15), 1)[0]
    if checksum != stored:
        uart.raw(f"csum err:{checksum:#x}!={stored:#x}")
        uart.raw("Falling back to built-in command interpreter.")
        uart.raw("OK")
        uart.raw(">")
        return Halt()
    uart.raw(f"entry {header.entry:#010x}")
    return None


def _log_leftover(uart: _Uart, position: int, length: int, last: bool) -> None:
    """The ROM's line about a segment header that spans two of its 16-byte blocks."""
    end = (position + length) % 16
    room = 16 - end
    if not last and end and room < image.SEGMENT_HEADER.size:
        head = position % 16 if length <= end - position % 16 else 0
        uart.raw(f"ho {head} tail {end - head} room {room}")


def _second_stage(flash: Flash, uart: _Uart, cause: int, revision: int) -> RunApp | Restart | Halt:
    start = flash.read(_BOOTLOADER_OFFSET, 0x200)
    header = image.ImageHeader.parse(start[: image.HEADER.size])
    version, built = _bootloader_descriptor(start)
    uart.start_second_stage()
    uart.info("boot", f"ESP-IDF {version} 2nd stage bootloader")
    uart.info("boot", f"compile time {built}")
    uart.info("boot", "Multicore bootloader")
    uart.info("boot", f"chip revision: v{revision // 100}.{revision % 100}")
    if not _fits_chip(header, uart, revision, is_app=False):
        return Restart(SW_RESET)
    speed = _SPI_SPEEDS.get(header.spi_size_speed & 0xF, (40, 2))[0]
    uart.info("boot.esp32", f"SPI Speed      : {speed}MHz")
    uart.info("boot.esp32", f"SPI Mode       : {_SPI_MODES.get(header.spi_mode, 'SLOW READ')}")
    uart.info("boot.esp32", f"SPI Flash Size : {_FLASH_SIZES.get(header.spi_size_speed & 0xF0, '2MB')}")
    if cause in _WATCHDOG_RESETS:
        uart.warn("boot.esp32", "PRO CPU has been reset by WDT")
        # A host process has no trace port, so both addresses are printed as zero.
        uart.warn("boot.esp32", "WDT rst info: PRO CPU PC=0x0")
        uart.warn("boot.esp32", "WDT rst info: APP CPU PC=0x0")
    uart.info("boot", "Enabling RNG early entropy source...")
    partitions = _load_table(flash, uart)
    if partitions is None:
        uart.error("boot", "load partition table error!")
        return Restart(SW_RESET)
    for name, part in _boot_order(flash, partitions, uart):
        app = _load_app(flash, part, uart, revision)
        if app is not None:
            uart.info("boot", f"Loaded app from partition at offset {part.offset:#x}")
            uart.info("boot", "Disabling RNG early entropy source...")
            return app
        uart.error("boot", f"{name} is not bootable")
    uart.error("boot", "No bootable app partitions in the partition table")
    return Restart(SW_RESET)


def _bootloader_descriptor(start: bytes) -> tuple[str, str]:
    """IDF version and compile time from the start of the bootloader image's first segment."""
    at = image.HEADER.size + image.SEGMENT_HEADER.size
    fields = image.BOOTLOADER_DESCRIPTOR.unpack(start[at : at + image.BOOTLOADER_DESCRIPTOR.size])
    if fields[0] != image.BOOTLOADER_DESCRIPTOR_MAGIC:
        return "unknown", "unknown"
    return image.c_string(fields[2]), image.c_string(fields[3])


def _fits_chip(header: image.ImageHeader, uart: _Uart, revision: int, is_app: bool) -> bool:
    chip = f"chip is v{revision // 100}.{revision % 100}"
    if header.chip_id != image.CHIP_ID_ESP32:
        uart.error("boot_comm", f"mismatch chip ID, expected {image.CHIP_ID_ESP32}, found {header.chip_id}")
        return False
    low, high = header.min_revision, header.max_revision
    if revision < low:
        uart.error("boot_comm", f"Image requires chip rev >= v{low // 100}.{low % 100}, but {chip}")
        return False
    if is_app and high not in (0, 0xFFFF) and revision > high:
        uart.error("boot_comm", f"Image requires chip rev <= v{high // 100}.{high % 100}, but {chip}")
        return False
    return True


def _load_table(flash: Flash, uart: _Uart) -> list[partition.Partition] | None:
    table = flash.read(partition.TABLE_OFFSET, partition.TABLE_LENGTH)
    found: list[partition.Partition] = []
    has_digest = False
    problem = "partition table has no terminating entry, not valid"
    for index in range(partition.MAX_ENTRIES):
        start = index * partition.ENTRY.size
        entry = table[start : start + partition.ENTRY.size]
        magic, type_, subtype, offset, size, label, flags = partition.ENTRY.unpack(entry)
        if magic == partition.ENTRY_MAGIC:
            if offset + size > flash.size:
                problem = (
                    f"partition {index} invalid - offset {offset:#x} size {size:#x} "
                    f"exceeds flash chip size {flash.size:#x}"
                )
                break
            found.append(partition.Partition(image.c_string(label), type_, subtype, offset, size, flags))
        elif magic == partition.MD5_MAGIC:
            if has_digest:
                problem = "Only one MD5 checksum is allowed"
                break
            if hashlib.md5(table[:start], usedforsecurity=False).digest() != entry[16:]:
                problem = "Incorrect MD5 checksum"
                break
            has_digest = True
        elif entry[:4] == b"\xff\xff\xff\xff":
            _log_table(found, uart)
            return found
        else:
            problem = f"partition {index} invalid magic number {magic:#x}"
            break
    uart.error("flash_parts", problem)
    uart.error("boot", "Failed to verify partition table")
    return None


def _log_table(partitions: list[partition.Partition], uart: _Uart) -> None:
    uart.info("boot", "Partition Table:")
    uart.info("boot", "## Label            Usage          Type ST Offset   Length")
    for index, part in enumerate(partitions):
        uart.info(
            "boot",
            f"{index:2d} {part.name:<16} {_usage(part):<16} {part.type:02x} {part.subtype:02x} "
            f"{part.offset:08x} {part.size:08x}",
        )
    uart.info("boot", "End of partition table")


def _usage(part: partition.Partition) -> str:
    if part.type == partition.APP:
        if part.subtype in (0x00, 0x20):
            return "test app" if part.subtype else "factory app"
        return "OTA app" if part.subtype & ~0xF == 0x10 else "Unknown app"
    names: dict[int, dict[int, str]] = {
        partition.DATA: {0: "OTA data", 1: "RF data", 2: "WiFi data", 4: "NVS keys", 5: "efuse"},
        2: {0: "primary bootloader", 1: "ota bootloader"},
        3: {0: "primary partition_table", 1: "ota partition_table"},
    }
    default = "Unknown data" if part.type == partition.DATA else "unknown"
    return names.get(part.type, {}).get(part.subtype, default)


def _boot_order(
    flash: Flash, partitions: list[partition.Partition], uart: _Uart
) -> list[tuple[str, partition.Partition]]:
    """Apps in the order the bootloader tries them. OTA data is always taken as empty."""
    apps = {p.subtype: p for p in partitions if p.type == partition.APP}
    otadata = next((p for p in partitions if (p.type, p.subtype) == (partition.DATA, 0)), None)
    order = []
    if 0x00 in apps:
        if otadata is not None and flash.read(otadata.offset, 4) == b"\xff\xff\xff\xff":
            uart.info("boot", "Defaulting to factory image")
        order.append(("Factory app partition", apps[0x00]))
    slots = sorted(subtype for subtype in apps if subtype & ~0xF == 0x10)
    order += [(f"OTA app partition slot {subtype & 0xF}", apps[subtype]) for subtype in slots]
    return order


def _load_app(flash: Flash, part: partition.Partition, uart: _Uart, revision: int) -> RunApp | None:
    """Check an app image as the bootloader does; None if it is not bootable."""
    tag = "esp_image"
    start = flash.read(part.offset, image.HEADER.size)
    header = image.ImageHeader.parse(start)
    if header.magic != image.IMAGE_MAGIC:
        uart.error(tag, f"image at {part.offset:#x} has invalid magic byte (nothing flashed here?)")
        return None
    if not _fits_chip(header, uart, revision, is_app=True):
        return None
    if header.segment_count > image.MAX_SEGMENTS:
        count = f"segment count {header.segment_count} exceeds max {image.MAX_SEGMENTS}"
        uart.error(tag, f"image at {part.offset:#x} {count}")
        return None
    position = part.offset + image.HEADER.size
    checksum = image.CHECKSUM_SEED
    segment0 = b""
    for index in range(header.segment_count):
        address, length = image.SEGMENT_HEADER.unpack(flash.read(position, image.SEGMENT_HEADER.size))
        position += image.SEGMENT_HEADER.size
        if length & 3 or length >= _MAX_SEGMENT:
            uart.error(tag, f"invalid segment length {length:#x}")
            return None
        mapped = _is_mapped(address)
        if mapped and (position ^ address) & 0xFFFF:
            text = f"Segment {index} load address {address:#010x}, doesn't match data {position:#010x}"
            uart.error(tag, text)
            return None
        how = "map" if mapped else "load" if address >= 0x10000000 else ""
        where = f"paddr={position:08x} vaddr={address:08x}"
        uart.info(tag, f"segment {index}: {where} size={length:05x}h ({length:6d}) {how}")
        if position + length > flash.size:
            uart.error(tag, f"bootloader_flash_read failed at {position:#010x}")
            return None
        data = flash.read(position, length)
        if index == 0:
            segment0 = data
        checksum ^= image.xor_bytes(data)
        position += length
        uart.now_ms += length / _READ_BYTES_PER_MS
    stored = flash.read(position | 15, 1)[0]
    if checksum != stored:
        uart.error(tag, f"Checksum failed. Calculated {checksum:#x} read {stored:#x}")
        return None
    body_end = (position | 15) + 1
    end = body_end + (32 if header.hash_appended else 0)
    if end - part.offset > part.size:
        uart.error(tag, f"Image length {end - part.offset} doesn't fit in partition length {part.size}")
        return None
    if header.hash_appended:
        body = flash.read(part.offset, body_end - part.offset)
        if hashlib.sha256(body).digest() != flash.read(body_end, 32):
            uart.error(tag, "Image hash failed - image is corrupt")
            return None
    return RunApp(part.offset, segment0, image.parse_app_descriptor(segment0))


def _is_mapped(address: int) -> bool:
    return image.DROM_ADDRESS & ~0xFFFF <= address < image.DROM_END or 0x400D0000 <= address < 0x40400000
