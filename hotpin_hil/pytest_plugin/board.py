"""The board in a pytest session: chosen before the tests, prepared for the first test that uses `dut`, checked before
each test. This module has the hooks; `hotpin_hil.boards` has the implementation.
"""

from __future__ import annotations

import gc
from collections.abc import Generator
from contextlib import nullcontext
from typing import Any

import pytest

from hotpin_hil.boards import leasing
from hotpin_hil.boards.bench import FEATURES, POWER
from hotpin_hil.boards.in_use import BoardInUse
from hotpin_hil.boards.rerun import LONG_MARKS
from hotpin_hil.boards.stale import notice_if_stale
from hotpin_hil.device.budgets import BOOT_S
from hotpin_hil.errors import HilError, HostError, PortError, UsageError
from hotpin_hil.link.channel import Channel
from hotpin_hil.link.line import channel_of, line_of
from hotpin_hil.logs.noise import known_noise

__all__ = [
    "BOARDS",
    "BOARD_KEY",
    "LONG_MARKS",
    "BoardInUse",
    "BoardPlugin",
    "first_dut",
    "handed_over",
    "needs_of",
    "wants_board",
    "wants_faults",
    "worker_id",
]

_HANDED_OVER = "hotpin_board"
"""Key of an xdist worker's input: the board, as JSON, that the controller leased for the worker."""

BOARD_KEY = pytest.StashKey[BoardInUse]()

BOARDS = "boards"
"""Name of the mark for tests that only some kinds of board can run."""


def wants_board(item: pytest.Item) -> bool:
    """Whether the test uses pytest-embedded's `dut`, directly or through a fixture."""
    return "dut" in getattr(item, "fixturenames", ())


def wants_faults(item: pytest.Item) -> bool:
    """Whether the test injects faults, through the fixture `faults` or `clock`."""
    return not {"faults", "clock"}.isdisjoint(getattr(item, "fixturenames", ()))


