"""Tests board profiles that extend another profile (`like`)."""

from __future__ import annotations

from pathlib import Path

import pytest

from hotpin_hil.virtual import profile as profiles


def test_no_psram_profile_differs_from_the_default_only_in_psram() -> None:
    default, without = profiles.load(), profiles.load("no-psram")
    assert (without.psram_mb, without.name) == (0, "no-psram")
    assert without.mac != default.mac
    assert (without.heaps, without.startup_internal) == (default.heaps, default.startup_internal)
    assert without.boot_heap().stats("SPIRAM").free == 0
    assert not any("pool" in line or "SPIRAM" in line for line in without.boot_lines())


def test_own_values_override_those_of_the_base_profile(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('like = "hotpin-5.4"\nname = "mine"\nrevision = 300\n')
    mine = profiles.load(file)
    assert (mine.name, mine.revision) == ("mine", 300)
    assert mine.heaps == profiles.load().heaps


def test_unknown_base_profile_is_named(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('like = "nosuch"\nname = "mine"\n')
    with pytest.raises(profiles.ProfileError, match=r"`like` is not valid: 'nosuch'.*hotpin-5.4"):
        profiles.load(file)
