"""Tests the parsers of the statistics box and of log lines with the guide's layout, recordings, and damaged output."""

from __future__ import annotations

import dataclasses
import json
import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotpin_hil.paths import FIRMWARE_DIR
from hotpin_hil.protocol.box import Box, BoxError, BoxFinder, BrokenBox, parse_text, render
from hotpin_hil.protocol.fields import BOX_FIELDS, DELTA_LABELS, FIELDS, MemoryStats
from hotpin_hil.protocol.log import LINE_MAX, LineSplitter, parse_log_line
from tests.conftest import shared_data

STATS = MemoryStats(7, 225179, 110592, 0, 204763, 110592, 3, 4192016, 4128768, 100, 4364748, 4300000)
DELTA = {"internal": 0, "dma": -2408, "psram": 1023, "total": -1024}


def console(lines: list[str], tag: str = "MEM_MGR", colour: bool = False, end: str = "\r\n") -> str:
    start, stop = ("\x1b[0;32m", "\x1b[0m") if colour else ("", "")
    return "".join(f"{start}I ({100 + number}) {tag}: {line}{stop}{end}" for number, line in enumerate(lines))


BOX = console(render("System Boot", STATS, DELTA))


def find(text: str | bytes) -> list[Box | BrokenBox]:
    finder = BoxFinder()
    return finder.feed(text.encode() if isinstance(text, str) else text) + finder.flush()


def test_box_matches_the_guide_byte_for_byte() -> None:
    guide = shared_data("mission/memory_management_guide.md").read_text()
    layout = re.search(r"```\n(╔.*?╚[^\n]*)\n```", guide, re.DOTALL)
    assert layout
    rendered = render("[Context]", STATS, DELTA)

    def shape(line: str) -> str:
        return re.sub(r"[+\-\d]+|\+/-X+|X+", "N", line.replace("+/-", "")).replace(" ", "")

    assert [shape(line) for line in rendered] == [shape(line) for line in layout[1].splitlines()]


def test_box_lines_match_those_of_recorded_boards() -> None:
    log = shared_data("real_logs/serialmonitorlogs_a67f01a.txt").read_bytes()
    first = next(box for box in find(log) if isinstance(box, Box))
    printed = [line.text for line in first.lines]
    assert printed == render(first.context, first.stats, first.delta)
    assert "║   Free:             225179 bytes (219 KB)" in printed
    assert "║   DMA-capable:           +0 bytes (  +0 KB)" in printed


@pytest.mark.parametrize(
    "name",
    ["SerialMonitor_Logs_17cac49.txt", "SerialMonitor_Logs_e2a27ac.txt", "serialmonitorlogs_a67f01a.txt"],
)
def test_every_recorded_box_is_found_with_its_figures(name: str) -> None:
    facts = json.loads(shared_data("real_logs/facts.json").read_text())[name]
    log = shared_data(f"real_logs/{name}").read_bytes()
    finder = BoxFinder()
    cuts = sorted(random.Random(1).sample(range(len(log)), 500))
    found = [box for a, b in zip([0, *cuts], [*cuts, len(log)], strict=True) for box in finder.feed(log[a:b])]
    boxes = [box for box in found if isinstance(box, Box)]
    expected = facts["boxes"]
    assert len(found) == len(boxes) == expected["complete"]
    assert sum(box.interleaved for box in boxes) == expected["interleaved_by_other_tasks"]
    assert max(len(box.foreign) for box in boxes) == expected["max_foreign_lines"]
    contexts = [box.context for box in boxes]
    assert {context: contexts.count(context) for context in contexts} == expected["by_context"]
    first, values = boxes[0], facts["first_box_values"]
    for memory in ("internal", "dma", "psram"):
        wanted = tuple(values[f"{memory}.{key}"] for key in ("free", "largest", "frag"))
        assert first.stats.memory(memory) == wanted
    assert (first.stats.total_free, first.stats.total_minimum_free) == (
        values["total.free"],
        values["total.min"],
    )
    assert min(box.stats.dma_free for box in boxes) == facts["min_dma_free_box"]["bytes"]


@pytest.mark.parametrize("colour", [False, True])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_box_is_found_with_colours_and_either_line_end(colour: bool, end: str) -> None:
    text = "noise\r\n" + console(render("X", STATS, DELTA), colour=colour, end=end)
    (box,) = find(text)
    assert isinstance(box, Box)
    assert (box.context, box.delta) == ("X", DELTA)
    assert dataclasses.replace(box.stats, timestamp_ms=7) == STATS
    assert box.offset == len(b"noise\r\n")
    assert not box.interleaved


stats = st.builds(
    lambda figures: MemoryStats(100, *figures),
    st.tuples(*[st.integers(0, 100) if f.unit == "%" else st.integers(0, 2**32 - 1) for f in BOX_FIELDS]),
)


