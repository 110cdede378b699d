"""A real ESP32-CAM on a serial port."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hotpin_hil.boards.artifacts import FirmwareBuild
from hotpin_hil.boards.board import BoardSettings
from hotpin_hil.boards.kind import BoardKind
from hotpin_hil.errors import HostError


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
        """Do nothing: esptool, a dependency of the package, is enough."""

    def check_build(self, build: FirmwareBuild) -> None:
        """Do nothing: every build for the chip runs on it."""

    def prepare(self, worker: str, power_cycle: Callable[[], bool] | None) -> None:
        """Register the harness's serial service."""
        use_serial_service(self._options, power_cycle)

    def start(self, count: int) -> list[str] | None:
        """Do nothing: the leases determine the ports."""
        return []

    def check_alive(self) -> None:
        """Do nothing: a dead board is detected by its silence."""

    def host_fault(self) -> HostError | None:
        """None: a real board does not notice host faults."""
        return None

    def describe(self) -> dict[str, Any]:
        """Return nothing: the firmware reports its identity itself."""
        return {}

    def stop(self) -> None:
        """Do nothing: nothing was started."""


def use_serial_service(options: Any, power_cycle: Callable[[], bool] | None) -> None:
    """Make pytest-embedded open ports with the harness's serial service.

    Args:
        options: the options of the run. Without pytest-embedded's options, the function does nothing.
        power_cycle: called if a chip does not enter download mode.
    """
    if not hasattr(options, "embedded_services"):
        return
    from hotpin_hil.link.embedded import install_serial
    from hotpin_hil.link.idf_serial import HilIdfSerial

    install_serial()
    HilIdfSerial.power_cycle = power_cycle
