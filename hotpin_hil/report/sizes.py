"""The firmware's sizes as a table: one column for each image that ran on a board."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hotpin_hil.report.chart import Table

NOT_MEASURED = "not measured"

_ROWS = (
    ("static DRAM (.data + .bss)", "static_dram"),
    (".data", "data"),
    (".bss", "bss"),
    ("IRAM", "iram"),
    ("code in flash", "flash_code"),
    ("constants in flash", "flash_data"),
    ("app image", "image_size"),
)
_ADDRESSES = (("first heap starts at", "first_heap"), ("IRAM ends at", "iram_end"))


def sizes_table(sizes: Sequence[Mapping[str, Any]]) -> Table | None:
    """Table of the sizes in qualification.json, without empty rows; None if there are no sizes."""
    if not sizes:
        return None
    rows = [_row(f"{name}, B", [_number(image[key]) for image in sizes]) for name, key in _ROWS]
    rows += [_row(name, [_address(image[key]) for image in sizes]) for name, key in _ADDRESSES]
    rows += [_row(f"{name} according to esp-idf-size, B", cells) for name, cells in _memory_types(sizes)]
    rows = [row for row in rows if set(row[1:]) != {NOT_MEASURED}]
    columns = ("", *(f"{image['image']} ({image['class']})" for image in sizes))
    return Table(columns, (*rows, ("read from", *(_source(image) for image in sizes))))


def sizes_notes(sizes: Sequence[Mapping[str, Any]]) -> list[str]:
    """The reasons why sizes were not measured, each once, with the affected images."""
    reasons: dict[str, list[str]] = {}
    for image in sizes:
        for reason in image["not_measured"]:
            reasons.setdefault(reason, []).append(image["image"])
    return [f"Not measured, {' and '.join(images)}: {reason}" for reason, images in reasons.items()]


def _row(name: str, cells: Sequence[str]) -> tuple[str, ...]:
    return (name, *cells)


def _number(value: int | None) -> str:
    return NOT_MEASURED if value is None else f"{value:,}"


def _address(value: int | None) -> str:
    return NOT_MEASURED if value is None else f"0x{value:08X}"


def _source(image: Mapping[str, Any]) -> str:
    tool = (image["idf_size"] or {}).get("tool")
    return f"{image['source']}; {tool}" if tool else str(image["source"])


def _memory_types(sizes: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[str]]]:
    counted = [(image["idf_size"] or {}).get("memory", {}) for image in sizes]
    names = dict.fromkeys(name for memory in counted for name in memory)
    return [
        (name, [_number(memory.get(name, {}).get("used")) for memory in counted])
        for name in names
        if any(memory.get(name, {}).get("used") for memory in counted)
    ]
