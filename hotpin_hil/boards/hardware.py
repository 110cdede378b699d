"""A real ESP32-CAM on a serial port."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hotpin_hil.boards.artifacts import FirmwareBuild
from hotpin_hil.boards.board import BoardSettings
from hotpin_hil.boards.kind import BoardKind


class HardwareBoard:
    """Boards on serial ports, leased by the run."""

    kind = BoardKind.HARDWARE
    is_modelled = False
    is_real_chip = True
    runs_chip_code = True
    memory_is_exact = False
    outlives_a_test = True
    can_fail_on_purpose = False
    control = None
    profile = None
    mac = None

    def __init__(self, settings: BoardSettings) -> None:
        self._options = settings.options

    def check_tools(self) -> None:
        """Nothing but esptool is needed, which the package depends on."""

    def check_build(self, build: FirmwareBuild) -> None:
        """Every build for the chip runs on it."""

    def prepare(self, worker: str, power_cycle: Callable[[], bool] | None) -> None:
        """Registers the harness's serial service."""
        use_serial_service(self._options, power_cycle)

    def start(self, count: int) -> list[str] | None:
        """Starts nothing: the ports are those of the leases."""
        return []

    def check_alive(self) -> None:
        """A board that has died is found by its silence."""

    def describe(self) -> dict[str, Any]:
        """Nothing: the firmware reports what is known."""
        return {}

    def stop(self) -> None:
        """Nothing was started."""


def use_serial_service(options: Any, power_cycle: Callable[[], bool] | None) -> None:
    """Makes pytest-embedded open ports with the harness's serial service.

    Args:
        options: the options of the run. Without pytest-embedded's among them, nothing is done.
        power_cycle: called when a chip does not enter its boot loader.
    """
    if not hasattr(options, "embedded_services"):
        return
    from hotpin_hil.link.embedded import install_serial
    from hotpin_hil.link.idf_serial import HilIdfSerial

    install_serial()
    HilIdfSerial.power_cycle = power_cycle
