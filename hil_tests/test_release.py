"""The release image boots, logs and samples, and does not contain the suite's console.

Only these tests flash this image. The next test of another file flashes the image with the console again.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest
from pytest_embedded_idf.app import IdfApp

from fixtures.device import boot_start, context_is, measure_boot_event_is_last
from fixtures.measure import Measure
from fixtures.memory import KB, MEMORIES
from hotpin_hil.boards.sizes import ImageSizes, read_sizes
from hotpin_hil.device import BoardInfo, Device, NoReply, budgets
from hotpin_hil.device.images import RELEASE, WITH_CONSOLE
from hotpin_hil.errors import BenchError, BuildError
from hotpin_hil.link.line import line_of
from hotpin_hil.paths import PROJECT_ROOT
from hotpin_hil.pytest_plugin.plugin import BoardInUse, recorder_of

INTERVAL_MS = 15_000
INTERVAL_TOLERANCE_MS = 150
SAMPLE_BUDGET_S = 20.0
SAMPLES = 1

CONSOLE_SOURCES = PROJECT_ROOT / "firmware" / "components" / "hil_console"
CONSOLE_COMMANDS = ("sys.info", "sys.panic", "mem.stats", "heap.hold", "heap.fail", "mode.set", "bench.run")
SILENCE_S = 0.3
"""Time in s to wait for a reply; a console would reply within 0.1 s."""


@pytest.fixture
def build_dir(board: BoardInUse) -> str:
    """The build that pytest-embedded flashes for the tests of this file."""
    try:
        return str(board.build_of(RELEASE).folder)
    except BuildError as error:
        # Only these tests need the build, so the others continue.
        raise BenchError(f"no release build: {error.message}", error.remedy) from error


@pytest.fixture
def release(request: pytest.FixtureRequest, dut: Any, board: BoardInUse) -> Device:
    """A freshly booted board with the release image. It sends records but has no console."""
    device = Device(line_of(dut).channel)
    info = device.wait_ready()
    board.confirm(asdict(info), image=RELEASE)
    recorder_of(request.node).board = board.mac
    return device


def ready(device: Device) -> BoardInfo:
    """Board identity from the boot event."""
    (boot,) = device.events("boot", since=boot_start(device))
    return BoardInfo(**{name: boot.data[name] for name in BoardInfo.__dataclass_fields__})


@pytest.mark.requirement("REL-01")
def test_release_image_boots_logs_and_ticks_without_a_warning(
    dut: Any, release: Device, measure: Measure
) -> None:
    """Reads the board's records, because the image has no console."""
    info = ready(release)
    measure_boot_event_is_last(release, measure)
    digest = hashlib.sha256(Path(dut.app.elf_file).read_bytes()).hexdigest()
    measure("ELF SHA-256", info.elf_sha256, exact=digest, source="ELF file of the release build")
    box = release.wait_box("System Boot", since=boot_start(release))
    (logged,) = release.events("mem.sample", since=boot_start(release), where=context_is("System Boot"))
    measure(
        "internal free at 'System Boot', box - record",
        box.stats.internal_free - logged.data["internal_free"],
        "B",
        exact=0,
        source="LOG-06",
    )
    release.wait_line("HotPin ready", since=boot_start(release))

    first = release.wait_event(
        "mem.sample", SAMPLE_BUDGET_S, since=boot_start(release), where=context_is("Periodic")
    )
    for _ in range(SAMPLES):
        later = release.wait_event(
            "mem.sample",
            SAMPLE_BUDGET_S,
            since=boot_start(release),
            where=context_is("Periodic", after=first.n),
        )
        measure(
            "interval between periodic samples",
            later.data["timestamp_ms"] - first.data["timestamp_ms"],
            "ms",
            low=INTERVAL_MS - INTERVAL_TOLERANCE_MS,
            high=INTERVAL_MS + INTERVAL_TOLERANCE_MS,
            source="requirement MON-01",
        )
        first = later
    release.wait_box("Periodic", since=boot_start(release))
    for name in ("mem.warning", "mem.alloc_failed"):
        measure(
            f"events {name}",
            len(release.events(name, since=boot_start(release))),
            exact=0,
            source="a healthy boot",
        )
    complaints = [
        line.text
        for line in release.log_lines(boot_start(release))
        if line.tag == "MEM_MGR" and line.level in "EW"
    ]
    measure("complaints of the memory manager", "; ".join(complaints), exact="", source="a healthy boot")
    measure(
        "boots counted",
        len(release.channel.resets(boot_start(release))),
        exact=1,
        source="no reset in the test",
    )


