"""Compares the firmware with the model in random games: `python -m tests.model.explore [--minutes M] [--seed N]`.

Prints the seed, then the progress. If firmware and model disagree, prints the shortest script found and exits with
status 1.
"""

from __future__ import annotations

import argparse
import math
import random
import tempfile
import time
from pathlib import Path

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from hotpin_hil.paths import NATIVE_BUILD_DIR
from tests.model.machine import FirmwareMachine
from tests.support.command import run_command
from tests.support.virtual_board import native_flash_image

ROUND = 10
"""Number of games in a round; the time is checked between rounds."""
STEPS = 50
"""Maximum number of operations in a game."""


def play(
    first_seed: int,
    seconds: float = math.inf,
    rounds: float = math.inf,
    shrink: bool = True,
    show: bool = False,
) -> int:
    """Play rounds of games; returns the number of operations.

    Args:
        first_seed: seed of the first round; each next round uses the next number.
        seconds: host time after which no further round starts.
        rounds: number of rounds.
        shrink: shorten the script if firmware and model disagree.
        show: print the progress.

    Raises:
        Disagreement: firmware and model disagree; the message has the script.
    """
    FirmwareMachine.elf = NATIVE_BUILD_DIR / "hotpin.elf"
    FirmwareMachine.flash = native_flash_image()
    FirmwareMachine.steps = FirmwareMachine.examples = 0
    chosen = settings(
        max_examples=ROUND,
        stateful_step_count=STEPS,
        deadline=None,
        database=None,
        print_blob=False,
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
        phases=[Phase.generate, Phase.shrink] if shrink else [Phase.generate],
    )
    start = time.monotonic()
    number = first_seed
    with tempfile.TemporaryDirectory(prefix="model-") as folder:
        FirmwareMachine.folder = Path(folder)
        while time.monotonic() - start < seconds and number - first_seed < rounds:
            run_state_machine_as_test(seed(number)(FirmwareMachine), settings=chosen)
            number += 1
            if show:
                passed = time.monotonic() - start
                done = FirmwareMachine.steps
                print(f"seed {number - 1}: {done} steps, {done / passed:.0f} a second", flush=True)
    return FirmwareMachine.steps


def main() -> int:
    """Run the command line; returns its exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument(
        "--no-shrink", action="store_true", help="print the first script without shortening it"
    )
    options = parser.parse_args()
    print(f"seed {options.seed}; repeat with --seed {options.seed}", flush=True)
    try:
        play(options.seed, options.minutes * 60, shrink=not options.no_shrink, show=True)
    except AssertionError as disagreement:
        print(f"\nDISAGREEMENT: {disagreement}")
        return 1
    return 0


if __name__ == "__main__":
    run_command(main)
