"""Pytest side of the board: chooses it before the tests, starts it when the first test wants `dut`, and ends
it."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Generator, Mapping, MutableMapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from hotpin_hil.boards.artifacts import FirmwareBuild, how_to_build, read_build
from hotpin_hil.boards.build import build_dir
from hotpin_hil.boards.identity import check_identity
from hotpin_hil.boards.kind import ENV_BOARD, BoardKind, Choice, choose_board
from hotpin_hil.boards.ports import find_ports, read_mac
from hotpin_hil.boards.virtual import VirtualBoard
from hotpin_hil.device.budgets import BOOT_S
from hotpin_hil.errors import BuildError, HilError, PortError, UsageError
from hotpin_hil.link.channel import Channel
from hotpin_hil.paths import FIRMWARE_DIR

if TYPE_CHECKING:
    from hotpin_hil.virtual.control import BoardControl  # for the virtual board's systems only

ENV_PORT = "ESPPORT"
"""Where esptool and pytest-embedded look for a port that the command line doesn't give."""

BOARD_KEY = pytest.StashKey["BoardInUse"]()

_IDENTITY = ("mac", "chip", "rev", "psram", "flash", "build", "idf", "project", "version", "elf_sha256")
"""The fields of sys.info that stay the same from boot to boot."""

BOARDS = "boards"
"""Marks tests that need what only these kinds of board have; on others their requirements are shown by other tests."""
SOAK = "soak"
"""Marks tests that run only when they are asked for (pytest.ini)."""


def wants_board(item: pytest.Item) -> bool:
    """Whether the test uses pytest-embedded's `dut`, itself or through a fixture."""
    return "dut" in getattr(item, "fixturenames", ())


def channel_of(dut: Any) -> Channel | None:
    """The line of pytest-embedded's `dut`, if it has one of ours."""
    channel = getattr(getattr(dut, "serial", None), "channel", None)
    return channel if isinstance(channel, Channel) else None


def wants_faults(item: pytest.Item) -> bool:
    """Whether the test makes something go wrong on its board, through the fixture `faults`."""
    return "faults" in getattr(item, "fixturenames", ())