@pytest.mark.requirement("REL-01", "ROB-03")
def test_release_image_has_no_console(release: Device, measure: Measure) -> None:
    """Sends typed commands and requests in the harness's format. None may get a reply or have an effect."""
    release.wait_line("HotPin ready", since=boot_start(release))
    start = release.mark()
    for line in ("help", "sys.info", "@1 sys.info", "@2 sys.reboot", "sys.panic kind=abort"):
        release.channel.send(line.encode() + b"\n")
    with pytest.raises(NoReply):
        release.command("sys.info", timeout_s=SILENCE_S)
    sample = release.wait_event("mem.sample", SAMPLE_BUDGET_S, since=start, where=context_is("Periodic"))
    replies = [record for record in release.channel.records(start) if record.kind == "reply"]
    measure("replies", len(replies), exact=0, source="requirement ROB-03")
    measure("resets after sending", len(release.channel.resets(start)), exact=0, source="ROB-03")
    said = {line.tag for line in release.log_lines(start)} - {"MEM_MGR"}
    measure("log lines not of the memory manager", ", ".join(said), exact="", source="no echo, no help")
    measure("the monitor still samples", bool(sample.data["internal_free"]), exact=True, source="REL-01")


@pytest.mark.requirement("ROB-03")
def test_release_image_has_none_of_the_consoles_strings(
    dut: Any, release: Device, board: BoardInUse, measure: Measure
) -> None:
    """Searches the image for command names and for distinctive strings of the console's sources. The image must contain
    none of them.

    The same search must find all of them in the image with the console, which proves that the search works.
    """
    texts = console_texts()
    with_console = Path(board.build.folder / "hotpin.bin").read_bytes()
    for name, image in (("bin", Path(dut.app.bin_file)), ("elf", Path(dut.app.elf_file))):
        content = image.read_bytes()
        found = [text.decode() for text in texts if text in content]
        measure(f"texts of the console in {name}", "; ".join(found), exact="", source="requirement ROB-03")
    known = sum(text in with_console for text in texts)
    measure(
        "texts found in the image with the console",
        known,
        min=len(texts) // 2,
        source="the image contains the console's strings",
    )
    has_console = bool(read_config(Path(dut.app.binary_path)).get("HOTPIN_HIL_CONSOLE"))
    measure("CONFIG_HOTPIN_HIL_CONSOLE", has_console, exact=False, source="sdkconfig")


def console_texts() -> list[bytes]:
    """String literals that occur only in the console's sources."""
    others = b"".join(
        path.read_bytes()
        for path in (PROJECT_ROOT / "firmware").rglob("*.[ch]")
        if CONSOLE_SOURCES not in path.parents
        and "build" not in str(path.relative_to(PROJECT_ROOT / "firmware"))
    )
    found = set(CONSOLE_COMMANDS)
    for path in CONSOLE_SOURCES.glob("*.c"):
        code = "\n".join(line for line in path.read_text().splitlines() if not line.startswith("#include"))
        found |= set(re.findall(r'"([A-Za-z][A-Za-z0-9 ,.:;\'_-]{11,})"', code))
    return sorted(text.encode() for text in found if text.encode() not in others)


AT_MAIN = "free at app_main"
BEFORE_CONSOLE, WITH_CONSOLE_TASK = "System Boot", "After Camera Transition"
"""Contexts that both images log at boot, before and after the point at which the console's task is created."""
STATIC_DRAM_MAX = {
    "hardware": {WITH_CONSOLE: 50_300, RELEASE: 31_800},
    "qemu": {WITH_CONSOLE: 41_700, RELEASE: 23_300},
}
"""Limits in bytes for static DRAM. With ESP-IDF v5.4, the configurations hil, release, qemu and qemu-release use
43,800, 27,656, 36,280 and 20,280 bytes; with v5.5, at most 240 bytes more. The limits are about 15 % higher."""
CONSOLE_STATIC_MAX = 18 * KB
"""Limit for the console's static memory. With ESP-IDF v5.4, hil uses 16,144 bytes more than release, and qemu uses
16,000 bytes more than qemu-release."""
CONSOLE_HEAP_MAX = KB
"""Tolerance in bytes for the heap that the console's task uses besides its stack: 360 bytes for the control block and
headers."""
HEAP_TABLE_B = 128
"""Tolerance in bytes: if a heap is larger than the next power of two, TLSF's table has an additional row of 72
bytes."""
_HEAP_LINE = re.compile(r"At ([0-9A-F]{8}) len [0-9A-F]+ .*: DRAM$")
"""Line of heap_init's boot log that lists a region of DRAM."""


@dataclass(frozen=True)
class Start:
    """Memory figures in the boot log of an image."""

    free: dict[str, int]
    """Free bytes at the start of app_main, and free bytes of each memory type in the statistics logged at boot."""
    first_heap: int
    """Start of the last heap of DRAM, after the static data."""


