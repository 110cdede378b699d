"""Pytest side of the board: chooses it before the tests, starts it when the first test wants `dut`, and ends
it."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Collection, Generator, Mapping, MutableMapping
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from hotpin_hil.boards import qemu
from hotpin_hil.boards.artifacts import FirmwareBuild, check_registered, read_build
from hotpin_hil.boards.bench import ENV_BENCH, FEATURES, POWER, BoardEntry, find_bench, normal_mac
from hotpin_hil.boards.build import build_dir, release_build_dir
from hotpin_hil.boards.choose import ENV_PORT, PORT_SEPARATOR, Choice, Wish, choose_board
from hotpin_hil.boards.identity import check_identity
from hotpin_hil.boards.kind import BoardKind
from hotpin_hil.boards.lease import Lease, TakenError, lease_folder, mac_name, port_name
from hotpin_hil.boards.pool import LeasedBoard, Pool
from hotpin_hil.boards.ports import find_ports
from hotpin_hil.boards.power import PowerSwitch, wait_for_port
from hotpin_hil.boards.virtual import VirtualBoard
from hotpin_hil.device.budgets import BOOT_S
from hotpin_hil.errors import BenchError, HilError, PortError, UsageError
from hotpin_hil.evidence.lines import RELEASE, WITH_CONSOLE
from hotpin_hil.link.channel import Channel
from hotpin_hil.link.line import channel_of, line_of
from hotpin_hil.logs.noise import Noise, known_noise
from hotpin_hil.paths import FIRMWARE_DIR
from hotpin_hil.virtual import profile

if TYPE_CHECKING:
    from hotpin_hil.virtual.control import BoardControl  # for the virtual board's systems only
    from hotpin_hil.virtual.profile import BoardProfile

LEASE_TIMEOUT_S = 5.0
"""Default of --lease-timeout: as long as `hotpin-hil boards` has a board that it asks who it is."""

_HANDED_OVER = "hotpin_board"
"""In the input of an xdist worker: the board, as JSON, that the controller has leased for it."""

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
        self._leased: list[LeasedBoard] = []
        self._workers: dict[str, int] = {}
        self._mine: LeasedBoard | None = None
        self._may_cycle = True
        self._build: FirmwareBuild | None = None
        self._emulator: qemu.Emulator | None = None
        self._virtuals: list[VirtualBoard] = []
        self._said: list[dict[str, Any]] = []
        self._worker = ""
        self.time_scale = time_scale
        self.mac: str | None = None
        """Known from the start on a virtual board that the harness started, else once the board has said it.
        """
        self.on_identity: Callable[[dict[str, Any]], None] = lambda said: None
        """Told once of each identity that a board of this process confirms."""
        self.on_noise: Callable[[Noise, str, int], None] = lambda noise, test, count: None
        """Told of known noise in the log of a test: how often it was there."""

    @property
    def profile(self) -> str:
        """Name or path of the virtual board's profile."""
        return str(self._option.board_profile or profile.DEFAULT_PROFILE)

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

    def build_of(self, image: str) -> FirmwareBuild:
        """The build of one of the firmware's images. BuildError if it is missing or damaged."""
        return read_build(release_build_dir(self.kind.value), self.kind) if image == RELEASE else self.build

    def profile_of_own(self) -> BoardProfile | None:
        """The profile of the virtual boards that the harness starts; None for any other board: none says its own."""
        is_own = self.kind is BoardKind.VIRTUAL and not self._chosen.boards
        return profile.load(self.profile) if is_own else None

    @property
    def port(self) -> str | None:
        """Where the board is reached; None in QEMU."""
        port: str | None = self._option.port
        return port

    @property
    def count(self) -> int:
        """How many boards a test has if it does not say so itself: --count, of pytest-embedded."""
        count: int = getattr(self._option, "count", None) or 1
        return count

    @property
    def outlives_a_test(self) -> bool:
        """Whether the next test meets the same board: each test starts its own emulator."""
        return self.kind is not BoardKind.QEMU

    @property
    def can_fail_on_purpose(self) -> bool:
        """Whether a test may make something go wrong on it: it is nobody else's, and virtual."""
        return self.kind is BoardKind.VIRTUAL and not self._chosen.boards

    @property
    def control(self) -> BoardControl | None:
        """Controls the virtual board that the harness has started; None for any other board."""
        return self._virtuals[0].control if self._virtuals else None

    @property
    def _chosen(self) -> Choice:
        assert self._choice is not None, "the board has not been chosen yet"
        return self._choice

    def choose(self) -> None:
        """Decides on board and build and tells pytest-embedded; touches no board. UsageError or BuildError if
        it can't."""
        option = self._option
        given = getattr(self._config, "workerinput", {}).get(_HANDED_OVER)
        choice = self._handed_over(given) if given else self._choose()
        if option.time_scale is not None and choice.kind is not BoardKind.VIRTUAL:
            raise UsageError(f"--time-scale is for the virtual board, not for {choice.kind}", "leave it out")
        if option.board_profile is not None:
            if choice.kind is not BoardKind.VIRTUAL:
                raise UsageError(
                    f"--board-profile is for the virtual board, not for {choice.kind}", "leave it out"
                )
            profile.load(option.board_profile)
        if choice.kind is BoardKind.QEMU:
            self._emulator = qemu.find_emulator(getattr(option, "qemu_prog_path", None))
        self._build = read_build(self._build_folder(choice.kind), choice.kind, _target(option))
        if choice.kind is BoardKind.VIRTUAL and not choice.boards:
            check_registered(self._build)
        self._choice = choice

    def _choose(self) -> Choice:
        option = self._option
        bench = find_bench(option.bench, self._environment)
        named = len(str(option.port or "").split(PORT_SEPARATOR))
        if named > 1 and named != self.count:
            raise UsageError(
                f"--port names {named} boards, but a test has {self.count}", f"give --count {named} too"
            )
        wish = Wish(kind=option.board, port=option.port, mac=option.board_mac, name=option.board_name)
        return choose_board(wish, self._environment, _attached_ports, bench)

    def _handed_over(self, given: str) -> Choice:
        entry = BoardEntry.from_json(given)
        self._mine = LeasedBoard(entry, Lease(lease_folder(self._environment), str(entry)))
        return Choice(entry.kind, (entry,))

    def lease(self, workers: int, tell: Callable[[str], object]) -> None:
        """Leases a board for each worker, unless each starts one of its own. UsageError if they can't be had.

        tell: takes a line whenever it has to wait.
        """
        choice = self._chosen
        if not choice.boards or self._leased or self._mine:
            return
        option = self._option
        if workers > 1 and self.count > 1:
            raise UsageError(
                f"-n gives each of {workers} workers one board, but --count {self.count} was given",
                "leave -n out",
            )
        wanted = max(workers, self.count)
        if wanted == 1 and len(choice.boards) > 1 and not choice.is_pool and not option.board_mac:
            raise UsageError(
                f"several boards are attached: {', '.join(map(str, choice.boards))}",
                "choose one with --port or --board-mac",
            )
        pool = Pool(
            boards=choice.boards,
            folder=lease_folder(self._environment),
            attached=_attached_ports,
            ask_mac=_read_mac,
            mac=option.board_mac and normal_mac(option.board_mac),
            shared=workers > 1 and not worker_id(self._config),
        )
        self._leased = pool.lease(wanted, option.lease_timeout, tell)

    def hand_over(self, worker: str) -> str | None:
        """A leased board, as JSON, for a worker process; None where each worker sees to its own."""
        if not self._leased:
            return None
        number = min(set(range(len(self._leased))) - set(self._workers.values()))
        self._workers[worker] = number
        return self._leased[number].entry.as_json()

    def take_back(self, worker: str) -> None:
        """The board of a worker that has ended, for the one that takes its place."""
        self._workers.pop(worker, None)

    def prepare(self, worker: str) -> None:
        """Points pytest-embedded at the board and the build; starts the virtual board unless it is there
        already. BenchError if the board is not to be had."""
        option = self._option
        if self._leased:
            self._mine = self._leased[0]
        if self._mine is not None:
            self._join(self._mine)
        # It takes precedence over the option in pytest-embedded, and the choice has been made.
        self._environment.pop(ENV_PORT, None)
        option.app_path = str(self._config.rootpath / FIRMWARE_DIR.name)
        option.build_dir = str(self.build.folder)
        option.target = _target(option) or "esp32"
        # panics.py does both, for Xtensa too.
        option.skip_check_coredump = option.skip_decode_panic = "y"
        if getattr(option, "root_logdir", None) is None:
            option.root_logdir = str(self._folder / "logs")
            Path(option.root_logdir).mkdir(parents=True, exist_ok=True)
        if self.kind is BoardKind.QEMU:
            qemu.prepare(option, self._folder, worker)
        elif self._config.pluginmanager.hasplugin("pytest_embedded"):
            from hotpin_hil.link.idf_serial import HilIdfSerial

            HilIdfSerial.install()
            HilIdfSerial.power_cycle = self.power_cycle if self.power else None
        option.port = self._mine.entry.port if self._mine else None
        self._worker = worker
        self.connect(1)

    def connect(self, count: int) -> None:
        """Points pytest-embedded at as many boards as the next test has (`count`, of pytest-embedded). BenchError if
        this run has not so many."""
        if self.kind is BoardKind.QEMU:
            return
        mine = self._leased or ([self._mine] if self._mine else [])
        while not mine and len(self._virtuals) < count:
            self._start_virtual()
        ports = [str(one.entry.port) for one in mine] or [one.port for one in self._virtuals]
        if len(ports) < count:
            raise BenchError(
                f"the test has {count} boards, the run {len(ports)}",
                f"give --count {count}, and leave -n out",
            )
        self._option.port = PORT_SEPARATOR.join(ports[:count])

    def _join(self, mine: LeasedBoard) -> None:
        entry = mine.entry
        if entry.port is None:
            raise mine.problem or PortError(f"board {entry} is on no port", "hotpin-hil boards")
        if worker_id(self._config):
            for name in (port_name(entry.port), *((mac_name(entry.mac),) if entry.mac else ())):
                mine.lease.join(name)
        self.mac = entry.mac

    def _start_virtual(self) -> None:
        number = f"-{len(self._virtuals) + 1}" if self._virtuals else ""
        log = self._folder / f"virtual-board-{self._worker}{number}.log"
        arguments = ["--time-scale", f"{self.time_scale:g}", "--profile", self.profile]
        self._virtuals.append(VirtualBoard.start(log, arguments))
        self.mac = self._virtuals[0].mac

    def check_alive(self) -> None:
        """BenchError if a virtual board that the harness started has ended."""
        for virtual in self._virtuals:
            virtual.check_alive()

    def confirm(
        self, said: Mapping[str, Any], elf_sha256: str | None = None, *, image: str = WITH_CONSOLE
    ) -> bool:
        """Takes what the board with this image says of itself (fields of sys.info). WrongBoardError if it is another;
        FirmwareError if it runs something else than the firmware with the given ELF, which was flashed.

        The suite calls it before it believes anything else: evidence is never called more than the board is.
        Returns whether this process had not known it yet.
        """
        check_identity(
            self.kind,
            said,
            mac=(self._mine and self._mine.entry.mac) or self._option.board_mac,
            elf_sha256=elf_sha256,
            is_flashed=not is_true(getattr(self._option, "skip_autoflash", None)),
        )
        self.mac = said.get("mac", self.mac)
        self._may_cycle = True
        if self._mine is not None and self._mine.problem is not None and self.mac is not None:
            self._lease_mac(self._mine, self.mac)
        identity = {name: said[name] for name in _IDENTITY if name in said} | {"image": image}
        if identity in self._said:
            return False
        self._said.append(identity)
        self.on_identity(identity)
        return True

    def _lease_mac(self, mine: LeasedBoard, mac: str) -> None:
        """Of a board that could not be asked before."""
        try:
            mine.lease.add(mac_name(mac))
        except TakenError as error:
            raise PortError(error.message, error.remedy) from error
        mine.problem = None

    @property
    def entry(self) -> BoardEntry | None:
        """What is known of the board from the bench file or the command line; None of one that the harness
        starts."""
        return self._mine.entry if self._mine else None

    @property
    def power(self) -> PowerSwitch | None:
        """The board's power switch, if it has one."""
        return self.entry.power if self.entry else None

    @property
    def may_power_cycle(self) -> bool:
        """Once: only after the board has been heard again may it be tried again."""
        return self.power is not None and self.port is not None and self._may_cycle

    def power_cycle(self) -> bool:
        """Cycles the power of a board that no longer answers; whether that was done. PowerError."""
        if not self.may_power_cycle:
            return False
        assert self.power is not None
        self._may_cycle = False
        self.power.cycle()
        wait_for_port(str(self.port))
        return True

    def check_needs(self, needs: Collection[str]) -> None:
        """BenchError if the board lacks something that a test needs (features of the bench file, `power`)."""
        entry = self.entry
        lacking = [one for one in needs if (entry.lacks(one) if entry else one == POWER)]
        if lacking:
            name = entry.name if entry else f"the {self.kind} board"
            raise BenchError(
                f"{name} has no {', '.join(lacking)}", "run this test on a board that has it (bench.toml)"
            )

    def reproduce(self, nodeid: str) -> str:
        """The command that runs one test again on the same kind of board."""
        words = ["pytest", "--target", "esp32", "--board", self.kind.value]
        if self._chosen.is_pool and self.entry:
            words += ["--bench", str(self._option.bench or self._environment[ENV_BENCH])]
            words += ["--board-name", self.entry.name]
        elif not self._virtuals and self.port:
            words += ["--port", self.port]
        if self.count > 1:
            words += ["--count", str(self.count)]
        if self._option.markexpr == SOAK:
            words += ["-m", SOAK]  # else it is left out, also when it is named
        if self._option.time_scale is not None:
            words += ["--time-scale", f"{self.time_scale:g}"]
        if self._option.board_profile is not None:
            words += ["--board-profile", self.profile]
        return shlex.join([*words, nodeid])

    def as_json(self) -> dict[str, Any]:
        """What is known of the board before it has said anything."""
        known: dict[str, Any] = {"kind": self.kind.value}
        if self._leased:
            known["ports"] = [one.entry.port for one in self._leased if one.entry.port]
        if self.kind is BoardKind.VIRTUAL:
            known["time_scale"] = self.time_scale
            known["profile"] = self.profile
        if self._emulator is not None:
            arguments = qemu.extra_arguments(getattr(self._option, "qemu_extra_args", None))
            known |= qemu.describe(self._emulator, arguments)
        return known

    def stop(self) -> None:
        while self._virtuals:
            self._virtuals.pop().stop()
        for leased in (*self._leased, *((self._mine,) if self._mine else ())):
            leased.lease.release()

    def _build_folder(self, kind: BoardKind) -> Path:
        option = self._option
        firmware = Path(getattr(option, "app_path", None) or self._config.rootpath / FIRMWARE_DIR.name)
        usual = build_dir(kind)
        return (firmware / (getattr(option, "build_dir", None) or usual.name)).absolute()


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
            self.board.lease(_workers(self._config), self._tell)
        except HilError as error:
            raise pytest.UsageError(str(error)) from error

    def _tell(self, text: str) -> None:
        reporter = self._config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None:
            reporter.write_line(text)
            reporter.flush()

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Hands each worker of pytest-xdist its board."""
        board = self.board.hand_over(node.gateway.id)
        if board is not None:
            node.workerinput[_HANDED_OVER] = board

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        self.board.take_back(node.gateway.id)

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """A test that needs what no board can have would never run."""
        for item in items:
            unknown = needs_of(item) - {*FEATURES, POWER}
            if unknown:
                raise pytest.UsageError(
                    f"{item.nodeid} needs {', '.join(sorted(unknown))} (known: {', '.join((*FEATURES, POWER))})"
                )

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
        self.board.connect(_boards_of(item) or self.board.count)
        self.board.check_needs(needs_of(item))
        self.board.check_alive()

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any) -> Generator[None, Any, Any]:
        """Remembers `dut` for `chip_answers`: a test that fails in a later fixture does not have it yet."""
        __tracebackhide__ = True
        result = yield
        if fixturedef.argname == "dut":
            self._dut = first_dut(result)
        return result

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> None:
        log = self.console_log()
        for noise in known_noise():
            count = noise.count(log)
            if count:
                self.board.on_noise(noise, item.nodeid, count)

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
            line_of(self._dut).hard_reset()
            return channel.wait(lambda: channel.resets(since) or None, BOOT_S) is not None
        except HilError:
            return False

    def revive(self) -> bool:
        """Whether a board that was taken for dead answers after its power was cycled, if that can be done."""
        if not self.board.may_power_cycle:
            return False
        serial = getattr(self._dut, "serial", None)
        try:
            with serial.disable_redirect_thread(kill_port=True) if serial else nullcontext():
                self.board.power_cycle()
                _read_mac(str(self.board.port))
        except HilError:
            return False
        return True

    def _prepare(self) -> None:
        worker = worker_id(self._config)
        try:
            if not self.board.is_chosen:
                self.board.choose()
            self.board.lease(1 if worker else _workers(self._config), self._tell)
            self.board.prepare(worker or "main")
        except UsageError as error:
            raise PortError(error.message, error.remedy) from error


def worker_id(config: pytest.Config) -> str:
    """`gw0` in a worker of pytest-xdist, empty in the main process."""
    return str(getattr(config, "workerinput", {}).get("workerid", ""))


def needs_of(item: pytest.Item) -> set[str]:
    """What the `needs` marks of a test name."""
    return {str(one) for mark in item.iter_markers("needs") for one in mark.args}


def is_true(value: object) -> bool:
    """A yes-or-no option of pytest-embedded: `y`, `yes` and `true` are true."""
    return value is True or (isinstance(value, str) and value.lower() in ("y", "yes", "true"))


def first_dut(dut: Any) -> Any:
    """The one that is listened to and asked: of a test with several boards the first."""
    return dut[0] if isinstance(dut, (list, tuple)) else dut


def _boards_of(item: pytest.Item) -> int | None:
    """How many boards a test has that is parametrized with pytest-embedded's `count`."""
    callspec = getattr(item, "callspec", None)
    count = callspec.params.get("count") if callspec else None
    return int(count) if isinstance(count, (int, str)) and str(count).isdigit() else None


def _workers(config: pytest.Config) -> int:
    """How many processes run tests: those that pytest-xdist starts, or this one."""
    option = config.option
    if getattr(option, "dist", "no") == "no" or not option.tx:
        return 1
    from xdist.workermanage import parse_tx_spec_config  # it gave the options

    return len(parse_tx_spec_config(config))


def _target(option: Any) -> str | None:
    target: str | None = getattr(option, "target", None)
    return target


def _attached_ports() -> list[str]:
    return [port.device for port in find_ports()]


def _read_mac(port: str) -> str:
    from hotpin_hil.boards.probe import read_mac  # esptool takes a while to import

    return read_mac(port)
