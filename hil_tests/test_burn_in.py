"""Burn-in: each board repeats random rounds of voice, speech, camera and failures until --hours have passed."""

from __future__ import annotations

import secrets
from functools import partial
from itertools import count

import pytest

from fixtures.burn_in import Rounds, draw_round
from fixtures.burn_in_log import BurnInLog
from fixtures.measure import Measure, Series
from fixtures.modes import Modes
from hotpin_hil.device import Device
from hotpin_hil.errors import FirmwareError
from hotpin_hil.pytest_plugin.board import worker_count
from hotpin_hil.pytest_plugin.burn_in import write_progress
from hotpin_hil.pytest_plugin.plugin import BoardInUse


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make one test per worker, so that each board of the run gets one."""
    numbers = range(1, worker_count(metafunc.config) + 1)
    metafunc.parametrize("number", numbers, ids=[f"board-{number}" for number in numbers])


@pytest.fixture
def log(
    request: pytest.FixtureRequest, board: BoardInUse, measure: Measure, series: Series, number: int
) -> BurnInLog:
    config = request.config
    name = f"board-{number} {board.name}"
    return BurnInLog(name, config.option.hours, measure, series, partial(write_progress, config))


@pytest.mark.burn_in
@pytest.mark.requirement("TRN-04")
def test_burn_in(request: pytest.FixtureRequest, device: Device, modes: Modes, log: BurnInLog) -> None:
    """Runs random rounds: change to voice mode, record, play a stream or close it early, change to camera mode, take a
    picture, read the memory. In half of the rounds, a step or an allocation of one change is made to fail first. Ends
    after the first round that ends after --hours."""
    seed, first = request.config.option.burn_in_seed or (secrets.randbelow(1_000_000), 1)
    log.start(seed)
    device.settle(down=0, up=0)
    rounds = Rounds(device, modes)
    numbers = count(first)
    try:
        while not log.is_over:
            number = next(numbers)
            plan = draw_round(seed, number, rounds.steps)
            try:
                reading = rounds.run(plan)
            except (AssertionError, FirmwareError) as error:
                raise AssertionError(
                    f"round {number} of seed {seed}: {error} (the round: {plan}; "
                    f"to start with it: -m burn_in --burn-in-seed {seed}:{number})"
                ) from error
            log.add(reading, device.info().t, rounds.last_change_ms)
            if log.ahead_s > 0:
                rounds.idle(log.ahead_s, log.pace)
    finally:
        log.record()
    log.judge()
