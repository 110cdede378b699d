"""Registers of an ESP32-D0WD-V3 that serial tools access, and its SPI controller.

Figures: ESP32-D0WD-V3, 40 MHz crystal, as read from real chips by esptool.
"""

from __future__ import annotations

from collections.abc import Callable

CHIP_MAGIC_REGISTER = 0x40001000
CHIP_MAGIC = 0x00F01D83
EFUSE = 0x3FF5A000
SYSCON_DATE = 0x3FF6607C
UART_CLKDIV = 0x3FF40014
RTC_CALIBRATION = 0x3FF5F06C
GPIO_STRAP = 0x3FF44038
SPI1 = 0x3FF42000
CRYSTAL_HZ = 40_000_000

_CK8M = 128
_CALIBRATION = 800  # together with _CK8M, it makes the ROM's estimate of the crystal exactly 40 MHz
_MAX_WRITTEN = 4096  # limit of stored registers; a tool writes about a dozen

_SPI_CMD, _SPI_ADDR, _SPI_USER, _SPI_USER1, _SPI_USER2, _SPI_W0 = 0x00, 0x04, 0x1C, 0x20, 0x24, 0x80
_SPI_USR = 1 << 18
_USER_ADDR = 1 << 30
_VENDOR = 0xC8  # GigaDevice
_STATUS_COMMANDS = {0x05: 0, 0x35: 8, 0x15: 16}
_STATUS_WRITES = {0x01: (0, 16), 0x31: (8, 8), 0x11: (16, 8)}


class Registers:
    """Register file of one chip. `mac` has 6 bytes; `revision` is major * 100 + minor."""

    def __init__(self, mac: bytes, revision: int, flash_bytes: int, host_baud: Callable[[], int]) -> None:
        self._host_baud = host_baud
        self._flash_bytes = flash_bytes
        self._status = 0x000200  # quad enable, as shipped
        self._written: dict[int, int] = {}
        major, minor = divmod(revision, 100)
        bits = {0: 0, 1: 0b001, 2: 0b011, 3: 0b111}.get(major, 0b111)
        high, low = int.from_bytes(mac[:2], "big"), int.from_bytes(mac[2:], "big")
        self._fixed = {
            CHIP_MAGIC_REGISTER: CHIP_MAGIC,
            EFUSE + 0x04: low,
            EFUSE + 0x08: high | (_mac_crc(mac) << 16),
            EFUSE + 0x0C: (bits & 1) << 15 | 1 << 13 | 1 << 9,  # rated 240 MHz, package D0WD
            EFUSE + 0x10: _CK8M | 0x0B << 8,
            EFUSE + 0x14: (bits >> 1 & 1) << 20 | minor << 24,
            SYSCON_DATE: (bits >> 2 & 1) << 31,
            RTC_CALIBRATION: _CALIBRATION << 7,
            GPIO_STRAP: 0x13,
        }

    def read(self, address: int) -> int:
        """Read a 32-bit register; unknown registers read 0 until written."""
        if address == UART_CLKDIV:
            return CRYSTAL_HZ // max(self._host_baud(), 1)
        if address in self._fixed:
            return self._fixed[address]
        return self._written.get(address, 0)

    def write(self, address: int, value: int, mask: int = 0xFFFFFFFF) -> None:
        """Write the bits of `mask`; starting the SPI controller runs the flash command at once."""
        value = self._written.get(address, 0) & ~mask | value & mask
        if address == SPI1 + _SPI_CMD:
            if value & _SPI_USR:
                self._run_spi()
            return
        if address in self._written or len(self._written) < _MAX_WRITTEN:
            self._written[address] = value & 0xFFFFFFFF

    def _run_spi(self) -> None:
        command = self.read(SPI1 + _SPI_USER2) & 0xFF
        address = 0
        if self.read(SPI1 + _SPI_USER) & _USER_ADDR:
            bits = (self.read(SPI1 + _SPI_USER1) >> 26) + 1
            address = self.read(SPI1 + _SPI_ADDR) >> (32 - bits)
        data = SPI1 + _SPI_W0
        if command == 0x9F:
            self._written[data] = self.flash_id
        elif command == 0x5A:
            self._written[data] = int.from_bytes(
                self._sfdp()[address : address + 4].ljust(4, b"\xff"), "little"
            )
        elif command in _STATUS_COMMANDS:
            self._written[data] = self._status >> _STATUS_COMMANDS[command] & 0xFF
        elif command in _STATUS_WRITES:
            shift, width = _STATUS_WRITES[command]
            field = (1 << width) - 1
            value = self.read(data) & field
            self._status = self._status & ~(field << shift) | value << shift

    @property
    def flash_id(self) -> int:
        """Reply to the RDID command: size code, type, vendor."""
        return (self._flash_bytes.bit_length() - 1) << 16 | 0x40 << 8 | _VENDOR

    def _sfdp(self) -> bytes:
        """The serial flash's SFDP data: both headers, and the first words of the table, with the flash size."""
        header = b"SFDP" + bytes([0x06, 0x01, 0x00, 0xFF])
        table_header = bytes([0x00, 0x06, 0x01, 0x10, 0x10, 0x00, 0x00, 0xFF])
        words = (0xFFF120E5, self._flash_bytes * 8 - 1)
        return header + table_header + b"".join(word.to_bytes(4, "little") for word in words)


def _mac_crc(mac: bytes) -> int:
    """CRC-8 stored next to the MAC in eFuse (Dallas/Maxim polynomial, reflected)."""
    crc = 0
    for byte in mac:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x8C if crc & 1 else 0)
    return crc


def parse_mac(text: str) -> bytes:
    """Six bytes of `aa:bb:cc:dd:ee:ff`."""
    return bytes(int(part, 16) for part in text.split(":"))


def format_mac(mac: bytes) -> str:
    """`aa:bb:cc:dd:ee:ff`."""
    return ":".join(f"{byte:02x}" for byte in mac)
