"""`hotpin-hil analyze`: analyses recorded console logs."""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hotpin_hil.cli import decoding
from hotpin_hil.errors import HilError, UsageError
from hotpin_hil.printable import printable

if TYPE_CHECKING:
    from hotpin_hil.analysis.analyze import LogAnalysis
    from hotpin_hil.analysis.decoding import TraceDecoder
    from hotpin_hil.analysis.log_difference import LogDifference
    from hotpin_hil.cli.log_source import LogSource
    from hotpin_hil.logs.line_range import LineRange
    from hotpin_hil.report.log_overview import RefusedFile

EXIT_FOUND, EXIT_ERROR = 1, 2
COMPARED = 2
_PAGE_START = b"<!doctype html"
_GRAVITIES = ("fatal", "failure", "risk")


class NotALogError(UsageError):
    """The file is readable, but it is not a console log."""


def add_command(commands: Any) -> None:
    """Add the command to the subparsers of `hotpin-hil`."""
    command = commands.add_parser("analyze", help="analyse recorded console logs")
    command.add_argument(
        "logs", metavar="LOG", nargs="*", help="file, folder, pattern, or - for standard input"
    )
    command.add_argument("--json", action="store_true", help="print a JSON line per log")
    command.add_argument("--html", metavar="OUT", type=Path, help="also write the results as an HTML page")
    command.add_argument(
        "--fail-on",
        choices=_GRAVITIES,
        metavar="SEVERITY",
        help=f"exit with 1 if a diagnosis has at least this severity: {', '.join(_GRAVITIES)} (default: exit with 0)",
    )
    command.add_argument(
        "--boot",
        metavar="N",
        type=int,
        help="analyse only this boot of each log, counted from 0; -1 is the last",
    )
    command.add_argument(
        "--since",
        metavar="WHEN",
        help="start at this line (1200), or at this time of day in the terminal's time stamps (10:15)",
    )
    command.add_argument("--compare", action="store_true", help="print what is new in the second of two logs")
    decoding.add_options(command)
    command.set_defaults(run=_run)


@dataclass
class _Results:
    """The results for all logs on the command line."""

    analyses: list[LogAnalysis] = field(default_factory=list)
    refused: list[RefusedFile] = field(default_factory=list)
    is_well: bool = True


def _run(options: argparse.Namespace) -> int:
    from hotpin_hil.analysis.log_difference import compare_logs

    if not options.logs and not options.core:
        raise UsageError("no log is named", "name a log, - for standard input, or a core dump after --core")
    if options.boot is not None and options.since is not None:
        raise UsageError("--boot and --since cannot be used together", "give one of them")
    if options.html is not None:
        _check_page(options.html)
    decoder = decoding.make_decoder(options)
    decoding.print_core_dumps(options.core, decoder, options.json)
    results = _read(options, decoder, print_json=options.json and not options.compare)
    difference = None
    if options.compare:
        if len(results.analyses) != COMPARED or results.refused:
            raise UsageError(
                f"--compare needs two logs, but {len(results.analyses)} could be read",
                "name an earlier log, then a later one",
            )
        difference = compare_logs(*results.analyses)
        if options.json:
            print(json.dumps(difference.to_json()))
    if options.html is not None and results.analyses:
        from hotpin_hil.report.log_page import render
        from hotpin_hil.report.whole_file import write_whole

        write_whole(options.html, render(results.analyses, results.refused, difference))
    if results.analyses and not options.json:
        _print_text(results, difference)
    if not results.is_well:
        return EXIT_ERROR
    return EXIT_FOUND if _is_found(options.fail_on, results, difference) else 0