class BoardPlugin:
    """Prepares the board of each process, when the first test that uses `dut` is set up."""

    def __init__(self, config: pytest.Config, board: BoardInUse) -> None:
        self._config = config
        self.board = board
        self._session = board.session
        self._is_prepared = False
        self._dut: Any = None

    def choose(self) -> None:
        """Choose and lease the board. A usage error ends the run here, before the harness touches a board."""
        if self.board.is_chosen:
            return
        try:
            self.board.choose()
            self._session.lease(worker_count(self._config), self._tell)
        except HilError as error:
            raise pytest.UsageError(str(error)) from error
        notice = notice_if_stale(self.board.build, self.board.kind)
        if notice:
            self._tell(notice)

    def _tell(self, text: str) -> None:
        reporter = self._config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None:
            reporter.write_line(text)
            reporter.flush()

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Pass each pytest-xdist worker its board."""
        board = self._session.leases.hand_over(node.gateway.id)
        if board is not None:
            node.workerinput[_HANDED_OVER] = board

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Free the board of a worker that has ended."""
        self._session.leases.take_back(node.gateway.id)

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Reject a test whose `needs` mark has an unknown name, because it would never run."""
        for item in items:
            unknown = needs_of(item) - {*FEATURES, POWER}
            if unknown:
                raise pytest.UsageError(
                    f"{item.nodeid} needs {', '.join(sorted(unknown))} (known: {', '.join((*FEATURES, POWER))})"
                )

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Choose the board of a session that uses `dut` outside the suite. A worker does so in its first test."""
        if (
            not self._config.option.collectonly
            and not worker_id(self._config)
            and any(map(wants_board, session.items))
        ):
            self.choose()

    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Prepare and check the board: after the skip marks, before the fixtures are set up."""
        if not wants_board(item):
            return
        _spare_garbage_collector()
        if not self._is_prepared:
            self._is_prepared = True
            self._prepare()
        self._session.leases.check_places()
        self._session.connect(_boards_of(item) or self._session.count)
        self.board.check_needs(needs_of(item))
        self._session.board.check_alive()

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any) -> Generator[None, Any, Any]:
        """Store `dut` for `chip_answers`: if a later fixture fails, the test itself may not have it yet."""
        __tracebackhide__ = True
        result = yield
        if fixturedef.argname == "dut":
            self._dut = first_dut(result)
        return result

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> None:
        """Report known noise in the test's log."""
        log = self.console_log()
        for noise in known_noise():
            count = noise.count(log)
            if count:
                self.board.on_noise(noise, item.nodeid, count)

    def pytest_runtest_logfinish(self) -> None:
        """Forget the test's `dut`, which pytest-embedded has closed."""
        self._dut = None

    @property
    def channel(self) -> Channel | None:
        """The channel of the running test."""
        return channel_of(self._dut)

    def console_log(self) -> str:
        """The console output of the board in the running test."""
        return self.channel.text().decode("utf-8", errors="replace") if self.channel else ""

    def host_fault(self) -> HostError | None:
        """A host fault that affected the board of the running test; None if there was none."""
        return self._session.board.host_fault() if self._is_prepared and self.board.is_chosen else None

    def chip_answers(self) -> bool:
        """Reset the chip; returns whether its ROM then prints a reset banner."""
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
        """Power-cycle a dead board; returns whether the next test may try it. False without a power switch.

        A board whose labgrid exporter has disconnected is not dead: the next test looks for it again.
        """
        if self._session.leases.is_place_away():
            return True
        if not self._session.can_power_cycle:
            return False
        serial = getattr(self._dut, "serial", None)
        try:
            with serial.disable_redirect_thread(kill_port=True) if serial else nullcontext():
                self._session.power_cycle()
                leasing.ask_mac(str(self.board.port))
        except HilError:
            return False
        return True

    def _prepare(self) -> None:
        worker = worker_id(self._config)
        try:
            if not self.board.is_chosen:
                self.board.choose()
            self._session.lease(1 if worker else worker_count(self._config), self._tell)
            self._session.prepare(worker or "main")
        except UsageError as error:
            raise PortError(error.message, error.remedy) from error


def worker_id(config: pytest.Config) -> str:
    """Id of this pytest-xdist worker, such as `gw0`; empty in the main process."""
    return str(getattr(config, "workerinput", {}).get("workerid", ""))


def handed_over(config: pytest.Config) -> str | None:
    """The board, as JSON, that the controller leased for this worker."""
    board: str | None = getattr(config, "workerinput", {}).get(_HANDED_OVER)
    return board


def needs_of(item: pytest.Item) -> set[str]:
    """The features in the `needs` marks of a test."""
    return {str(feature) for mark in item.iter_markers("needs") for feature in mark.args}


def first_dut(dut: Any) -> Any:
    """The `dut` for events and commands: the first one, if the test has several."""
    return dut[0] if isinstance(dut, (list, tuple)) else dut


def _boards_of(item: pytest.Item) -> int | None:
    """Number of boards in a test parametrized with pytest-embedded's `count`; None without it."""
    callspec = getattr(item, "callspec", None)
    count = callspec.params.get("count") if callspec else None
    return int(count) if isinstance(count, (int, str)) and str(count).isdigit() else None


def worker_count(config: pytest.Config) -> int:
    """Number of processes that run tests: pytest-xdist's workers, or this one. The same in all of them."""
    worker_input = getattr(config, "workerinput", None)
    if worker_input is not None:
        return int(worker_input["workercount"])
    option = config.option
    if getattr(option, "dist", "no") == "no" or not option.tx:
        return 1
    from xdist.workermanage import (
        parse_tx_spec_config,
    )  # only pytest-xdist adds these options, so it is installed

    return len(parse_tx_spec_config(config))


def _spare_garbage_collector() -> None:
    """Exclude all existing objects from later searches by the garbage collector.

    When pytest-embedded closes its objects after a test, it searches every object of the process for references to
    them, which took a tenth of the suite's CPU time.
    """
    gc.collect()
    gc.freeze()
