"""The virtual ESP32-CAM: started by the harness, or served by another process on a port."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hotpin_hil.boards.artifacts import FirmwareBuild, check_registered
from hotpin_hil.boards.board import RUN_STATE, BoardSettings
from hotpin_hil.boards.board_process import BoardProcess
from hotpin_hil.boards.hardware import use_serial_service
from hotpin_hil.boards.kind import BoardKind
from hotpin_hil.errors import HilError, HostError
from hotpin_hil.virtual import profile

if TYPE_CHECKING:
    from hotpin_hil.virtual.control import BoardControl


class VirtualBoard:
    """Virtual boards, one process each."""

    kind = BoardKind.VIRTUAL
    is_modelled = True
    is_real_chip = False
    runs_chip_code = False
    memory_is_exact = True
    outlives_a_test = True

    def __init__(self, settings: BoardSettings) -> None:
        self._settings = settings
        self._processes: list[BoardProcess] = []
        self._worker = ""

    @property
    def can_fail_on_purpose(self) -> bool:
        """True only for boards that the harness started, because no other run uses them."""
        return self._settings.is_started_here

    @property
    def control(self) -> BoardControl | None:
        """Control of the first board that the harness started."""
        return self._processes[0].control if self._processes else None

    @property
    def profile(self) -> profile.BoardProfile | None:
        """The profile of the boards that the harness starts; None for a board that another process serves."""
        return profile.load(self._profile_name) if self._settings.is_started_here else None

    @property
    def _profile_name(self) -> str:
        return str(self._settings.options.board_profile or profile.DEFAULT_PROFILE)

    @property
    def mac(self) -> str | None:
        """MAC of the first board that the harness started."""
        return self._processes[0].mac if self._processes else None

    def check_tools(self) -> None:
        """Check that the profile exists; the process checks its own tools when it starts.

        Raises:
            UsageError: the profile does not exist or is damaged.
        """
        profile.load(self._profile_name)

    def check_build(self, build: FirmwareBuild) -> None:
        """Check that this checkout built the firmware, because the virtual board runs no other program.

        Raises:
            BuildError: another checkout built it.
        """
        if self._settings.is_started_here:
            check_registered(build)

    def prepare(self, worker: str, power_cycle: Callable[[], bool] | None) -> None:
        """Register the harness's serial service."""
        self._worker = worker
        use_serial_service(self._settings.options, power_cycle)

    def start(self, count: int) -> list[str] | None:
        """Start boards until `count` of them are running, unless another process serves them."""
        while self._settings.is_started_here and len(self._processes) < count:
            self._processes.append(self._start())
        return [process.port for process in self._processes]

    def _start(self) -> BoardProcess:
        number = f"-{len(self._processes) + 1}" if self._processes else ""
        log: Path = self._settings.folder / f"virtual-board-{self._worker}{number}.log"
        arguments = ["--time-scale", f"{self._settings.time_scale:g}", "--profile", self._profile_name]
        return BoardProcess.start(log, self._settings.folder / RUN_STATE / "boards", arguments)

    def check_alive(self) -> None:
        """Check that the started processes are still running.

        Raises:
            HostError: a process does not answer.
            PortError: a process has ended.
        """
        for process in self._processes:
            process.check_alive()

    def host_fault(self) -> HostError | None:
        """A host fault that a started board has noticed since `check_alive`; None if there was none."""
        for process in self._processes:
            try:
                process.note_host_faults()
            except HostError as error:
                return error
            except HilError:
                continue  # the process has ended, which `check_alive` reports
            if process.host_fault is not None:
                return process.host_fault
        return None

    def describe(self) -> dict[str, Any]:
        """The board's clock speed and profile."""
        return {"time_scale": self._settings.time_scale, "profile": self._profile_name}

    def stop(self) -> None:
        """Stop the started processes."""
        while self._processes:
            self._processes.pop().stop()
