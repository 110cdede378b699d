"""If results.jsonl is altered or damaged, the tools must print a clear message or a worse verdict, never a
traceback."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hotpin_hil.errors import UsageError
from hotpin_hil.evidence.qualification import headline, missing_lines, qualify
from hotpin_hil.evidence.results import read_results
from hotpin_hil.report.html import render
from hotpin_hil.report.table import blocked_lines, failed_lines, table_lines
from tests.evidence.test_lines import EXAMPLES
from tests.report.test_report import lines_with
from tests.support.plugin_suite import Suite
from tests.support.schemas import QUALIFICATION

pytest_plugins = ["pytester", "tests.support.plugin_suite"]

MUTANTS = 400
RENDERED = 80
"""Only every 80th mutant is also rendered, because rendering a page with charts takes seconds."""

TESTS = """
@requirement("AAA-01")
def test_one(measure):
    measure("free", 50_000, "B", min=40_000)
    measure("state", "idle", exact="idle")
    measure("count", 7, exact=7)

@requirement("AAA-02")
def test_two(measure):
    measure("time", 95, "ms", max=100)
    measure("share", 2.5, "%", low=1, high=9)

def test_three(measure):
    measure("late", 120, "ms", max=100)
"""

WAIVERS = """
[[waiver]]
measurement = "late"
reason = "board rev 2"
approved_by = "R. Lead"
expires = 9999-12-31
bound = 150
unit = "ms"
"""

LEFT_OUT = ("run", "measurement", "verdict", "end", "board", "selection", "plan", "started", "waiver")
"""Kinds and topics of lines that the session writes itself, or that would make the run INCOMPLETE."""

STRANGE = (
    *("NaN", "Infinity", "-Infinity", "1e999", "9" * 5_000, "-" + "9" * 400, "1000000000", "-1", "0", "0.5"),
    *("null", "true", '"text"', '"NaN"', '"\\ud800"', "[]", "{}", '[{"kind":1}]', "[" * 50 + "]" * 50),
    "[" * 100_000,
)

Mutation = Callable[[random.Random, list[bytes]], bytes]


def flip_a_bit(draw: random.Random, lines: list[bytes]) -> bytes:
    data = bytearray(b"".join(lines))
    data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    return bytes(data)


def cut_the_file(draw: random.Random, lines: list[bytes]) -> bytes:
    data = b"".join(lines)
    return data[: draw.randrange(len(data))]


def cut_out_a_piece(draw: random.Random, lines: list[bytes]) -> bytes:
    data = b"".join(lines)
    start = draw.randrange(len(data))
    return data[:start] + data[start + draw.randrange(1, 200) :]


def delete_a_line(draw: random.Random, lines: list[bytes]) -> bytes:
    number = draw.randrange(len(lines))
    return b"".join(lines[:number] + lines[number + 1 :])


def delete_lines_of_a_kind(draw: random.Random, lines: list[bytes]) -> bytes:
    kind = draw.choice([b'"kind":"measurement"', b'"kind":"verdict"', b'"kind":"note"'])
    return b"".join(line for line in lines if kind not in line[:60])


def swap_two_lines(draw: random.Random, lines: list[bytes]) -> bytes:
    first, second = draw.randrange(len(lines)), draw.randrange(len(lines))
    lines[first], lines[second] = lines[second], lines[first]
    return b"".join(lines)


def repeat_a_line(draw: random.Random, lines: list[bytes]) -> bytes:
    lines.insert(draw.randrange(len(lines)), draw.choice(lines))
    return b"".join(lines)


def replace_a_value(draw: random.Random, lines: list[bytes]) -> bytes:
    number = draw.randrange(len(lines))
    content = json.loads(lines[number])
    parent, key = draw.choice(places(content))
    parent[key] = "<here>"
    text = json.dumps(content).replace('"<here>"', draw.choice(STRANGE), 1)
    lines[number] = text.encode() + b"\n"
    return b"".join(lines)


def delete_a_value(draw: random.Random, lines: list[bytes]) -> bytes:
    number = draw.randrange(len(lines))
    content = json.loads(lines[number])
    parent, key = draw.choice(places(content))
    del parent[key]
    lines[number] = json.dumps(content).encode() + b"\n"
    return b"".join(lines)


def double_a_key(draw: random.Random, lines: list[bytes]) -> bytes:
    number = draw.randrange(len(lines))
    key = draw.choice(list(json.loads(lines[number])))
    lines[number] = lines[number].replace(b"{", f'{{"{key}":{draw.choice(STRANGE)},'.encode(), 1)
    return b"".join(lines)


MUTATIONS: tuple[Mutation, ...] = (
    *(flip_a_bit, cut_the_file, cut_out_a_piece, delete_a_line, delete_lines_of_a_kind, swap_two_lines),
    *(repeat_a_line, replace_a_value, replace_a_value, replace_a_value, delete_a_value, double_a_key),
)


def places(value: Any) -> list[tuple[Any, Any]]:
    """Position of every value in JSON data, as a pair of the container and the key."""
    keys: list[Any] = list(value) if isinstance(value, dict) else list(range(len(value)))
    found: list[tuple[Any, Any]] = [(value, key) for key in keys]
    for key in keys:
        if isinstance(value[key], (dict, list)):
            found += places(value[key])
    return found


def whole_file(suite: Suite) -> list[bytes]:
    """The lines of a passed run, plus an example of every kind of note and log."""
    suite.write("waivers.toml", WAIVERS)
    suite.run(TESTS)
    *lines, end = (suite.folder / "results.jsonl").read_bytes().splitlines(keepends=True)
    more = [*EXAMPLES, *lines_with("text")]
    notes = [line.as_json() for line in more if not {line.kind, line.about} & set(LEFT_OUT)]
    return [*lines, *(json.dumps(note, separators=(",", ":")).encode() + b"\n" for note in notes), end]


def is_verified(measurements: list[dict[str, Any]]) -> bool:
    """Whether there is a measured value and all values are within their limits, computed independently of the code
    under test."""

    def is_kept(value: Any, limit: dict[str, Any]) -> bool:
        if limit["kind"] == "exact":
            return bool(value == limit["value"])
        low = {"min": limit.get("value"), "range": limit.get("low")}.get(limit["kind"], value)
        high = {"max": limit.get("value"), "range": limit.get("high")}.get(limit["kind"], value)
        return isinstance(value, (int, float)) and bool(low <= value <= high)

    return any(line["class"] == "measured" for line in measurements) and all(
        is_kept(line["value"], line["limit"]) for line in measurements
    )


def fault_of(folder: Path, original: dict[str, Any], *, rendered: bool) -> str:
    """Describes what the tools do wrong with the results in `folder`; empty if they handle the results correctly."""
    try:
        results = read_results(folder)
    except UsageError as error:
        return "" if len(str(error).splitlines()) == 1 < len(str(error)) < 600 else f"unclear: {error}"
    found = qualify(results)
    json.dumps(found, allow_nan=False)
    QUALIFICATION.validate(found)
    texts = [headline(found), *missing_lines(found), *failed_lines(found), *blocked_lines(found)]
    texts += [text for text, _ in table_lines(found)]
    if rendered:
        texts.append(render(found, results))
    if found["overall"] != original["overall"]:
        return "" if found["reason"] or found["overall"] == "NOT QUALIFIED" else "no reason"
    unverified = [
        id_
        for id_, entry in found["requirements"].items()
        if entry["verdict"] in ("PASS", "MARGINAL") and not is_verified(entry["measurements"])
    ]
    if unverified:
        return f"{found['overall']} without a value for {unverified}"
    return "" if set(found["requirements"]) >= {"AAA-01", "AAA-02"} else "requirements disappeared"


def test_mutated_results_neither_pass_nor_raise(suite: Suite, tmp_path: Path) -> None:
    lines = whole_file(suite)
    path = tmp_path / "results.jsonl"
    path.write_bytes(b"".join(lines))
    original = qualify(read_results(tmp_path))
    assert (original["overall"], original["reason"]) == ("REHEARSED", "")
    faults = []
    for seed in range(MUTANTS):
        draw = random.Random(seed)
        mutation = MUTATIONS[seed % len(MUTATIONS)]
        path.write_bytes(mutation(draw, list(lines)))
        try:
            fault = fault_of(tmp_path, original, rendered=seed % RENDERED == 0)
        except Exception as error:  # any exception is a failure: the tools must not raise
            fault = f"raised {error!r}"
        if fault:
            faults.append(f"seed {seed}, {mutation.__name__}: {fault}"[:300])
    assert not faults, "\n".join(faults)
