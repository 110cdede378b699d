"""The pytest plugin: command-line options, registration of its parts, and access for the suite's fixtures."""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest

from hotpin_hil.boards.bench import ENV_BENCH
from hotpin_hil.boards.in_use import BoardInUse
from hotpin_hil.boards.kind import CHOICES, ENV_BOARD
from hotpin_hil.boards.labgrid_settings import OPTION
from hotpin_hil.boards.session import LEASE_TIMEOUT_S, BoardSession
from hotpin_hil.evidence.board_notes import BoardNotes
from hotpin_hil.evidence.qualification import EXIT_INCOMPLETE
from hotpin_hil.evidence.recorder import Recorder
from hotpin_hil.evidence.results import cannot_write
from hotpin_hil.evidence.run_folders import LATEST
from hotpin_hil.paths import ENV_STATE_DIR, REQUIREMENTS_FILE, RUNS_DIR, RUNS_NAME
from hotpin_hil.pytest_plugin import board as board_side
from hotpin_hil.pytest_plugin import evidence as evidence_side
from hotpin_hil.pytest_plugin import note_keeper
from hotpin_hil.pytest_plugin.arguments import join_values
from hotpin_hil.pytest_plugin.board import BOARDS, LONG_MARKS
from hotpin_hil.pytest_plugin.burn_in import add_options as add_burn_in_options
from hotpin_hil.pytest_plugin.burn_in import check_options as check_burn_in_options
from hotpin_hil.pytest_plugin.load_balance import LoadBalancePlugin
from hotpin_hil.pytest_plugin.reporters import ReporterPlugin
from hotpin_hil.pytest_plugin.run_folder import ALLURE_RESULTS, RunFolder
from hotpin_hil.pytest_plugin.selection import OrderPlugin, SelectionPlugin
from hotpin_hil.pytest_plugin.waivers import add_option as add_waivers_option

__all__ = ["BoardInUse", "board_of", "notes_of", "recorder_of"]

DEFAULT_TIME_SCALE = 20.0
"""Upper limit of a virtual board's clock while all its tasks wait, as a multiple of the host's."""
SOAK_TIME_SCALE = 100.0
"""The same limit for runs with only the long tests, which mostly wait for the board's pauses of 0.9 s per cycle."""

_LOADED_ONCE = "ignore:Module already imported so cannot be rewritten:pytest.PytestAssertRewriteWarning"
"""Warning from pytest about its plugins on a restart."""

_FOLDER_KEY = pytest.StashKey[RunFolder]()

SUITE_DIR = REQUIREMENTS_FILE.parent.name


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of the harness."""
    group = parser.getgroup("hotpin", "HotPin hardware-in-the-loop")
    group.addoption(
        "--board",
        choices=CHOICES,
        help=f"kind of board (env: {ENV_BOARD}; default: auto: an attached board, else a virtual one)",
    )
    group.addoption("--board-mac", metavar="MAC", help="test only on the board with this MAC")
    group.addoption(
        "--bench",
        metavar="FILE",
        help=f"bench file that lists the boards, see docs/bench.md (env: {ENV_BENCH})",
    )
    group.addoption("--board-name", metavar="NAME", help="test on this board of the bench")
    group.addoption(
        OPTION,
        metavar="HOST:PORT",
        help="get the boards from this labgrid coordinator (or set it under [labgrid] in the bench file)",
    )
    group.addoption(
        "--lease-timeout",
        type=float,
        default=LEASE_TIMEOUT_S,
        metavar="S",
        help="seconds to wait for boards that other runs use (default: %(default)g)",
    )
    group.addoption(
        "--order-seed",
        type=int,
        metavar="N",
        help="shuffle the tests with this seed (default: source order, with -n the longest tests first)",
    )
    group.addoption(
        "--requirement",
        action="append",
        default=[],
        metavar="ID",
        help="run only the tests of this requirement (may be repeated)",
    )
    group.addoption(
        "--qualification-dir",
        metavar="DIR",
        help=f"folder for the evidence (default: a new folder in {RUNS_DIR}; `{LATEST}` there points to the newest)",
    )
    group.addoption(
        "--state-dir",
        metavar="DIR",
        help=f"put new runs into {RUNS_NAME}/ of this folder, not of the checkout's build/ (env: {ENV_STATE_DIR})",
    )
    group.addoption(
        "--overwrite",
        action="store_true",
        help="overwrite the results of another run in the folder of --qualification-dir",
    )
    group.addoption(
        "--baseline",
        action="append",
        default=[],
        metavar="DIR",
        help="compare the run with this run of the last release (docs/compare.md); "
        "repeat the option with more runs of that build to show what varies from run to run",
    )
    group.addoption(
        "--fail-on-regression",
        action="store_true",
        help="with --baseline: a regression fails the run",
    )
    group.addoption(
        "--require-complete",
        action="store_true",
        help=f"end with exit status {EXIT_INCOMPLETE} if the run is INCOMPLETE and nothing failed, for pipelines",
    )
    group.addoption(
        "--allow-dirty",
        action="store_true",
        help="allow QUALIFIED despite uncommitted changes or an unknown commit; the report mentions it",
    )
    group.addoption(
        "--allure",
        action="store_true",
        help=f"write Allure's results to {ALLURE_RESULTS}/ in the evidence folder",
    )
    add_waivers_option(group)
    add_burn_in_options(group)
    group.addoption(
        "--time-scale",
        type=float,
        metavar="X",
        help=f"virtual board: maximum clock speed, as a multiple of the host's (default: {DEFAULT_TIME_SCALE:g}, "
        f"with -m {' or '.join(LONG_MARKS)} {SOAK_TIME_SCALE:g})",
    )
    group.addoption(
        "--board-profile",
        metavar="NAME",
        help="virtual board: name or path of its profile (default: hotpin-5.4; see docs/virtual-board.md)",
    )


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests(
    early_config: pytest.Config, parser: pytest.Parser
) -> Generator[None, None, None]:
    """Restart pytest first if it mistook an option's value for a test path.

    pytest-xdist workers get an unambiguous command line.
    """
    given = early_config.invocation_params
    arguments = [str(argument) for argument in given.args]
    joined = join_values(arguments, parser.parse_known_args)
    if any(map(os.path.exists, set(arguments) - set(joined))):
        raise SystemExit(pytest.main([*joined, "-W", _LOADED_ONCE], given.plugins))
    early_config.invocation_params = pytest.Config.InvocationParams(
        args=joined, plugins=given.plugins, dir=given.dir
    )
    yield


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Choose the run's folder before allure-pytest creates its own folder in `pytest_configure`."""
    folder = _run_folder(config)
    if config.option.allure:
        if not hasattr(config.option, "allure_report_dir"):
            raise pytest.UsageError("--allure needs allure-pytest (pip install allure-pytest)")
        config.option.allure_report_dir = str(folder.path / ALLURE_RESULTS)
        try:
            (folder.path / ALLURE_RESULTS).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise pytest.UsageError(str(cannot_write(folder.path, error))) from error


