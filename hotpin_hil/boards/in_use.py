"""The board's interface for fixtures and evidence: properties, identity and power."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

from hotpin_hil.boards.artifacts import FirmwareBuild, read_build
from hotpin_hil.boards.bench import ENV_BENCH, POWER
from hotpin_hil.boards.build import profile_build_dir, release_build_dir
from hotpin_hil.boards.identity import Identities, check_identity
from hotpin_hil.boards.kind import BoardKind
from hotpin_hil.boards.labgrid_settings import OPTION
from hotpin_hil.boards.origin import Origin
from hotpin_hil.boards.power import PowerSwitch
from hotpin_hil.boards.rerun import rerun_command
from hotpin_hil.boards.session import BoardSession
from hotpin_hil.device.images import PROFILE, RELEASE, WITH_CONSOLE
from hotpin_hil.errors import BenchError, BuildError
from hotpin_hil.logs.noise import Noise

if TYPE_CHECKING:
    from hotpin_hil.virtual.control import BoardControl  # importable only where the virtual board runs
    from hotpin_hil.virtual.profile import BoardProfile


class BoardInUse:
    """The board of this process, for fixtures and evidence."""

    def __init__(self, session: BoardSession) -> None:
        """Start without a board; `choose` chooses it."""
        self.session = session
        self._identities = Identities()
        self.on_identity: Callable[[dict[str, Any]], None] = lambda identity: None
        """Callback for each new identity that a board of this process confirms."""
        self.on_noise: Callable[[Noise, str, int], None] = lambda noise, test, count: None
        """Callback for known noise in a test's log, with the number of lines."""

    @property
    def is_chosen(self) -> bool:
        """Whether the board has been chosen; before that, most properties are not available."""
        return self.session.is_chosen

    def choose(self) -> None:
        """Choose the board: see `BoardSession.choose`."""
        self.session.choose()

    @property
    def kind(self) -> BoardKind:
        """The kind of board, for output only. Code that depends on the board uses the properties below."""
        return self.session.board.kind

    @property
    def why(self) -> str:
        """The reason for this kind, in a few words; empty if the user named it."""
        return self.session.choice.why

    @property
    def is_real_chip(self) -> bool:
        """Whether the chip is a real ESP32, so that timing and exceptions match the product's."""
        return self.session.board.is_real_chip

    @property
    def runs_chip_code(self) -> bool:
        """Whether the board executes the ESP32's instructions, so that stack depths match the product's."""
        return self.session.board.runs_chip_code

    @property
    def memory_is_exact(self) -> bool:
        """Whether the heap is a model, so that a test can predict each figure to the byte."""
        return self.session.board.memory_is_exact

    @property
    def outlives_a_test(self) -> bool:
        """Whether the next test uses the same board, in the state in which the previous test left it."""
        return self.session.board.outlives_a_test

    @property
    def can_fail_on_purpose(self) -> bool:
        """Whether a test may inject faults."""
        return self.session.board.can_fail_on_purpose

    @property
    def control(self) -> BoardControl | None:
        """Control of the virtual board that the harness started; None for any other board."""
        return self.session.board.control

    def profile_of_own(self) -> BoardProfile | None:
        """The profile of the virtual boards that the harness starts; None for any other board."""
        return self.session.board.profile

    @property
    def time_scale(self) -> float:
        """Upper limit of a virtual board's clock, as a multiple of the host's."""
        return self.session.time_scale

    @property
    def build(self) -> FirmwareBuild:
        """The firmware build to flash."""
        return self.session.build

    def build_of(self, image: str) -> FirmwareBuild:
        """The firmware build with this image: RELEASE, PROFILE, or else the image with the console.

        Raises:
            BuildError: it is missing, damaged, or for another board.
        """
        if image == RELEASE:
            return read_build(release_build_dir(self.kind.value), self.kind)
        if image == PROFILE:
            return read_build(profile_build_dir(self.kind.value), self.kind)
        return self.build

    @property
    def port(self) -> str | None:
        """Port of the board, or ports of several boards; None in QEMU."""
        return self.session.port

    @property
    def mac(self) -> str | None:
        """MAC of the board; None until it is known."""
        return self._identities.mac or self.session.mac

    @property
    def name(self) -> str:
        """The board's name in the bench file, else its MAC, else its kind."""
        entry = self.session.entry
        return entry.name if entry else self.mac or f"the {self.kind} board"

    @property
    def power(self) -> PowerSwitch | None:
        """The board's power switch, if it has one."""
        return self.session.power

    def check_needs(self, needs: Collection[str]) -> None:
        """Check that the board has what a test needs: features from the bench file, or `power`.

        Raises:
            BenchError: the board does not have one of them.
        """
        entry = self.session.entry
        missing = [need for need in needs if (entry.is_without(need) if entry else need == POWER)]
        if missing:
            name = entry.name if entry else f"the {self.kind} board"
            raise BenchError(
                f"{name} has no {', '.join(missing)}", "run this test on a board that has it (bench.toml)"
            )

    def confirm(
        self, info: Mapping[str, Any], elf_sha256: str | None = None, *, image: str = WITH_CONSOLE
    ) -> bool:
        """Check the identity that the firmware reports, before using any of its other data.

        Args:
            info: the fields of sys.info.
            elf_sha256: SHA-256 of the flashed firmware's ELF file, if the board must run that firmware.
            image: the image that the board is running.

        Returns:
            Whether this identity is new to this process.

        Raises:
            WrongBoardError: another board, another kind of board, or firmware of another commit.
            FirmwareError: the board does not run the flashed firmware.
            PortError: another run has leased the board with this MAC.
        """
        entry, options = self.session.entry, self.session.options
        check_identity(
            self.kind,
            info,
            mac=(entry and entry.mac) or options.board_mac,
            elf_sha256=elf_sha256,
            is_flashed=not is_true(getattr(options, "skip_autoflash", None)),
            origin=self._origin_of(image),
        )
        self.session.rescue.note_answer()
        self.session.leases.confirm_mac(info.get("mac", self.mac))
        identity = self._identities.add(info, image)
        if identity is None:
            return False
        self.on_identity(identity)
        return True

    def _origin_of(self, image: str) -> Origin | None:
        try:
            return self.build_of(image).origin
        except BuildError:
            return None

    def reproduce(self, nodeid: str) -> str:
        """The shell command that runs one test again on the same kind of board."""
        session, where = self.session, list[str]()
        if session.choice.is_pool and session.entry:
            bench = session.options.bench or session.environment.get(ENV_BENCH)
            where += ["--bench", str(bench)] if bench else []
            coordinator = session.options.labgrid_coordinator
            where += [OPTION, str(coordinator)] if coordinator else []
            where += ["--board-name", session.entry.name]
        elif session.choice.boards and self.port:
            where += ["--port", self.port]
        return rerun_command(self.kind.value, where, session.options, nodeid)

    def as_json(self) -> dict[str, Any]:
        """Data about the board before the firmware reports its identity."""
        ports = self.session.leases.leased_ports
        return {
            "kind": self.kind.value,
            **({"ports": ports} if ports else {}),
            **self.session.board.describe(),
        }


def is_true(value: object) -> bool:
    """Whether a yes-or-no pytest-embedded option is set: `y`, `yes` or `true`."""
    return value is True or (isinstance(value, str) and value.lower() in ("y", "yes", "true"))
