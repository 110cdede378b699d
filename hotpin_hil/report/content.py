"""Content of report.html besides the verdicts: charts, failures with their evidence, deviations."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from statistics import median
from typing import Any, TypeVar

from hotpin_hil.analysis.leak import find_leak
from hotpin_hil.analysis.model import Diagnosis
from hotpin_hil.evidence.burn_in import burn_in_of
from hotpin_hil.evidence.lines import (
    KnownNoiseNote,
    MeasurementLine,
    NoiseNote,
    PanicLog,
    RawLog,
    ResultsLine,
    SliceLog,
)
from hotpin_hil.evidence.model import MeasurementClass, Verdict, limit_text, with_unit
from hotpin_hil.evidence.results import Results
from hotpin_hil.protocol import events as ev
from hotpin_hil.report.burn_in import UNITS, burn_in_table, drift_lines
from hotpin_hil.report.chart import Chart, Table
from hotpin_hil.report.diagnoses import diagnoses_of
from hotpin_hil.report.heap_map import heap_map
from hotpin_hil.report.history import history_chart
from hotpin_hil.report.leak_chart import leak_chart
from hotpin_hil.report.margin import margin_share, nearest
from hotpin_hil.report.predictions import predictions_table
from hotpin_hil.report.proofs import Proof, procedures_of, proofs
from hotpin_hil.report.sizes import sizes_notes, sizes_table
from hotpin_hil.report.story import (
    BootStory,
    Ledger,
    TestStory,
    default_thresholds,
    read_stories,
    timeline_of,
)
from hotpin_hil.report.timeline import timeline_chart
from hotpin_hil.report.treemap import Held, treemap
from hotpin_hil.report.waterfall import NAMES, waterfall_chart

OVERVIEWS_MAX = 4
WATERFALLS_MAX = 4
LEAK_CHARTS_MAX = 8
HISTORIES_MAX = 4
FAILURES_DRAWN_MAX = 12
"""Maximum number of failures with charts and diagnoses, so that a report does not take minutes."""
LOG_TEXT_MAX = 20_000
"""Maximum number of characters of a console log on the page; they are taken from the end of the log."""

COMPLAINTS_SHOWN, COMPLAINT_MAX = 20, 300
"""Maximum number of error and warning lines per failure, and of characters per line."""

_LOGGED_AT = re.compile(r"\(\d+\) ")

_Log = TypeVar("_Log", PanicLog, SliceLog)

NOT_SHOWN = (Verdict.FAIL.value, Verdict.UNSET.value, Verdict.BLOCKED.value)
"""Verdicts of a test that did not verify its requirement, worst first."""


@dataclass(frozen=True)
class RequirementRow:
    """One row of the requirement matrix."""

    id: str
    anchor: str
    entry: Mapping[str, Any]
    """The requirement's entry in qualification.json."""
    measurements: tuple[MeasurementLine, ...]
    proofs: tuple[Proof, ...]
    charts: tuple[Chart, ...]
    name: str = ""
    """Name of the shown value; empty if there is none."""
    value: str = ""
    limit: str = ""
    share: float | None = None
    """Remaining margin, as a share of the limit; None if a share is meaningless."""
    is_marginal: bool = False
    """Whether the shown value is MARGINAL."""
    klass: str = ""
    """"measured", "modelled" or "both"."""


@dataclass(frozen=True)
class Failure:
    """A test that did not verify its requirements, with the reason."""

    anchor: str
    ids: tuple[str, ...]
    test: Mapping[str, Any]
    """The test's entry in qualification.json."""
    measurements: tuple[MeasurementLine, ...]
    """The measurements outside their limits."""
    panics: tuple[PanicLog, ...]
    slices: tuple[SliceLog, ...]
    complaints: tuple[str, ...] = ()
    """The board's last error and warning lines, each repeated line only once."""
    elsewhere: tuple[Chart, ...] = ()
    """Charts of this test that are in other sections."""
    diagnoses: tuple[Diagnosis, ...] = ()
    charts: tuple[Chart, ...] = ()
    heap_maps: tuple[Chart, ...] = ()