class BoardInUse:
    """The board of this process. Fixtures may read it once a test that uses `dut` is being set up."""

    def __init__(
        self, config: pytest.Config, folder: Path, *, time_scale: float, environment: MutableMapping[str, str]
    ) -> None:
        self._config = config
        self._option = config.option
        self._folder = folder
        self._environment = environment
        self._choice: Choice | None = None
        self._build: FirmwareBuild | None = None
        self._virtual: VirtualBoard | None = None
        self._said: list[dict[str, Any]] = []
        self.time_scale = time_scale
        self.mac: str | None = None
        """Known from the start on a virtual board that the harness started, else once the board has said it.
        """
        self.on_identity: Callable[[dict[str, Any]], None] = lambda said: None
        """Told once of each identity that a board of this process confirms."""

    @property
    def is_chosen(self) -> bool:
        return self._choice is not None

    @property
    def kind(self) -> BoardKind:
        return self._chosen.kind

    @property
    def why(self) -> str:
        """Why this kind, in a few words; empty if the user named it."""
        return self._chosen.why

    @property
    def build(self) -> FirmwareBuild:
        """The firmware that is flashed."""
        assert self._build is not None, "the board has not been chosen yet"
        return self._build

    @property
    def port(self) -> str | None:
        """Where the board is reached; None in QEMU."""
        port: str | None = self._option.port
        return port

    @property
    def control(self) -> BoardControl | None:
        """Controls the virtual board that the harness has started; None for any other board."""
        return self._virtual.control if self._virtual is not None else None

    @property
    def _chosen(self) -> Choice:
        assert self._choice is not None, "the board has not been chosen yet"
        return self._choice

    def choose(self) -> None:
        """Decides on board and build and tells pytest-embedded; touches no board. UsageError or BuildError if
        it can't."""
        option = self._option
        asked = option.board or self._environment.get(ENV_BOARD)
        self_started = asked in (BoardKind.VIRTUAL, BoardKind.QEMU)
        port = option.port or (None if self_started else self._environment.get(ENV_PORT))
        choice = choose_board(option.board, port, self._environment, _attached_ports)
        if option.time_scale is not None and choice.kind is not BoardKind.VIRTUAL:
            raise UsageError(f"--time-scale is for the virtual board, not for {choice.kind}", "leave it out")
        self._check_port(choice)
        self._build = read_build(self._build_folder(choice.kind), choice.kind, _target(option))
        if choice.kind is BoardKind.VIRTUAL and not choice.ports:
            _check_registered(self._build)
        self._choice = choice

    def ports_for(self, workers: int) -> tuple[str, ...]:
        """The port of each worker; empty where each starts a board of its own. UsageError if there are too
        few."""
        ports = self._chosen.ports
        if not ports:
            return ()
        mac = self._option.board_mac
        if mac and len(ports) > 1:
            ports = tuple(port for port in ports if read_mac(port).lower() == mac.lower())
            if not ports:
                raise UsageError(
                    f"none of {', '.join(self._chosen.ports)} has the MAC {mac}", "check --board-mac"
                )
        if len(ports) < workers:
            raise UsageError(
                f"{workers} workers need as many boards, but there is only {', '.join(ports)}",
                "use a smaller -n",
            )
        if workers == 1 and len(ports) > 1:
            raise UsageError(
                f"several boards are attached: {', '.join(ports)}", "choose one with --port or --board-mac"
            )
        return ports[:workers]

    def prepare(self, port: str | None, worker: str) -> None:
        """Points pytest-embedded at the board and the build; starts the virtual board unless it is there
        already."""
        option = self._option
        # It takes precedence over the option in pytest-embedded, and the choice has been made.
        self._environment.pop(ENV_PORT, None)
        option.app_path = str(self._config.rootpath / FIRMWARE_DIR.name)
        option.build_dir = str(self.build.folder)
        option.target = _target(option) or "esp32"
        if getattr(option, "root_logdir", None) is None:
            option.root_logdir = str(self._folder / "logs")
            Path(option.root_logdir).mkdir(parents=True, exist_ok=True)
        if self.kind is BoardKind.QEMU:
            option.embedded_services = "idf,qemu"
        elif self._config.pluginmanager.hasplugin("pytest_embedded"):
            from hotpin_hil.link.idf_serial import HilIdfSerial

            HilIdfSerial.install()
        option.port = port
        if port is None and self.kind is BoardKind.VIRTUAL:
            self._start_virtual(worker)

    def _start_virtual(self, worker: str) -> None:
        log = self._folder / f"virtual-board-{worker}.log"
        self._virtual = VirtualBoard.start(log, ["--time-scale", f"{self.time_scale:g}"])
        self._option.port = self._virtual.port
        self.mac = self._virtual.mac

    def check_alive(self) -> None:
        """BenchError if the virtual board that the harness started has ended."""
        if self._virtual is not None:
            self._virtual.check_alive()

    def confirm(self, said: Mapping[str, Any]) -> bool:
        """Takes what the board says of itself (fields of sys.info); WrongBoardError if it is another.

        The suite calls it before it believes anything else: evidence is never called more than the board is.
        Returns whether this process had not known it yet.
        """
        check_identity(self.kind, said, self._option.board_mac)
        self.mac = said.get("mac", self.mac)
        identity = {name: said[name] for name in _IDENTITY if name in said}
        if identity in self._said:
            return False
        self._said.append(identity)
        self.on_identity(identity)
        return True

    def reproduce(self, nodeid: str) -> str:
        """The command that runs one test again on the same kind of board."""
        words = ["pytest", "--target", "esp32", "--board", self.kind.value]
        if self._virtual is None and self.port:
            words += ["--port", self.port]
        if self._option.markexpr == SOAK:
            words += ["-m", SOAK]  # else it is left out, also when it is named
        if self._option.time_scale is not None:
            words += ["--time-scale", f"{self.time_scale:g}"]
        return shlex.join([*words, nodeid])

    def as_json(self) -> dict[str, Any]:
        """What is known of the board before it has said anything."""
        known: dict[str, Any] = {"kind": self.kind.value}
        if self._chosen.ports:
            known["ports"] = list(self._chosen.ports)
        if self.kind is BoardKind.VIRTUAL:
            known["time_scale"] = self.time_scale
        return known

    def stop(self) -> None:
        if self._virtual is not None:
            self._virtual.stop()
            self._virtual = None

    def _build_folder(self, kind: BoardKind) -> Path:
        option = self._option
        firmware = Path(getattr(option, "app_path", None) or self._config.rootpath / FIRMWARE_DIR.name)
        usual = build_dir(kind)
        return (firmware / (getattr(option, "build_dir", None) or usual.name)).absolute()

    def _check_port(self, choice: Choice) -> None:
        for port in choice.ports:
            if "://" not in port and not Path(port).exists() and not port.upper().startswith("COM"):
                raise UsageError(f"there is no port {port}", "hotpin-hil boards lists the attached boards")


