"""Compares the virtual board with this firmware built with the real ESP-IDF and run in an emulated ESP32.

The recorded runs of the emulator contain the free memory at each step and list every block. With the same memory map,
the virtual board must have the same figures. The QEMU configuration simulates camera and microphone, so it is also
built for the host. The first runs were recorded at commit f74ed55.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from hotpin_hil.analysis.heap_layout import BLOCK_OVERHEAD
from hotpin_hil.paths import FIRMWARE_DIR, NATIVE_ELFS_FILE
from tests.conftest import shared_data
from tests.support.native_build import build_native
from tests.support.virtual_board import Boards, Console, native_flash_image

RUNS = {"hotpin-5.4": "heap-blocks-qemu54.log", "hotpin-5.5": "boot-qemu-55.log"}
BUILT_FOR_QEMU = ("newlib in flash",)
FIGURES = ("internal_free", "internal_largest", "dma_free", "dma_largest", "psram_free", "psram_largest",
           "total_free", "iram_free")  # fmt: skip
UNTIL_CAMERA = ("System Boot", "Before Camera Transition", "After Camera Transition")
VOICE = ("Before Voice Transition", "After Voice Transition")
CAPTURE_CHUNK = 4_096 + 4
"""PSRAM used by the capture's chunk and its header; in the recorded firmware the chunk was on the capture's stack."""

Started = Callable[[str, Path], Console]


def recording(name: str) -> str:
    return shared_data(f"qemu_runs/{name}").read_text(errors="replace")


def samples(text: str) -> dict[str, dict[str, int]]:
    """The first sample of each context. The complete fields at the start of a truncated record are used."""
    found: dict[str, dict[str, int]] = {}
    for context, fields in re.findall(r'@! \{"event":"mem\.sample","context":"([^"]+)"([^\n]*)', text):
        found.setdefault(context, {key: int(value) for key, value in re.findall(r'"(\w+)":(\d+)', fields)})
    return found


def figures(text: str, contexts: tuple[str, ...]) -> dict[str, dict[str, int]]:
    taken = samples(text)
    return {context: {name: taken[context][name] for name in FIGURES} for context in contexts}


def free_at_main(text: str) -> int:
    found = re.search(r'"free_at_main":(\d+)', text)
    assert found
    return int(found.group(1))


def on_the_map_of(log: str, like: str, tmp_path: Path, *extra: str, psram_mb: int = 4) -> Path:
    """A profile with the memory map of the recorded build on two cores; the shipped profile has the map of the current
    firmware."""
    regions = re.findall(r"heap_init: At (\w+) len (\w+) \([^)]*\): (\S+)", recording(log))
    heaps = [(int(start, 16), int(size, 16), kind.replace("/", "")) for start, size, kind in regions]
    heaps.append((0x3F800000, 4 << 20, "SPIRAM"))
    lines = [f'{{ start = {start}, length = {size}, type = "{kind}" }}' for start, size, kind in heaps]
    path = tmp_path / "recorded-map.toml"
    path.write_text(
        f'like = "{like}"\nname = "emulated"\npsram_mb = {psram_mb}\nheap = [{", ".join(lines)}]\n'
        f"has = {[like.replace('hotpin-', 'IDF '), 'two cores', *extra]}\n",
        encoding="utf-8",
    )
    return path


def host_build(name: str, *more: str) -> Path:
    """A host build with the test console, the extensions that the recorded firmware had, and `more` files of
    defaults."""
    files = ("sdkconfig.defaults", "sdkconfig.hil", *more, "native/test/sdkconfig.recorded")
    option = "-DSDKCONFIG_DEFAULTS=" + ";".join(str(FIRMWARE_DIR / file) for file in files)
    return build_native(name, "images", option).parent


@pytest.fixture(scope="module")
def simulated() -> Path:
    """The build with the QEMU configuration's simulated peripherals, on two cores."""
    return host_build("native-simulated", "native/test/sdkconfig.simulated")


@pytest.fixture(scope="module")
def hardware() -> Path:
    """The build with the hardware configuration."""
    return host_build("native-recorded")