@dataclass(frozen=True)
class Content:
    """Everything that the template needs besides qualification.json."""

    matrix: list[RequirementRow]
    others: tuple[Proof, ...]
    """Tests without a requirement."""
    failures: list[Failure]
    timelines: list[Chart]
    changes: Table | None
    predictions: Table | None
    waterfalls: list[Chart]
    histories: list[Chart]
    """The history in flash, across the board's resets."""
    burn_in: Table | None
    burn_in_notes: list[str]
    """The units of the table, and the drift between the boards for each memory type."""
    leaks: list[Chart]
    more_leaks: list[str]
    profile: list[Chart]
    """Memory in use, by call site."""
    deviations: list[str]
    noise: list[str]
    raw: list[RawLog]
    sizes: Table | None
    size_notes: list[str]
    odd: int
    """Number of unreadable notes from boards."""


def collect(results: Results, qualification: Mapping[str, Any]) -> Content:
    """Draw the charts and assemble the content."""
    stories = read_stories(results.notes)
    defaults = default_thresholds(stories.values())
    charts: dict[str, list[Chart]] = {}
    timelines = [
        *_longest_timeline(stories, defaults, charts),
        *_overviews(stories.values(), defaults),
    ]
    waterfalls = _waterfalls(stories.values(), charts)
    burn_in = burn_in_of(results)
    leaks, more_leaks = _leaks(stories.values(), charts)
    return Content(
        matrix=_matrix(qualification, results, charts),
        others=_others(qualification, results),
        failures=_failures(qualification, results, stories, defaults, charts),
        timelines=timelines,
        changes=_changes(stories.values()),
        predictions=predictions_table(stories.values()),
        waterfalls=waterfalls,
        histories=_histories(stories.values(), charts),
        burn_in=burn_in_table(burn_in),
        burn_in_notes=[UNITS, *drift_lines(burn_in)],
        leaks=leaks,
        more_leaks=more_leaks,
        profile=_profile(stories.values(), charts),
        deviations=_deviations(results),
        noise=_noise(results),
        raw=results.of(RawLog),
        sizes=sizes_table(qualification["sizes"]),
        size_notes=sizes_notes(qualification["sizes"]),
        odd=sum(story.odd for story in stories.values()),
    )


def charts_of_test(lines: Iterable[ResultsLine], *, everything: bool) -> list[Chart]:
    """Draw the charts of one test from its lines: all of them, or without `everything` only its leak series."""
    stories = read_stories(lines)
    found, _ = _leaks(stories.values(), {})
    if everything:
        defaults = default_thresholds(stories.values())
        for story in stories.values():
            found += [*_maps(story, "heap"), *_pictures(story, defaults, "test")]
    return found


def anchor(text: str) -> str:
    """Convert a text to an anchor on the page."""
    return re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-").lower()


def short_name(test: str) -> str:
    """The name of a test without its file: `test_x[case]`."""
    return test.rpartition("::")[2]


# --- Matrix -------------------------------------------------------------------------------------------------


def _matrix(
    qualification: Mapping[str, Any], results: Results, charts: Mapping[str, list[Chart]]
) -> list[RequirementRow]:
    procedures = procedures_of(results)
    return [
        _row(id_, entry, results, charts, procedures) for id_, entry in qualification["requirements"].items()
    ]


def _others(qualification: Mapping[str, Any], results: Results) -> tuple[Proof, ...]:
    measured = [line for line in results.measurements if not line.requirement]
    return proofs(qualification["other_tests"], measured, procedures_of(results))


def _row(
    id_: str,
    entry: Mapping[str, Any],
    results: Results,
    charts: Mapping[str, list[Chart]],
    procedures: Mapping[str, str],
) -> RequirementRow:
    drawn = {chart.name: chart for test in entry["tests"] for chart in charts.get(test["test"], ())}
    measured = [line for line in results.measurements if id_ in line.requirement]
    classes = {line.klass.value for line in measured}
    klass = "both" if len(classes) > 1 else "".join(classes)
    row = RequirementRow(
        id_,
        anchor(id_),
        entry,
        tuple(measured),
        proofs(entry["tests"], measured, procedures),
        tuple(drawn.values()),
        klass=klass,
    )
    shown = nearest(measured) if measured else None
    if shown is None:
        return row
    return replace(
        row,
        name=shown.name,
        value=with_unit(shown.value, shown.unit),
        limit=limit_text(shown.limit, shown.unit),
        share=margin_share(shown),
        is_marginal=shown.verdict is Verdict.MARGINAL,
    )


