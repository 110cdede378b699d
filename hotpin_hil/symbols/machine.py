"""Processor architectures, and the address of a call for a given return address."""

from __future__ import annotations

from enum import Enum

_XTENSA_WINDOW = 0x80000000
_XTENSA_REGION = 0x40000000
_XTENSA_OFFSET = 0x3FFFFFFF
_XTENSA_CALL_BYTES = 3


class Machine(str, Enum):
    """Architecture of an ELF file."""

    XTENSA = "Xtensa"
    """ESP32, ESP32-S2, ESP32-S3"""
    RISCV = "RISC-V"
    """ESP32-C, -H and -P chips"""
    HOST = "host"
    """The virtual board: firmware built for this machine. Code addresses are offsets into the ELF."""

    def __str__(self) -> str:
        return self.value


def call_address(return_address: int, machine: Machine) -> int:
    """An address within the instruction that made a call.

    Args:
        return_address: value in a register or on the stack. On Xtensa the two highest bits may contain the size of the
            register window (call4, call8, call12) in place of the address bits.
        machine: the architecture.
    """
    if machine is not Machine.XTENSA:
        return return_address - 1  # a call instruction is 2 or 4 bytes long on RISC-V
    if return_address & _XTENSA_WINDOW:  # like ESP-IDF's esp_cpu_process_stack_pc()
        return_address = (return_address & _XTENSA_OFFSET) | _XTENSA_REGION
    return return_address - _XTENSA_CALL_BYTES