@pytest.fixture(scope="module")
def one_core() -> Path:
    """The build with the QEMU configuration, which has one core."""
    return host_build("native-qemu", "sdkconfig.qemu")


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Started]:
    with ExitStack() as stack:

        def started(profile: str, build: Path) -> Console:
            place = tmp_path / "emulated-0"
            place.mkdir()
            image = native_flash_image(build)
            flash = place / "flash.bin"
            flash.write_bytes(
                b"\xff" * len(image)
            )  # without NVS entries of an earlier boot, which would take memory
            boards = Boards(tmp_path, NATIVE_ELFS_FILE, profile=profile, time_scale=20.0)
            stack.callback(boards.stop)
            console = stack.enter_context(Console(boards.url))
            with flash.open("r+b") as file:
                file.write(image)
            console.reset()
            return console

        yield started


def listen(console: Console, until: str) -> str:
    """Returns the console output up to a pattern."""
    return console.expect(rf"\A{until}").group(0)


def start_of(console: Console) -> str:
    """The output until both the boot event and the sample of camera mode have arrived, in either order."""
    ends = (r'"free_at_main":\d+', r'"context":"After Camera Transition"[^\n]*\n')
    return listen(console, "".join(rf"(?=.*?{end})" for end in ends) + ".*")


def blocks(text: str) -> list[tuple[int, list[int]]]:
    """Heaps and their blocks (free ones negative) in the output of `heap.blocks`, as text or as records."""
    runs = re.findall(r'"?heap"?: ?(\d+).*?"?blocks"?: ?\[([-\d,]*)\]', text, re.DOTALL)
    heaps: dict[int, list[int]] = {}
    for start, sizes in runs:
        heaps.setdefault(int(start), []).extend(map(int, sizes.split(",")))
    return sorted(heaps.items())


@pytest.mark.parametrize("name", RUNS)
def test_memory_matches_the_emulator_at_boot_and_in_each_mode(
    name: str, simulated: Path, start: Started, tmp_path: Path
) -> None:
    emulated = recording(RUNS[name])
    console = start(str(on_the_map_of(RUNS[name], name, tmp_path, *BUILT_FOR_QEMU)), simulated)
    output = start_of(console)
    assert free_at_main(output) == free_at_main(emulated)
    assert figures(output, UNTIL_CAMERA) == figures(emulated, UNTIL_CAMERA)
    console.send("@1 mode.set to=voice wait=1\n")
    output = listen(console, r'.*?"context":"After Voice Transition"[^\n]*\n')
    expected = figures(emulated, VOICE)
    for figure in ("psram_free", "total_free"):
        expected[VOICE[1]][figure] -= CAPTURE_CHUNK
    largest = expected[VOICE[1]].pop("psram_largest")
    found = figures(output, VOICE)
    assert largest - 2 * CAPTURE_CHUNK <= found[VOICE[1]].pop("psram_largest") <= largest  # a class of sizes
    assert found == expected
    console.send("@2 sys.tasks\n")
    tasks = console.expect(r'@2 [^\n]*"tasks":(\d+)').group(1)
    assert f"tasks: {tasks}" in emulated


def test_every_block_matches_the_emulator(simulated: Path, start: Started, tmp_path: Path) -> None:
    log = RUNS["hotpin-5.4"]
    emulated = recording(log)
    emulated = emulated[emulated.index("heap.blocks caps=DMA") : emulated.index("mode.ledger")]
    console = start(str(on_the_map_of(log, "hotpin-5.4", tmp_path, *BUILT_FOR_QEMU)), simulated)
    listen(console, r'.*?"free_at_main":\d+')
    listed = ""
    for number, caps in enumerate(("DMA", "SPIRAM"), start=1):
        console.send(f"@{number} heap.blocks caps={caps}\n")
        more = '"more":true'
        while '"more":true' in more:
            more = console.expect(rf"@{number} (\{{[^\n]*\}})\*").group(1)
            listed += more
    assert blocks(listed) == with_gaps(blocks(emulated))


GAPS = {56: 16, 61_440: 24}
"""Size of a block -> free bytes before it. Since the recording, the simulated camera requests its frame descriptor and
frame buffer with an alignment, as esp32-camera does."""