# --- Failures -----------------------------------------------------------------------------------------------


def _failures(
    qualification: Mapping[str, Any],
    results: Results,
    stories: Mapping[str, TestStory],
    defaults: Mapping[str, int],
    charts: Mapping[str, list[Chart]],
) -> list[Failure]:
    found: dict[tuple[str, str], tuple[list[str], Mapping[str, Any]]] = {}
    for id_, entry in qualification["requirements"].items():
        for test in entry["tests"]:
            found.setdefault((test["test"], test["verdict"]), ([], test))[0].append(id_)
    for test in qualification["other_tests"]:
        found.setdefault((test["test"], test["verdict"]), ([], test))
    wrong = [(ids, test) for ids, test in found.values() if test["verdict"] in NOT_SHOWN]
    wrong.sort(key=lambda entry: NOT_SHOWN.index(entry[1]["verdict"]))
    failures = []
    for number, (ids, test) in enumerate(wrong, start=1):
        story = stories.get(test["test"], TestStory(test["test"]))
        failure = Failure(
            anchor=f"failure-{number}",
            ids=tuple(ids),
            test=test,
            measurements=tuple(
                line
                for line in results.measurements
                if line.test == test["test"] and line.verdict is Verdict.FAIL
            ),
            panics=tuple(_shortened(line) for line in story.panics),
            slices=tuple(_shortened(line) for line in story.slices),
            complaints=_complaints(story),
            elsewhere=tuple(charts.get(story.test, ())),
        )
        failures.append(_drawn(failure, story, defaults) if number <= FAILURES_DRAWN_MAX else failure)
    return failures


def _drawn(failure: Failure, story: TestStory, defaults: Mapping[str, int]) -> Failure:
    """Add diagnoses and charts from the notes about the board."""
    return replace(
        failure,
        diagnoses=tuple(diagnoses_of(story)),
        charts=tuple(_pictures(story, defaults, failure.anchor)),
        heap_maps=tuple(_maps(story, failure.anchor)),
    )


def _pictures(story: TestStory, defaults: Mapping[str, int], name: str) -> list[Chart]:
    """Charts of memory during a test, and of its last mode transition."""
    charts = []
    timeline = timeline_of(story.boots, defaults)
    if timeline:
        charts.append(timeline_chart(timeline, f"{name}-memory", "Memory during the test"))
    if story.ledgers:
        last = story.ledgers[-1]
        charts.append(waterfall_chart(last.steps, f"{name}-steps", f"Last mode transition: {_way(last)}"))
    return charts


def _maps(story: TestStory, name: str) -> list[Chart]:
    return [
        heap_map(heap.heaps, f"{name}-heap-{place}", f"Heap map, {heap.caps}: {heap.why}", heap.wanted)
        for place, heap in enumerate(story.heaps, start=1)
    ]


def _complaints(story: TestStory) -> tuple[str, ...]:
    first: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for line in story.complaints:
        text = _LOGGED_AT.sub("", line.text, count=1)
        first.setdefault(text, _cut(line.text))
        counts[text] += 1
    shown = [f"{line} ({counts[text]} times)" if counts[text] > 1 else line for text, line in first.items()]
    return tuple(shown[-COMPLAINTS_SHOWN:])


def _cut(text: str) -> str:
    return text if len(text) <= COMPLAINT_MAX else f"{text[:COMPLAINT_MAX]} ..."


def _shortened(log: _Log) -> _Log:
    left_out = len(log.text) - LOG_TEXT_MAX
    if left_out <= 0:
        return log
    return replace(log, text=f"... {left_out} characters omitted ...\n{log.text[-LOG_TEXT_MAX:]}")


# --- Memory over time ---------------------------------------------------------------------------------------


def _longest_timeline(
    stories: Mapping[str, TestStory], defaults: Mapping[str, int], charts: dict[str, list[Chart]]
) -> list[Chart]:
    """The timeline of the test with the most mode transitions, the test closest to everyday use."""
    story = max(stories.values(), key=lambda story: len(story.changes), default=None)
    timeline = timeline_of(story.boots, defaults) if story and story.changes else None
    if story is None or timeline is None:
        return []
    count = len(story.changes)
    chart = timeline_chart(
        timeline,
        "memory-cycles",
        f"{count} mode transition{'' if count == 1 else 's'}: {short_name(story.test)}",
    )
    charts.setdefault(story.test, []).append(chart)
    return [chart]


