"""The interface of a board. Each kind of board is one class: `HardwareBoard`, `QemuBoard`, `VirtualBoard`.

Code outside this package asks for a board's capabilities, never for its kind. To add a kind, add a class to this
package, a member to `BoardKind`, and a line to `session.KINDS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from hotpin_hil.boards.artifacts import FirmwareBuild
from hotpin_hil.boards.kind import BoardKind
from hotpin_hil.errors import HostError

if TYPE_CHECKING:
    from hotpin_hil.virtual.control import BoardControl  # importable only where the virtual board runs
    from hotpin_hil.virtual.profile import BoardProfile


RUN_STATE = "state"
"""Folder in a run's folder for temporary data of the run: flash of virtual boards, pytest-embedded's cache."""


@dataclass(frozen=True)
class BoardSettings:
    """The run's settings for its board."""

    is_started_here: bool
    """Whether the harness starts the board, instead of leasing an existing one."""
    options: Any
    """pytest-embedded's options, which `Board.prepare` completes."""
    folder: Path
    """The run's output folder."""
    time_scale: float
    """Upper limit of a virtual board's clock, as a multiple of the host's."""


class Board(Protocol):
    """One board, or several boards of the same kind for a test that uses several."""

    @property
    def kind(self) -> BoardKind:
        """The kind's name, for results and messages."""

    @property
    def is_modelled(self) -> bool:
        """Whether --time-scale and --board-profile have an effect."""

    @property
    def is_real_chip(self) -> bool:
        """Whether the chip is a real ESP32, so that timing and exceptions match the product's."""

    @property
    def runs_chip_code(self) -> bool:
        """Whether the board executes the ESP32's instructions, so that stack depths match the product's."""

    @property
    def memory_is_exact(self) -> bool:
        """Whether the heap is a model, so that a test can predict each figure to the byte."""

    @property
    def outlives_a_test(self) -> bool:
        """Whether the next test uses the same board, in the state in which the previous test left it."""

    @property
    def can_fail_on_purpose(self) -> bool:
        """Whether a test may inject faults."""

    @property
    def control(self) -> BoardControl | None:
        """Control of the first board; None if it cannot be controlled."""

    @property
    def profile(self) -> BoardProfile | None:
        """The profile that the board follows; None if it is unknown."""

    @property
    def mac(self) -> str | None:
        """MAC of the first board, if it is known before the firmware reports one."""

    def check_tools(self) -> None:
        """Check the programs that this kind of board needs.

        Raises:
            UsageError: a program is missing or too old.
        """

    def check_build(self, build: FirmwareBuild) -> None:
        """Check that the board would run this build.

        Raises:
            BuildError: the board would not run it.
        """

    def prepare(self, worker: str, power_cycle: Callable[[], bool] | None) -> None:
        """Set pytest-embedded's options and register the harness's services.

        Args:
            worker: name of this process, for file names.
            power_cycle: cycles the board's power and returns whether it did so; None without a switch.
        """

    def start(self, count: int) -> list[str] | None:
        """Start boards until `count` of them are running.

        Returns:
            The ports of the boards; empty if the run leases its boards, None if this kind of board has no ports.

        Raises:
            PortError: a board did not start.
        """

    def check_alive(self) -> None:
        """Check that the boards that `start` started are still running.

        Raises:
            HostError: the process of a board does not answer.
            PortError: a board has ended.
        """

    def host_fault(self) -> HostError | None:
        """A host fault that a board has noticed since `check_alive`; None if there was none."""

    def describe(self) -> dict[str, Any]:
        """Data about the board for the results file, known before the first test."""

    def stop(self) -> None:
        """Stop the started boards. Safe to call twice."""