@given(
    stats, st.fixed_dictionaries({name: st.integers(-(2**31), 2**31 - 1) for name in DELTA_LABELS}), st.data()
)
def test_any_figures_survive_any_chunking(
    wanted: MemoryStats, delta: dict[str, int], data: st.DataObject
) -> None:
    raw = console(render("A context: (1)", wanted, delta)).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=5)))
    finder = BoxFinder()
    found = [box for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True) for box in finder.feed(raw[a:b])]
    (box,) = found
    assert isinstance(box, Box)
    assert (box.context, box.stats, box.delta) == ("A context: (1)", wanted, delta)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda text: text.replace("(219 KB)", "(220 KB)"), "line 5"),
        (lambda text: text.replace("   225179 bytes", "  225179 bytes"), "line 5"),
        (lambda text: text.replace("Fragmentation:      0%", "Fragmentation:     0%"), "line 7"),
        (lambda text: text.replace("Largest Block", "Largest block"), "line 6"),
        (lambda text: text.replace("(  -2 KB)", "(  -3 KB)"), "line 25"),
        (lambda text: text.replace("║ Total Heap:", "║ Total:"), "line 19"),
        (lambda text: text.replace("╠" + "═" * 59, "╠" + "═" * 58, 1), "line 3"),
        (lambda text: re.sub(r"I \(\d+\) MEM_MGR: ║   Minimum.*\r\n", "", text), "has 27"),
        (lambda text: text.replace("204763 bytes (199 KB)", "2047"), "line 10"),
    ],
)
def test_any_deviation_from_the_layout_is_reported(change: object, reason: str) -> None:
    changed = change(BOX)  # type: ignore[operator]
    assert changed != BOX
    with pytest.raises(BoxError, match=reason):
        parse_text(changed)
    (broken,) = find(changed)
    assert isinstance(broken, BrokenBox)
    assert reason in broken.reason
    parse_text(BOX)


def test_foreign_line_in_a_box_is_reported() -> None:
    lines = BOX.splitlines(keepends=True)
    foreign = ["W (5) WIFI: foreign", "wifi:state", '@! {"event":"mem.sample"}*0000']
    text = "".join([*lines[:9], *(line + "\r\n" for line in foreign), *lines[9:]])
    (box,) = find(text)
    assert isinstance(box, Box)
    assert box.foreign == tuple(foreign)
    assert box.interleaved


def test_line_torn_apart_by_another_task_breaks_the_box() -> None:
    torn = BOX.replace("225179 bytes", "225I (5) APP: hello\r\n179 bytes")
    (broken,) = find(torn)
    assert isinstance(broken, BrokenBox)


def test_truncated_box_is_reported_and_the_next_one_found() -> None:
    lines = BOX.splitlines(keepends=True)
    found = find("".join(lines[:10]) + BOX)
    assert [type(item) for item in found] == [BrokenBox, Box]
    (ended,) = find("".join(lines[:10]))
    assert isinstance(ended, BrokenBox)
    assert ended.reason == "the log ends within it"
    (lost,) = find("".join(lines[:10]) + "I (1) APP: on and on\r\n" * 300)
    assert isinstance(lost, BrokenBox)


def test_box_of_another_kind_is_ignored() -> None:
    other = BOX.splitlines(keepends=True)[0] + "I (2) MEM_MGR: ║ Memory Manager Initialized\r\n"
    assert find(other + BOX.splitlines(keepends=True)[-1]) == []


# --- Fields ---


def test_fields_match_those_of_the_firmware() -> None:
    header = FIRMWARE_DIR / "components/memory_manager/include/memory_fields.h"
    if not header.is_file():
        pytest.skip("no firmware sources in this checkout")
    text = header.read_text()
    fields, _, baseline = text.partition("#define MEMORY_BASELINE_FIELDS")
    names = re.findall(r"^ +X\((\w+), (\w+), \w+\)", fields, re.MULTILINE)
    assert [name for name, _ in names] == [field.name for field in FIELDS]
    assert [name for name, section in names if section != "NONE"] == [field.name for field in BOX_FIELDS]
    assert dict(re.findall(r'^ +X\((\w+), +"([^"]+):", \w+\)', baseline, re.MULTILINE)) == DELTA_LABELS


# --- Lines ---


def test_log_line_is_split_into_its_parts() -> None:
    (line,) = LineSplitter().feed(b"\x1b[0;31mE (123) TTS: Insufficient: need 1\x1b[0m\r\n")
    parsed = parse_log_line(line)
    assert parsed
    assert (parsed.level, parsed.t_ms, parsed.tag, parsed.text) == (
        "E",
        123,
        "TTS",
        "Insufficient: need 1",
    )


@pytest.mark.parametrize(
    "text", ["", "I (12) no tag", "wifi:state: x", "X (1) A: b", "I (x) A: b", "I (1) : b"]
)
def test_other_lines_are_not_log_lines(text: str) -> None:
    assert parse_log_line(text) is None


def test_splitter_survives_garbage_of_real_logs() -> None:
    splitter = LineSplitter()
    lines = splitter.feed(b"\xff\xfe\r\nhalf \xe2\x95" + b"\x94 line\nno end")
    assert [(line.text, line.offset) for line in lines] == [("\ufffd\ufffd", 0), ("half ╔ line", 4)]
    assert [line.text for line in splitter.flush()] == ["no end"]
    noise = LineSplitter().feed(b"x" * (3 * LINE_MAX + 1))
    assert [len(line.text) for line in noise] == [LINE_MAX] * 3