def pytest_configure(config: pytest.Config) -> None:
    """Register the marks and the plugin's parts."""
    config.addinivalue_line("markers", "requirement(*ids): ids of the requirements that this test verifies")
    config.addinivalue_line(
        "markers", f"{BOARDS}(*kinds, needs=…): the kinds of board that can run the test, and what it needs"
    )
    config.addinivalue_line(
        "markers", "test_key(key): key of the test in a test management tool, such as Xray or TestRail"
    )
    config.addinivalue_line(
        "markers",
        "needs(*features): parts that the board must have: camera, audio, mic (bench.toml), power (a switch)",
    )
    # pytest-embedded triggers this warning in every test, even without a JUnit report.
    config.addinivalue_line("filterwarnings", "ignore:record_xml_attribute is")
    option = config.option
    if option.time_scale is not None and not option.time_scale > 0:
        raise pytest.UsageError(f"--time-scale must be greater than 0, but is {option.time_scale:g}")
    if not 0 <= option.lease_timeout < float("inf"):
        raise pytest.UsageError(f"--lease-timeout must be at least 0, but is {option.lease_timeout:g}")
    check_burn_in_options(option)
    run_folder = _run_folder(config)
    config.pluginmanager.register(run_folder, "hotpin-folder")
    folder = run_folder.path
    usual_scale = SOAK_TIME_SCALE if option.markexpr in LONG_MARKS else DEFAULT_TIME_SCALE
    session = BoardSession(
        option,
        config.rootpath,
        folder,
        time_scale=option.time_scale or usual_scale,
        environment=os.environ,
        worker=board_side.worker_id(config),
        handed_over=board_side.handed_over(config),
    )
    config.add_cleanup(session.stop)
    board = config.stash[board_side.BOARD_KEY] = BoardInUse(session)
    board_plugin = board_side.BoardPlugin(config, board)
    config.pluginmanager.register(board_plugin, "hotpin-board")
    requirements = config.rootpath / SUITE_DIR / REQUIREMENTS_FILE.name
    if option.requirement:
        config.pluginmanager.register(SelectionPlugin(option.requirement, requirements), "hotpin-selection")
    if option.order_seed is not None:
        config.pluginmanager.register(OrderPlugin(option.order_seed), "hotpin-order")
    else:
        config.pluginmanager.register(LoadBalancePlugin(config, board), "hotpin-load-balance")
    reporters = ReporterPlugin(config)
    config.pluginmanager.register(reporters, "hotpin-reporters")
    evidence = evidence_side.EvidencePlugin(config, board_plugin, reporters, requirements, run_folder)
    config.pluginmanager.register(evidence, "hotpin-evidence")
    if getattr(option, "allure_report_dir", None):
        from hotpin_hil.pytest_plugin.allure import AllurePlugin

        config.pluginmanager.register(AllurePlugin(config, evidence, folder), "hotpin-allure")


def _run_folder(config: pytest.Config) -> RunFolder:
    """The run's folder, chosen at the first call."""
    if _FOLDER_KEY not in config.stash:
        config.stash[_FOLDER_KEY] = RunFolder(config)
        config.add_cleanup(config.stash[_FOLDER_KEY].close)  # cleanups run in reverse: this one is last
    return config.stash[_FOLDER_KEY]


def board_of(config: pytest.Config) -> BoardInUse:
    """The board of this process."""
    return config.stash[board_side.BOARD_KEY]


def recorder_of(item: pytest.Item) -> Recorder:
    """The recorder of a running test; in fixtures, `item` is `request.node`."""
    return item.stash[evidence_side.RECORDER_KEY]


def notes_of(item: pytest.Item) -> BoardNotes:
    """The notes about the board in a running test."""
    return item.stash[note_keeper.NOTES_KEY]
