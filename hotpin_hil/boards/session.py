"""The board of a run: chooses and leases it, configures pytest-embedded for it, and stops it."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from pathlib import Path
from typing import Any, cast

from hotpin_hil.boards.artifacts import FirmwareBuild, read_build
from hotpin_hil.boards.bench import BoardEntry, find_bench
from hotpin_hil.boards.board import RUN_STATE, Board, BoardSettings
from hotpin_hil.boards.build import build_dir
from hotpin_hil.boards.choose import ENV_PORT, PORT_SEPARATOR, Choice, Wish, choose_board
from hotpin_hil.boards.hardware import HardwareBoard
from hotpin_hil.boards.kind import BoardKind
from hotpin_hil.boards.leasing import RunLeases, attached_ports
from hotpin_hil.boards.power import PowerSwitch
from hotpin_hil.boards.qemu import QemuBoard
from hotpin_hil.boards.rescue import PowerRescue
from hotpin_hil.boards.virtual import VirtualBoard
from hotpin_hil.errors import BenchError, UsageError
from hotpin_hil.paths import FIRMWARE_DIR

LEASE_TIMEOUT_S = 5.0
"""Default of --lease-timeout. `hotpin-hil boards` leases a board for about that long while it identifies the board."""

KINDS: dict[BoardKind, Callable[[BoardSettings], Board]] = {
    BoardKind.HARDWARE: HardwareBoard,
    BoardKind.QEMU: QemuBoard,
    BoardKind.VIRTUAL: VirtualBoard,
}


class BoardSession:
    """The board that this process of the run uses."""

    def __init__(
        self,
        options: Any,
        root: Path,
        folder: Path,
        *,
        time_scale: float,
        environment: MutableMapping[str, str],
        worker: str = "",
        handed_over: str | None = None,
    ) -> None:
        """Create the session without touching a board.

        Args:
            options: the options of the run, this package's and pytest-embedded's.
            root: the checkout.
            folder: the run's output folder.
            time_scale: upper limit of a virtual board's clock, as a multiple of the host's.
            environment: environment of the process.
            worker: id of this pytest-xdist worker, empty in the main process.
            handed_over: the board, as JSON, that the controller leased for this worker.
        """
        self.options = options
        self.environment = environment
        self.time_scale = time_scale
        self.leases = RunLeases(environment, worker)
        self.rescue = PowerRescue()
        self._root = root
        self._folder = folder
        self._handed_over = handed_over
        self._choice: Choice | None = None
        self._board: Board | None = None
        self._build: FirmwareBuild | None = None

    @property
    def is_chosen(self) -> bool:
        """Whether `choose` has chosen a board."""
        return self._choice is not None

    @property
    def choice(self) -> Choice:
        """The boards this run may use, and why they were chosen."""
        assert self._choice is not None, "the board has not been chosen yet"
        return self._choice

    @property
    def board(self) -> Board:
        """The chosen board."""
        assert self._board is not None, "the board has not been chosen yet"
        return self._board

    @property
    def build(self) -> FirmwareBuild:
        """The firmware build to flash."""
        assert self._build is not None, "the board has not been chosen yet"
        return self._build

    @property
    def port(self) -> str | None:
        """Port of the board, or of several; None in QEMU."""
        return cast("str | None", self.options.port)

    @property
    def mac(self) -> str | None:
        """MAC of the board, if it is known before the firmware reports it."""
        return self.entry.mac if self.entry else self._board.mac if self._board else None

    @property
    def count(self) -> int:
        """Default number of boards per test: pytest-embedded's --count."""
        count: int = getattr(self.options, "count", None) or 1
        return count

    @property
    def entry(self) -> BoardEntry | None:
        """The leased board; None for a board that the harness starts."""
        return self.leases.mine.entry if self.leases.mine else None

    @property
    def power(self) -> PowerSwitch | None:
        """The board's power switch, if it has one."""
        return self.entry.power if self.entry else None

    def choose(self) -> None:
        """Choose board and build, without touching a board.

        Raises:
            UsageError: the command line, the environment or the bench file is wrong, or a tool is missing.
            BuildError: the build is missing, damaged, or for another board.
        """
        options = self.options
        if self._handed_over:
            entry = self.leases.accept(self._handed_over)
            choice = Choice(entry.kind, (entry,))
        else:
            choice = self._choose()
        board = KINDS[choice.kind](
            BoardSettings(choice.is_started_here, options, self._folder, self.time_scale)
        )
        for option, value in (
            ("--time-scale", options.time_scale),
            ("--board-profile", options.board_profile),
        ):
            if value is not None and not board.is_modelled:
                raise UsageError(f"{option} is for virtual boards, not for {choice.kind}", "leave it out")
        board.check_tools()
        build = read_build(self._build_folder(choice.kind), choice.kind, getattr(options, "target", None))
        board.check_build(build)
        self._build, self._board, self._choice = build, board, choice

    def _choose(self) -> Choice:
        options = self.options
        bench = find_bench(options.bench, self.environment)
        named = len(str(options.port or "").split(PORT_SEPARATOR))
        if named > 1 and named != self.count:
            raise UsageError(
                f"--port names {named} boards, but a test uses {self.count}", f"also give --count {named}"
            )
        return choose_board(Wish.of(options), self.environment, attached_ports, bench)

    def _build_folder(self, kind: BoardKind) -> Path:
        firmware = Path(getattr(self.options, "app_path", None) or self._root / FIRMWARE_DIR.name)
        return (firmware / (getattr(self.options, "build_dir", None) or build_dir(kind).name)).absolute()

    def lease(self, workers: int, tell: Callable[[str], object]) -> None:
        """Lease a board for each worker, unless the harness starts the boards.

        Args:
            workers: number of processes that run tests.
            tell: receives a line whenever the run has to wait.

        Raises:
            UsageError: -n with --count, an ambiguous choice, too few boards, or all in use until the timeout.
            LabgridError: a labgrid command failed, or the coordinator does not answer.
        """
        self.leases.lease(
            self.choice,
            workers=workers,
            count=self.count,
            mac=self.options.board_mac,
            timeout_s=self.options.lease_timeout,
            tell=tell,
        )

    def prepare(self, worker: str) -> None:
        """Configure pytest-embedded for the board and the build; start the board unless it is leased.

        Args:
            worker: name of this process, for file names.

        Raises:
            BenchError: the board is unavailable.
            TakenError: in a worker, another run has locked the board.
        """
        options = self.options
        self.leases.join()
        self.environment.pop(ENV_PORT, None)  # pytest-embedded prefers it to --port
        options.app_path = str(self._root / FIRMWARE_DIR.name)
        options.build_dir = str(self.build.folder)
        options.target = getattr(options, "target", None) or "esp32"
        # pytest_plugin/panics.py does both, and also supports Xtensa.
        options.skip_check_coredump = options.skip_decode_panic = "y"
        _name_folders(options, self._folder, worker)
        self.board.prepare(worker, self.power_cycle if self.power else None)
        options.port = self.entry.port if self.entry else None
        self.connect(1)

    def connect(self, count: int) -> None:
        """Configure pytest-embedded for `count` boards in the next test.

        Raises:
            BenchError: this run has fewer boards, or a board did not start.
        """
        ports = self.leases.ports or self.board.start(count)
        if ports is None:
            return
        if len(ports) < count:
            raise BenchError(
                f"the test needs {count} boards, but the run has {len(ports)}",
                f"give --count {count}, and leave -n out",
            )
        self.options.port = PORT_SEPARATOR.join(ports[:count])

    @property
    def can_power_cycle(self) -> bool:
        """Whether a call to `power_cycle` would cycle the power."""
        return self.rescue.can_cycle(self.power, self.port)

    def power_cycle(self) -> bool:
        """Cycle the power of a silent board, if it has a switch: see `PowerRescue.cycle`."""
        return self.rescue.cycle(self.power, self.port)

    def stop(self) -> None:
        """Stop started boards and release leased ones. Safe to call twice."""
        if self._board is not None:
            self._board.stop()
        self.leases.release()


def _name_folders(options: Any, folder: Path, worker: str) -> None:
    """Give pytest-embedded folders in the run's folder, unless the user has named others."""
    if getattr(options, "root_logdir", None) is None:
        options.root_logdir = str(folder / "logs")
        Path(options.root_logdir).mkdir(parents=True, exist_ok=True)
    if getattr(options, "cache_dir", None) is None:
        # The default is one folder for all users of the machine; its lock file belongs to the first of them.
        options.cache_dir = str(folder / RUN_STATE / worker)