def _read(options: argparse.Namespace, decoder: TraceDecoder | None, *, print_json: bool) -> _Results:
    """Analyse all logs. Prints the JSON of each as soon as it is complete, and an error line for each log that
    cannot be analysed."""
    from hotpin_hil.cli.log_files import expand
    from hotpin_hil.report.log_overview import RefusedFile

    results = _Results()
    for argument in options.logs:
        known = len(results.analyses)
        errors: list[HilError] = []
        try:
            for log in expand(argument):
                try:
                    analysis = analyze_file(log.path, options.boot, options.since)
                    if decoder is not None:
                        analysis = analysis.decoded(decoder)
                except NotALogError as error:
                    results.refused.append(RefusedFile(log.path, error.message))
                    if log.is_named:
                        errors.append(error)
                except HilError as error:
                    results.refused.append(RefusedFile(log.path, error.message))
                    errors.append(error)
                else:
                    results.analyses.append(analysis)
                    if print_json:
                        print(json.dumps(analysis.to_json()))
            if not errors and len(results.analyses) == known:
                errors.append(UsageError(f"there is no console log in {argument}", "name another folder"))
        except HilError as error:
            results.refused.append(RefusedFile(argument, error.message))
            errors.append(error)
        for failure in errors:
            print(f"error: {printable(str(failure))}", file=sys.stderr)
            results.is_well = False
    return results


def _print_text(results: _Results, difference: LogDifference | None) -> None:
    from hotpin_hil.report.log_text import all_lines

    is_coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    lines = all_lines(results.analyses, results.refused, difference, is_coloured=is_coloured)
    print(*lines, sep="\n")


def _is_found(fail_on: str | None, results: _Results, difference: LogDifference | None) -> bool:
    """Whether a diagnosis is at least as severe as `fail_on`; in a comparison, only new diagnoses count."""
    from hotpin_hil.analysis.kinds import Gravity

    if fail_on is None:
        return False
    worst = [difference.worst] if difference else [analysis.worst for analysis in results.analyses]
    return any(gravity is not None and gravity.rank <= Gravity(fail_on).rank for gravity in worst)


def _check_page(path: Path) -> None:
    """Raise UsageError if a file exists that is not a page of an earlier analysis: it may be a recording."""
    try:
        with path.open("rb") as file:
            is_page = file.read(len(_PAGE_START)).lower() == _PAGE_START
    except OSError:
        return  # the file does not exist yet, or it cannot be read: then writing it fails with a better message
    if not is_page:
        raise UsageError(
            f"--html would overwrite {path}, which is not a page of an earlier analysis",
            "give --html a separate file: hotpin-hil analyze LOG --html OUT.html",
        )


def analyze_file(path: str, boot: int | None = None, since: str | None = None) -> LogAnalysis:
    """Analyse one log; `-` is standard input.

    Args:
        path: the log.
        boot: the only boot to analyse; None for all.
        since: the line or the time of day to start at; None for the start of the log.

    Raises:
        NotALogError: the file is not a console log.
        UsageError: the file cannot be read, or does not have the boot or the time.
    """
    from hotpin_hil.cli.log_source import LogSource

    source = LogSource(path)
    try:
        return _analyze(source, path, boot, since)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}") from None
    finally:
        source.close()


def _analyze(source: LogSource, path: str, boot: int | None, since: str | None) -> LogAnalysis:
    from hotpin_hil.analysis.analyze import analyze, with_damage
    from hotpin_hil.analysis.excerpts import excerpts, wanted_lines
    from hotpin_hil.logs.numbered_lines import read_lines

    part = _part(source, path, boot, since)
    chunks = source.chunks()
    analysis = analyze(chunks, path, part)
    lines, size = analysis.facts["lines"], analysis.facts["bytes"]
    if size == 0:
        raise NotALogError(f"{path} is empty", "name a log, or - for standard input")
    if not analysis.is_log:
        raise NotALogError(
            f"{path} is not a console log: {lines:,} lines, {size:,} bytes, no ESP32 output",
            "name a recording of idf.py monitor or of a terminal",
        )
    if chunks.damage:
        analysis = with_damage(analysis, chunks.damage)
    wanted = {line for diagnosis in analysis.diagnoses for line in wanted_lines(diagnosis)}
    if wanted:
        try:
            texts = read_lines(source.chunks(), wanted)
        except UsageError:
            return analysis  # a pipe without a copy: the evidence still quotes its lines
        analysis = replace(analysis, excerpts=excerpts(analysis.diagnoses, texts))
    return analysis


def _part(source: LogSource, path: str, boot: int | None, since: str | None) -> LineRange:
    from hotpin_hil.logs.line_range import WHOLE, find_boot, find_since

    try:
        if boot is not None:
            return find_boot(source.chunks(), boot)
        return find_since(source.chunks(), since) if since is not None else WHOLE
    except UsageError as error:
        raise UsageError(f"{path}: {error.message}", error.remedy) from None