def with_gaps(heaps: list[tuple[int, list[int]]]) -> list[tuple[int, list[int]]]:
    """The recorded blocks as they are with aligned camera blocks in PSRAM, whose last block is free."""
    found = []
    for start, sizes in heaps:
        if start == PSRAM_START:
            *used, free = sizes
            aligned = [part for size in used for part in ([-GAPS[size], size] if size in GAPS else [size])]
            aligned.append(free + sum(gap + BLOCK_OVERHEAD for gap in GAPS.values()))
            found.append((start, aligned))
        else:
            found.append((start, sizes))
    return found


PSRAM_START = 0x3F800000
ON_ONE_CORE = {
    "System Boot": (289_719, 4_475_987),
    "Before Camera Transition": (221_271, 4_276_455),
    "After Camera Transition": (183_507, 4_175_875),
    "Before Voice Transition": (187_947, 4_180_315),
    "After Voice Transition": (191_175, 4_246_359 - CAPTURE_CHUNK),
}
"""Free DMA-capable and total memory of the QEMU configuration, which has one core: ESP-IDF v5.4.4-956, emulated."""
MAP_ON_ONE_CORE = (
    (0x3FFAE6E0, 6432, "DRAM"), (0x3FFB6DD8, 168488, "DRAM"), (0x3FFE0440, 129984, "DIRAM"),
    (0x40078000, 32768, "IRAM"), (0x4008E780, 71808, "IRAM"), (0x3F800000, 4194304, "SPIRAM"),
)  # fmt: skip
FIRST_HEAP_ON_ONE_CORE = [192, 12, 36, 12, 16, 88, 88, 88, 448, 88, 88, 88, 128, 128, 44, 44, 12, 28, 52, 52, 52, -4096,
                          36, 16, 16]  # fmt: skip


def test_memory_on_one_core_matches_the_emulator(one_core: Path, start: Started, tmp_path: Path) -> None:
    heaps = ", ".join(
        f'{{ start = {at}, length = {size}, type = "{kind}" }}' for at, size, kind in MAP_ON_ONE_CORE
    )
    path = tmp_path / "one-core.toml"
    path.write_text(
        f'like = "hotpin-5.4"\nname = "emulated"\nhas = ["IDF 5.4", "newlib in flash", "one core"]\nheap = [{heaps}]\n'
    )
    console = start(str(path), one_core)
    output = start_of(console)
    assert free_at_main(output) == 4_485_459
    console.send("@1 heap.blocks caps=DMA\n")
    listed = console.expect(r"(@1 \{[^\n]*\}\*.*?){2}").group(0)
    assert dict(blocks(listed))[MAP_ON_ONE_CORE[0][0]] == FIRST_HEAP_ON_ONE_CORE
    console.send("@2 mode.set to=voice wait=1\n")
    output += listen(console, r'.*?"context":"After Voice Transition"[^\n]*\n')
    taken = samples(output)
    assert {name: (taken[name]["dma_free"], taken[name]["total_free"]) for name in ON_ONE_CORE} == ON_ONE_CORE
    assert taken["System Boot"]["iram_free"] == 102_944
    console.send("@3 sys.tasks\n")
    assert console.expect(r'@3 [^\n]*"tasks":(\d+)').group(1) == "5"


def test_hardware_configuration_starts_with_the_memory_of_the_emulated_one(
    hardware: Path, start: Started, tmp_path: Path
) -> None:
    emulated = recording("hil-in-qemu.log")
    console = start(str(on_the_map_of("hil-in-qemu.log", "hotpin-5.4", tmp_path)), hardware)
    output = listen(console, r'.*?"free_at_main":\d+')
    assert free_at_main(output) == free_at_main(emulated)
    assert figures(output, UNTIL_CAMERA[:2]) == figures(emulated, UNTIL_CAMERA[:2])


def test_without_psram_it_starts_with_the_memory_of_the_emulated_one(
    hardware: Path, start: Started, tmp_path: Path
) -> None:
    emulated = recording("no-psram-qemu.log")
    console = start(
        str(on_the_map_of("no-psram-qemu.log", "hotpin-5.4", tmp_path, *BUILT_FOR_QEMU, psram_mb=0)),
        hardware,
    )
    output = listen(console, r'.*?"free_at_main":\d+')
    assert free_at_main(output) == free_at_main(emulated)
    assert figures(output, UNTIL_CAMERA[:1]) == figures(emulated, UNTIL_CAMERA[:1])