def _overviews(stories: Iterable[TestStory], defaults: Mapping[str, int]) -> list[Chart]:
    """One timeline per board, with its boots one after the other; the boards with the most boots."""
    boards: dict[str, list[BootStory]] = {}
    for story in stories:
        for boot in story.boots:
            boards.setdefault(boot.board or "a board that did not report its MAC", []).append(boot)
    found: list[Chart] = []
    for board, boots in sorted(boards.items(), key=lambda item: -len(item[1]))[:OVERVIEWS_MAX]:
        timeline = timeline_of(boots, defaults, resets=len(boots) < 10)
        if timeline:
            shown = "1 boot" if len(boots) == 1 else f"{len(boots)} boots, one after the other"
            title = f"The whole run on {board}: {shown}"
            found.append(timeline_chart(timeline, f"memory-{len(found) + 1}", title))
    return found


# --- Transitions --------------------------------------------------------------------------------------------


def _changes(stories: Iterable[TestStory]) -> Table | None:
    """Numbers and durations of mode transitions."""
    groups: dict[tuple[str, str], list[ev.ModeChange]] = {}
    for story in stories:
        for change in story.changes:
            groups.setdefault((change.start, change.to), []).append(change)
    rows = []
    for (start, to), changes in sorted(groups.items(), key=lambda item: -len(item[1])):
        times = sorted(change.duration_ms for change in changes if change.ok)
        failed = Counter(change.step or "?" for change in changes if not change.ok)
        took = [f"{value:,.0f}" for value in (times[0], median(times), times[-1])] if times else ["", "", ""]
        steps = ", ".join(f"{step} ({count})" for step, count in failed.most_common())
        rows.append((f"{start} to {to}", f"{len(times):,}", *took, f"{failed.total():,}", steps))
    columns = ("transition", "done", "shortest, ms", "median, ms", "longest, ms", "failed", "failed steps")
    return Table(columns, tuple(rows)) if rows else None


def _waterfalls(stories: Iterable[TestStory], charts: dict[str, list[Chart]]) -> list[Chart]:
    """The last ledger of each successful transition after warm-up, then the ledgers of rolled-back transitions."""
    ledgers = [ledger for story in stories for ledger in story.ledgers]
    successful: dict[str, Ledger] = {}
    undone: dict[str, Ledger] = {}
    for ledger in ledgers:
        (undone if any(step.undo or not step.ok for step in ledger.steps) else successful)[_way(ledger)] = (
            ledger
        )
    longest = sorted(undone.values(), key=lambda ledger: -len(ledger.steps))
    found: list[Chart] = []
    for ledger in [*successful.values(), *longest][:WATERFALLS_MAX]:
        title = f"{_way(ledger)} ({short_name(ledger.test)})"
        chart = waterfall_chart(ledger.steps, f"steps-{len(found) + 1}", title)
        found.append(chart)
        charts.setdefault(ledger.test, []).append(chart)
    return found


def _way(ledger: Ledger) -> str:
    if ledger.change is None:
        return "a mode transition (its event is missing)"
    way = f"{ledger.change.start} to {ledger.change.to}"
    return way if ledger.change.ok else f"{way}, failed at {ledger.change.step or 'an unknown step'}"


# --- Leaks --------------------------------------------------------------------------------------------------


def _leaks(stories: Iterable[TestStory], charts: dict[str, list[Chart]]) -> tuple[list[Chart], list[str]]:
    """Charts of the series that were evaluated for a leak, and text for those beyond the maximum."""
    found: list[Chart] = []
    more = []
    for story in stories:
        for line in story.series:
            if line.budget is None or not line.values:
                continue
            leak = find_leak(line.values, line.budget)
            title = f"{line.name}: {short_name(story.test)}"
            if len(found) == LEAK_CHARTS_MAX:
                more.append(f"{title}: {leak}")
                continue
            chart = leak_chart(line.values, leak, f"leak-{len(found) + 1}", title, line.unit)
            found.append(chart)
            charts.setdefault(story.test, []).append(chart)
    return found, more


