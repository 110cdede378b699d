"""`hotpin-hil analyze`: analyses recorded console logs."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from io import BufferedReader
from pathlib import Path
from typing import cast

from hotpin_hil.analysis.analyze import LogAnalysis, analyze
from hotpin_hil.analysis.decoding import TraceDecoder
from hotpin_hil.errors import HilError, UsageError
from hotpin_hil.logs.compressed import LogChunks
from hotpin_hil.printable import printable
from hotpin_hil.report.log_text import text_lines
from hotpin_hil.report.whole_file import write_whole

STANDARD_INPUT = "-"
_PAGE_START = b"<!doctype html"


def analyze_logs(
    paths: Sequence[str], as_json: bool, page: Path | None = None, decoder: TraceDecoder | None = None
) -> bool:
    """Print one result for each log, and an error line for each unreadable log.

    Args:
        paths: the logs; `-` is standard input.
        as_json: print one line of JSON for each log instead of text.
        page: HTML file for all results.
        decoder: decodes code addresses; None to leave them as they are.

    Returns:
        Whether all logs were read.

    Raises:
        UsageError: `page` exists and is not a page of an earlier analysis; it may be a log, and overwriting it would
            lose the recording.
    """
    if page is not None:
        _check_page(page)
    is_well = True
    analyses: list[LogAnalysis] = []
    for number, path in enumerate(paths):
        try:
            analysis = analyze_file(path)
            if decoder is not None:
                analysis = analysis.decoded(decoder)
        except HilError as error:
            print(f"error: {printable(str(error))}", file=sys.stderr)
            is_well = False
            continue
        if page is not None:
            analyses.append(analysis)
        if as_json:
            print(json.dumps(analysis.to_json()))
        else:
            print(*["" for _ in range(number > 0)], *text_lines(analysis), sep="\n")
    if page is not None and analyses:
        from hotpin_hil.report.log_page import render

        write_whole(page, render(analyses))
    return is_well


def _check_page(path: Path) -> None:
    try:
        with path.open("rb") as file:
            is_page = file.read(len(_PAGE_START)).lower() == _PAGE_START
    except OSError:
        return  # it does not exist yet; if it cannot be read, writing it fails with a better message
    if not is_page:
        raise UsageError(
            f"--html would overwrite {path}, which is not a page of an earlier analysis",
            "name another file after --html, and the logs before it",
        )


def analyze_file(path: str) -> LogAnalysis:
    """Analyse one log; `-` is standard input.

    Raises:
        UsageError: the file cannot be read, or is not a console log.
    """
    try:
        if path == STANDARD_INPUT:
            chunks = LogChunks(cast(BufferedReader, sys.stdin.buffer))
            analysis = analyze(chunks, path)
        else:
            with open(path, "rb") as file:
                chunks = LogChunks(file)
                analysis = analyze(chunks, path)
    except IsADirectoryError:
        raise UsageError(f"{path} is a folder", "name the logs in it") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}") from None
    if chunks.damage:
        print(f"warning: {printable(path)}: {printable(chunks.damage)}", file=sys.stderr)
    lines, size = analysis.facts["lines"], analysis.facts["bytes"]
    if size == 0:
        raise UsageError(f"{path} is empty", "name a log, or - for standard input")
    if not analysis.is_log:
        raise UsageError(
            f"{path} is not a console log: {lines:,} lines, {size:,} bytes, no ESP32 output",
            "name a recording of idf.py monitor or of a terminal",
        )
    return analysis
