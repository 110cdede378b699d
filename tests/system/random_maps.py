"""Runs the suite on virtual boards with other memory maps, because no test may depend on a map.

    python -m tests.system.random_maps --count 20 --seed 1 [-- pytest's arguments]
    python -m tests.system.random_maps --profile recorded --profile psram-8mb [-- pytest's arguments]

A random map is a possible map of an ESP32 build with random ends of static data and code, one core or two, and ESP-IDF
v5.4 or v5.5. If the suite fails on a map, the map is kept as a profile.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from hypothesis import Phase, given, seed, settings
from hypothesis import strategies as st

from hotpin_hil.paths import BUILD_DIR, PROJECT_ROOT
from hotpin_hil.virtual.profile import HeapRegion
from tests.support.command import run_command

MAPS_DIR = BUILD_DIR / "random-maps"
ROM_DATA = HeapRegion(0x3FFAE6E0, 6432, "DRAM")
PSRAM = HeapRegion(0x3F800000, 4 << 20, "SPIRAM")
BY_CORES = {
    "one core": [HeapRegion(0x3FFE0440, 129984, "DIRAM"), HeapRegion(0x40078000, 32768, "IRAM")],
    "two cores": [HeapRegion(0x3FFE0440, 15072, "DIRAM"), HeapRegion(0x3FFE4350, 113840, "DIRAM")],
}
"""Additional heaps by number of cores. With one core, the ROM data and the cache of the second core are heaps."""
DRAM_END, IRAM_END = 0x3FFE0000, 0x400A0000
FIRST_DATA = range(0x3FFB4000, 0x3FFCA000, 4)
"""Possible ends of static data."""
FIRST_CODE = range(0x40088000, 0x4009E000, 4)


@st.composite
def profiles(draw: st.DrawFn) -> str:
    """Draws a random board profile, as TOML."""
    data, code = draw(st.sampled_from(FIRST_DATA)), draw(st.sampled_from(FIRST_CODE))
    base = draw(st.sampled_from(["hotpin-5.4", "hotpin-5.5"]))
    has = [f"IDF {base.removeprefix('hotpin-')}", *draw(st.sampled_from([[], ["newlib in flash"]]))]
    cores = draw(st.sampled_from(list(BY_CORES)))
    has.append(cores)
    heaps = [ROM_DATA, HeapRegion(data, DRAM_END - data, "DRAM"), *BY_CORES[cores]]
    heaps += [HeapRegion(code, IRAM_END - code, "IRAM"), PSRAM]
    lines = [f'  {{ start = 0x{h.start:08X}, length = {h.length}, type = "{h.type}" }},' for h in heaps]
    return "\n".join([f'like = "{base}"', 'name = "random"', f"has = {has}", "heap = [", *lines, "]", ""])


def run_suite(profile: str, folder: Path, arguments: Sequence[str]) -> str:
    """Runs the suite on a board of this profile, a name or a file; returns "" if it passed, else its last output."""
    command = [sys.executable, "-m", "pytest", "--target", "esp32", "--board", "virtual", "-q"]
    command += ["--board-profile", profile, "--qualification-dir", str(folder), "--overwrite", *arguments]
    done = subprocess.run(command, cwd=PROJECT_ROOT, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stdout[-4000:] + done.stderr[-2000:]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status, which is 0 if the suite passed on every map."""
    parser = argparse.ArgumentParser(
        prog="tests.system.random_maps", description=__doc__.split("\n", maxsplit=1)[0]
    )
    parser.add_argument("--count", type=int, default=20, metavar="N", help="number of maps (default: 20)")
    parser.add_argument(
        "--seed",
        type=int,
        default=1,
        metavar="N",
        help="seed of the maps; the same seed gives the same maps (default: 1)",
    )
    parser.add_argument(
        "--profile",
        action="append",
        default=[],
        metavar="NAME",
        help="run on this profile instead of random maps; may be repeated",
    )
    parser.add_argument("arguments", nargs="*", metavar="ARGUMENT", help="arguments for pytest, after --")
    options = parser.parse_args(argv)
    failed: list[str] = []
    numbers = iter(range(1, options.count + 1))

    def examine(name: str, profile: str) -> None:
        failure = run_suite(profile, MAPS_DIR / name, options.arguments)
        print(f"{name}: {'failed' if failure else 'passed'}\n{failure}", end="", flush=True)
        if failure:
            failed.append(profile)

    @seed(options.seed)
    @settings(max_examples=options.count, database=None, deadline=None, phases=[Phase.generate])
    @given(profiles())
    def each(profile: str) -> None:
        name = f"{options.seed}-{next(numbers)}"
        path = MAPS_DIR / name / "profile.toml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(profile, encoding="utf-8")
        examine(name, str(path))

    for profile in options.profile:
        examine(profile, profile)
    if not options.profile:
        each()
    print(f"{len(failed)} of {len(options.profile) or options.count} maps failed", *failed, sep="\n  ")
    return 1 if failed else 0


if __name__ == "__main__":
    run_command(main)
