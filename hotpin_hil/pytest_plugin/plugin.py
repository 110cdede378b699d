"""The pytest plugin: options, and what the suite's fixtures ask of the run. Nothing else here knows pytest,
except the two plugins it registers: one brings the board, the other takes the evidence."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path

import pytest

from hotpin_hil.boards.bench import ENV_BENCH
from hotpin_hil.boards.kind import CHOICES, ENV_BOARD
from hotpin_hil.evidence.recorder import Recorder
from hotpin_hil.evidence.story import Story
from hotpin_hil.paths import REQUIREMENTS_FILE
from hotpin_hil.pytest_plugin import board as board_side
from hotpin_hil.pytest_plugin import boot_story
from hotpin_hil.pytest_plugin import evidence as evidence_side
from hotpin_hil.pytest_plugin.arguments import join_values
from hotpin_hil.pytest_plugin.board import BOARDS, SOAK, BoardInUse
from hotpin_hil.pytest_plugin.reporters import ReporterPlugin
from hotpin_hil.pytest_plugin.selection import OrderPlugin, SelectionPlugin

__all__ = ["BoardInUse", "board_of", "recorder_of", "story_of"]

DEFAULT_TIME_SCALE = 20.0
"""How much faster than the host's clock a virtual board's may run when all its tasks wait."""
SOAK_TIME_SCALE = 100.0
"""The same for a run of the long tests alone: they wait for nothing but the board's own pauses, 0.9 s in each
cycle."""

_LOADED_ONCE = "ignore:Module already imported so cannot be rewritten:pytest.PytestAssertRewriteWarning"
"""What pytest says of its plugins when it starts over."""

SUITE_DIR = REQUIREMENTS_FILE.parent.name


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("hotpin", "HotPin hardware-in-the-loop")
    group.addoption(
        "--board",
        choices=CHOICES,
        help=f"what to test on (env: {ENV_BOARD}; default: auto, attached, else virtual)",
    )
    group.addoption("--board-mac", metavar="MAC", help="test on the board with this MAC and on no other")
    group.addoption(
        "--bench", metavar="FILE", help=f"the boards of a bench, see docs/bench.md (env: {ENV_BENCH})"
    )
    group.addoption("--board-name", metavar="NAME", help="test on this board of the bench")
    group.addoption(
        "--lease-timeout",
        type=float,
        default=board_side.LEASE_TIMEOUT_S,
        metavar="S",
        help="how long to wait for boards that other runs have (default: %(default)g)",
    )
    group.addoption(
        "--order-seed",
        type=int,
        metavar="N",
        help="run the tests in an order of their own, the same for the same N (default: as they are written)",
    )
    group.addoption(
        "--requirement",
        action="append",
        default=[],
        metavar="ID",
        help="run only the tests that show this requirement (may be repeated)",
    )
    group.addoption(
        "--qualification-dir",
        metavar="DIR",
        help="where the evidence goes (default: build/qualification)",
    )
    group.addoption(
        "--time-scale",
        type=float,
        metavar="X",
        help=f"virtual board: clock limit, a multiple of the host's (default: {DEFAULT_TIME_SCALE:g}, "
        f"with -m {SOAK} {SOAK_TIME_SCALE:g})",
    )
    group.addoption(
        "--board-profile",
        metavar="NAME",
        help="virtual board: its profile, or the path of one (default: hotpin-5.4; see docs/virtual-board.md)",
    )


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests(
    early_config: pytest.Config, parser: pytest.Parser
) -> Generator[None, None, None]:
    """Starts over, before anything else has begun, if pytest took an option's value for a path of tests. Workers
    get a command line that they can't misread."""
    given = early_config.invocation_params
    arguments = [str(one) for one in given.args]
    joined = join_values(arguments, parser.parse_known_args)
    if any(map(os.path.exists, set(arguments) - set(joined))):
        raise SystemExit(pytest.main([*joined, "-W", _LOADED_ONCE], given.plugins))
    early_config.invocation_params = pytest.Config.InvocationParams(
        args=joined, plugins=given.plugins, dir=given.dir
    )
    yield


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "requirement(*ids): the requirement ids that this test shows")
    config.addinivalue_line(
        "markers", f"{BOARDS}(*kinds, needs=…): the kinds of board that have what it needs"
    )
    config.addinivalue_line(
        "markers",
        "needs(*features): what the board must have: camera, audio, mic (bench.toml), power (a switch)",
    )
    # pytest-embedded uses it in every test, whether or not there is a JUnit report.
    config.addinivalue_line("filterwarnings", "ignore:record_xml_attribute is")
    option = config.option
    if option.time_scale is not None and not option.time_scale > 0:
        raise pytest.UsageError(f"--time-scale must be greater than 0, not {option.time_scale:g}")
    if not 0 <= option.lease_timeout < float("inf"):
        raise pytest.UsageError(f"--lease-timeout must be at least 0, not {option.lease_timeout:g}")
    folder = Path(option.qualification_dir or config.rootpath / "build" / "qualification")
    folder = folder if folder.is_absolute() else config.invocation_params.dir / folder
    usual_scale = SOAK_TIME_SCALE if option.markexpr == SOAK else DEFAULT_TIME_SCALE
    board = BoardInUse(config, folder, time_scale=option.time_scale or usual_scale, environment=os.environ)
    config.stash[board_side.BOARD_KEY] = board
    config.add_cleanup(board.stop)
    board_plugin = board_side.BoardPlugin(config, board)
    config.pluginmanager.register(board_plugin, "hotpin-board")
    requirements = config.rootpath / SUITE_DIR / REQUIREMENTS_FILE.name
    if option.requirement:
        config.pluginmanager.register(SelectionPlugin(option.requirement, requirements), "hotpin-selection")
    if option.order_seed is not None:
        config.pluginmanager.register(OrderPlugin(option.order_seed), "hotpin-order")
    reporters = ReporterPlugin(config)
    config.pluginmanager.register(reporters, "hotpin-reporters")
    evidence = evidence_side.EvidencePlugin(config, board_plugin, reporters, requirements, folder)
    config.pluginmanager.register(evidence, "hotpin-evidence")
    if getattr(option, "allure_report_dir", None):
        from hotpin_hil.pytest_plugin.allure import AllurePlugin

        config.pluginmanager.register(AllurePlugin(config, evidence, folder), "hotpin-allure")


def board_of(config: pytest.Config) -> BoardInUse:
    """The board of this run: kind, port, MAC, firmware build; `confirm` takes what it says of itself."""
    return config.stash[board_side.BOARD_KEY]


def recorder_of(item: pytest.Item) -> Recorder:
    """The recorder of a running test of the suite (`request.node` of its fixtures)."""
    return item.stash[evidence_side.RECORDER_KEY]


def story_of(item: pytest.Item) -> Story:
    """What is noted of the board in a running test of the suite."""
    return item.stash[boot_story.STORY_KEY]
