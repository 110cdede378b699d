"""The interface of a board. Each kind is one class: `HardwareBoard`, `QemuBoard`, `VirtualBoard`.

Code outside this package asks a board what it can do, never which kind it is. A new kind is a new class here, a member
of `BoardKind`, and a line in `session.KINDS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from hotpin_hil.boards.artifacts import FirmwareBuild
from hotpin_hil.boards.kind import BoardKind

if TYPE_CHECKING:
    from hotpin_hil.virtual.control import BoardControl  # its imports work only where the virtual board does
    from hotpin_hil.virtual.profile import BoardProfile


@dataclass(frozen=True)
class BoardSettings:
    """What a run gives its board."""

    is_started_here: bool
    """Whether the harness starts the board, instead of leasing one that exists."""
    options: Any
    """pytest-embedded's options, which `Board.prepare` completes."""
    folder: Path
    """The run's output folder."""
    time_scale: float
    """Upper limit of a virtual board's clock, as a multiple of the host's."""


class Board(Protocol):
    """A board of one kind, or several of them for a test that has several."""

    @property
    def kind(self) -> BoardKind:
        """The kind's name, for results and messages."""

    @property
    def is_modelled(self) -> bool:
        """Whether --time-scale and --board-profile have an effect."""

    @property
    def is_real_chip(self) -> bool:
        """Whether the chip is silicon: its times and its exceptions are those of the product."""

    @property
    def runs_chip_code(self) -> bool:
        """Whether it executes the chip's instructions: stack depths are those of the product."""

    @property
    def memory_is_exact(self) -> bool:
        """Whether its heap is modelled, so that each figure is known to the byte."""

    @property
    def outlives_a_test(self) -> bool:
        """Whether the next test meets the same board, in whatever state this one left it."""

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
        """MAC of the first board if it is known before the firmware reports it."""

    def check_tools(self) -> None:
        """Checks the programs that this kind of board needs.

        Raises:
            UsageError: one of them is missing or too old.
        """

    def check_build(self, build: FirmwareBuild) -> None:
        """Checks that the board would run this build.

        Raises:
            BuildError: it would not.
        """

    def prepare(self, worker: str, power_cycle: Callable[[], bool] | None) -> None:
        """Sets the options of pytest-embedded and registers the harness's services.

        Args:
            worker: name of this process in file names.
            power_cycle: cycles the board's power and returns whether it did; None without a switch.
        """

    def start(self, count: int) -> list[str] | None:
        """Starts boards until `count` of them run.

        Returns:
            Their ports; empty if boards of this run are not started but leased, None if the kind has no ports.

        Raises:
            PortError: a board did not start.
        """

    def check_alive(self) -> None:
        """Checks the boards that `start` started.

        Raises:
            PortError: one of them has ended.
        """

    def describe(self) -> dict[str, Any]:
        """What the results file records about the board before the first test."""

    def stop(self) -> None:
        """Ends what `start` started. Safe to call twice."""