def _profile(stories: Iterable[TestStory], charts: dict[str, list[Chart]]) -> list[Chart]:
    """A treemap of the newest profile for each memory type and state of the board."""
    newest = {line.when: line for story in stories for line in story.allocations}
    found: list[Chart] = []
    for line in newest.values():
        for memory in sorted({str(site["memory"]) for site in line.sites}):
            held = [
                Held(**{name: value for name, value in site.items() if name != "memory"})
                for site in line.sites
                if site["memory"] == memory
            ]
            if any(site.bytes > 0 for site in held):
                name = f"profile-{len(found) + 1}"
                chart = treemap(held, name, f"Use of {NAMES.get(memory, memory)}: {line.when}")
                found.append(chart)
                charts.setdefault(line.test, []).append(chart)
    return found


def _histories(stories: Iterable[TestStory], charts: dict[str, list[Chart]]) -> list[Chart]:
    found: list[Chart] = []
    for story in stories:
        for rows in story.histories:
            if rows and len(found) < HISTORIES_MAX:
                name = f"history-{len(found) + 1}"
                found.append(history_chart(rows, name, f"Memory history: {short_name(story.test)}"))
                charts.setdefault(story.test, []).append(found[-1])
    return found


# --- Limits of the evidence -------------------------------------------------------------------------------

NETWORK = (
    "The firmware under test has no network. The memory that Wi-Fi, lwIP and WebSocket use in the product is allocated "
    "at boot as modelled blocks: 58,900 B of internal memory and 65,544 B of PSRAM unless the build overrides it "
    "(Kconfig, HOTPIN_NETWORK_MODEL). In recorded logs the product used 58,800 to 92,000 B."
)
CONSOLE = (
    "The image under test has a test console, which the release image does not have. REL-01 flashes the release "
    "image and reports the difference in memory."
)
VIRTUAL = (
    "The board was a model. Its heap matches the ESP32's to the byte; its CPU times, stack use, radio, sensor and "
    "sound do not, so requirements that need them are NOT APPLICABLE."
)
EMULATED = "The board was QEMU: camera sensor and sound were simulated."
COUNTED_TIME = (
    "The emulator counted instructions as time: times in this report are instruction counts, not the time "
    "that a chip with its caches, flash and serial line needs."
)
HOST_TIME = "Times in this report are times of the emulator's host."
NO_WATCHDOGS = "The emulator's watchdogs were off, so they detected no hangs."


def _deviations(results: Results) -> list[str]:
    """Differences between the tested system and the product in use."""
    found = [NETWORK, CONSOLE]
    evidence = results.run.evidence
    if evidence != "hardware":
        found.append(VIRTUAL if evidence == "virtual" else EMULATED)
    if evidence == "emulated":
        is_counted = "counts instructions" in str(results.run.board.get("emulator_clock"))
        found.append(COUNTED_TIME if is_counted else HOST_TIME)
        found += [NO_WATCHDOGS] if "emulator_watchdogs" in results.run.board else []
    scale = results.run.board.get("time_scale")
    if isinstance(scale, (int, float)) and scale != 1:
        found.append(f"The board's clock ran {scale:g} times as fast as the host's.")
    modelled = sum(line.klass is MeasurementClass.MODELLED for line in results.measurements)
    if modelled:
        found.append(
            f"{modelled} of {len(results.measurements)} values are modelled: they echo constants of the board's "
            "profile and make no requirement PASS."
        )
    return found


def _noise(results: Results) -> list[str]:
    """Disturbances on the serial line, and known harmless errors in the boards' logs."""
    kinds = {
        "damaged": "damaged records",
        "lost": "lost records",
        "repeated": "repeated records",
        "garbled": "garbled lines",
    }
    found = [
        f"{short_name(note.test)}: "
        + ", ".join(f"{count} {text}" for kind, text in kinds.items() if (count := getattr(note, kind)))
        for note in results.of(NoiseNote)
    ]
    known: Counter[tuple[str, str]] = Counter()
    for note in results.of(KnownNoiseNote):
        known[note.text, note.reason] += note.count
    return found + [
        f"known noise, {'once' if count == 1 else f'{count} times'}: {text} ({reason})"
        for (text, reason), count in known.items()
    ]