class BoardPlugin:
    """Gives each process that runs tests using `dut` its board, when the first of them is set up."""

    def __init__(self, config: pytest.Config, board: BoardInUse) -> None:
        self._config = config
        self.board = board
        self._is_prepared = False
        self._dut: Any = None

    def choose(self) -> None:
        """Chooses the board; what the user got wrong ends the run here, before a board is touched."""
        if self.board.is_chosen:
            return
        try:
            self.board.choose()
            self.board.ports_for(_workers(self._config))
        except HilError as error:
            raise pytest.UsageError(str(error)) from error

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """A session outside the suite may use `dut` too. (In a worker the first test tells.)"""
        if (
            not self._config.option.collectonly
            and not worker_id(self._config)
            and any(map(wants_board, session.items))
        ):
            self.choose()

    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Runs before fixtures are set up, and after marks have skipped what they skip."""
        if not wants_board(item):
            return
        if not self._is_prepared:
            self._is_prepared = True
            self._prepare()
        self.board.check_alive()

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any) -> Generator[None, Any, Any]:
        """Remembers `dut` for `chip_answers`: a test that fails in a later fixture does not have it yet."""
        __tracebackhide__ = True
        result = yield
        if fixturedef.argname == "dut":
            self._dut = result
        return result

    def pytest_runtest_logfinish(self) -> None:
        self._dut = None

    @property
    def channel(self) -> Channel | None:
        """The line of the running test."""
        return channel_of(self._dut)

    def console_log(self) -> str:
        """What the board has said in the running test."""
        return self.channel.text().decode("utf-8", errors="replace") if self.channel else ""

    def chip_answers(self) -> bool:
        """Resets the chip of the running test and listens for its boot loader."""
        channel = self.channel
        if channel is None:
            return False
        since = channel.mark()
        try:
            self._dut.serial.hard_reset()
            return channel.wait(lambda: channel.resets(since) or None, BOOT_S) is not None
        except HilError:
            return False

    def _prepare(self) -> None:
        worker = worker_id(self._config)
        try:
            if not self.board.is_chosen:
                self.board.choose()
            ports = self.board.ports_for(_workers(self._config))
        except UsageError as error:
            raise PortError(error.message, error.remedy) from error
        number = int(worker.removeprefix("gw")) if worker else 0
        self.board.prepare(ports[number] if ports else None, worker or "main")


def worker_id(config: pytest.Config) -> str:
    """`gw0` in a worker of pytest-xdist, empty in the main process."""
    return str(getattr(config, "workerinput", {}).get("workerid", ""))


def _workers(config: pytest.Config) -> int:
    given = getattr(config, "workerinput", {}).get("workercount") or getattr(
        config.option, "numprocesses", None
    )
    return int(given or 1)


def _target(option: Any) -> str | None:
    target: str | None = getattr(option, "target", None)
    return target


def _check_registered(build: FirmwareBuild) -> None:
    """BuildError for a build that the virtual board would flash, but refuse to run."""
    from hotpin_hil.virtual.package import is_registered  # for the virtual board's systems only

    if not is_registered(build.elf_sha256):
        raise BuildError(
            f"the firmware in {build.folder} was not built by this checkout, so the virtual board will not run it",
            how_to_build(BoardKind.VIRTUAL),
        )


def _attached_ports() -> list[str]:
    return [port.device for port in find_ports()]