@pytest.mark.requirement("REL-01")
def test_release_image_has_the_consoles_memory_free(
    dut: Any, release: Device, board: BoardInUse, measure: Measure
) -> None:
    """Compares the free memory of the two images at boot. In the release image the memory that the console would use is
    free: its static data at app_main, and later also the stack of its task."""
    without = start_of(release)
    with_console = start_of(flash_and_start(dut, board.build.folder))
    sizes = {
        image: read_sizes(board.build_of(image), image, board.profile_of_own())
        for image in (WITH_CONSOLE, RELEASE)
    }
    starts = {WITH_CONSOLE: with_console, RELEASE: without}
    for image, size in sizes.items():
        measure_static_memory(board.kind.value, size, starts[image], measure)
    static = with_console.first_heap - without.first_heap
    is_modelled = any(size.is_modelled for size in sizes.values())
    measure(
        "static memory of the console",
        static,
        "B",
        low=0 if is_modelled else 1,
        high=CONSOLE_STATIC_MAX,
        source="16,144 B in the hil configuration, 16,000 B in qemu",
        klass="modelled" if is_modelled else "measured",
    )
    stack = read_config(board.build.folder)["HOTPIN_HIL_CONSOLE_STACK"]
    for what, free in without.free.items():
        low, high, source = share_of_console(what, static, stack)
        measure(
            f"{what}, release - with console",
            free - with_console.free[what],
            "B",
            low=low,
            high=high,
            source=source,
            klass="modelled" if is_modelled and what == AT_MAIN else "measured",
        )
    saved = board.build.app_file.stat().st_size - Path(dut.app.bin_file).stat().st_size
    measure(
        "image size, with console - release", saved, "B", min=1, source="the release image has no console"
    )


def share_of_console(what: str, static: int, stack: int) -> tuple[int, int, str]:
    """Minimum and maximum of the allowed difference of a figure between the images, and the source of these limits.

    Args:
        what: name of the figure.
        static: the console's static memory, bytes.
        stack: size of the console task's stack, bytes.
    """
    if what.startswith("psram"):
        return 0, 0, "the console uses no PSRAM"
    if WITH_CONSOLE_TASK in what:
        most = static + stack + CONSOLE_HEAP_MAX + HEAP_TABLE_B
        return static + stack - HEAP_TABLE_B, most, "heap_init of both boots, and the stack in sdkconfig"
    return static - HEAP_TABLE_B, static + HEAP_TABLE_B, "heap_init of both boots"


def measure_static_memory(kind: str, size: ImageSizes, start: Start, measure: Measure) -> None:
    """Compare the start of the first heap on the board with the start in the build, and the size of the static data
    with its limit."""
    if size.first_heap is not None:
        measure(
            f"first heap of the image {size.image}: on the board - in the build",
            start.first_heap - size.first_heap,
            "B",
            exact=0,
            source=f"{size.source}: heap_init adds the memory that the linker left free",
            klass="modelled" if size.is_modelled else "measured",
        )
    if size.static_dram is not None and kind in STATIC_DRAM_MAX:
        measure(
            f"static DRAM of the image {size.image}",
            size.static_dram,
            "B",
            max=STATIC_DRAM_MAX[kind][size.image],
            source="the size of this configuration when it was last built, plus 15 %",
        )


def start_of(device: Device) -> Start:
    """The running image's figures at boot."""
    free = {AT_MAIN: ready(device).free_at_main}
    for context in (BEFORE_CONSOLE, WITH_CONSOLE_TASK):
        sample = device.wait_event("mem.sample", since=boot_start(device), where=context_is(context))
        for memory in MEMORIES:
            free[f"{memory.name} free at {context!r}"] = sample.data[memory.free_field]
    found = [
        match
        for line in device.log_lines(boot_start(device))
        if line.tag == "heap_init" and (match := _HEAP_LINE.match(line.text))
    ]
    return Start(free, max(int(match[1], 16) for match in found))


def read_config(folder: Path) -> dict[str, Any]:
    """Reads a build's sdkconfig: option names without CONFIG_, and their values."""
    config: dict[str, Any] = json.loads((folder / "config" / "sdkconfig.json").read_text())
    return config


def flash_and_start(dut: Any, folder: Path) -> Device:
    """Flash another build and wait until it is ready."""
    device = Device(line_of(dut).channel)
    since = device.mark()
    line_of(dut).flash(IdfApp(app_path=str(folder.parent), build_dir=str(folder)))
    device.channel.wait(lambda: device.channel.resets(since) or None, budgets.BOOT_S)
    device.wait_ready()
    return device
