"""Runs the parts of the suite that depend on the memory map on random maps."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings

from hotpin_hil.paths import NATIVE_ELFS_FILE
from hotpin_hil.virtual import profile as board_profiles
from tests.system.random_maps import profiles, run_suite

EXAMPLES = int(os.environ.get("HOTPIN_RANDOM_MAPS", "2"))
PLANNED = [
    "hil_tests/test_auto_optimize.py::test_drivers_restart_and_memory_moves_together",
    "hil_tests/test_auto_optimize.py::test_reclaimers_run_first_and_can_be_enough",
    "hil_tests/test_boot_ledger.py",
    "hil_tests/test_optimize.py",
    "hil_tests/test_diagnosis.py::test_reverse_order_release_leaves_less_fragmentation",
    "hil_tests/test_diagnosis.py::test_no_mem_names_the_missing_block_the_memory_before_it_and_who_holds_it",
    "hil_tests/test_monitoring.py::test_minimum_ever_never_rises",
]


@seed(7)
@settings(
    max_examples=EXAMPLES,
    database=None,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(profile=profiles())
def test_suite_passes_on_a_drawn_map(profile: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    if not NATIVE_ELFS_FILE.is_file():
        pytest.skip("no host build of the firmware; make native")
    path: Path = tmp_path_factory.mktemp("map") / "profile.toml"
    path.write_text(profile, encoding="utf-8")
    failure = run_suite(str(path), path.parent, ["-p", "no:cacheprovider", *PLANNED])
    assert not failure, f"{profile}\n{failure}"


@seed(7)
@settings(max_examples=15, database=None, deadline=None, suppress_health_check=list(HealthCheck))
@given(profile=profiles())
def test_drawn_map_leaves_the_memory_that_the_suite_needs(
    profile: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Each random map must leave enough memory to run the suite."""
    path: Path = tmp_path_factory.mktemp("map") / "profile.toml"
    path.write_text(profile, encoding="utf-8")
    heap = board_profiles.load(path).boot_heap()
    assert heap.stats("DMA").free > 150 * 1024
