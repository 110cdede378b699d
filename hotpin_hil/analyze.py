"""`hotpin-hil analyze`: reads console logs and says what they show."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from typing import BinaryIO

from hotpin_hil.analysis.log_analysis import LogAnalysis, analyze
from hotpin_hil.errors import HilError, UsageError
from hotpin_hil.report.log_text import text_lines
from hotpin_hil.report.text import printable
from hotpin_hil.telemetry.reader import CHUNK

STANDARD_INPUT = "-"


def analyze_logs(paths: Sequence[str], as_json: bool) -> bool:
    """Prints one result for each log, as text or as one line of JSON; an error line for each that can't be read.
    Returns whether all could."""
    is_well = True
    for number, path in enumerate(paths):
        try:
            analysis = analyze_file(path)
        except HilError as error:
            print(f"error: {printable(str(error))}", file=sys.stderr)
            is_well = False
            continue
        if as_json:
            print(json.dumps(analysis.to_json()))
        else:
            print(*["" for _ in range(number > 0)], *text_lines(analysis), sep="\n")
    return is_well


def analyze_file(path: str) -> LogAnalysis:
    """The analysis of one log; `-` is standard input. UsageError if it can't be read or is no console log."""
    try:
        if path == STANDARD_INPUT:
            analysis = analyze(_chunks(sys.stdin.buffer), path)
        else:
            with open(path, "rb") as file:
                analysis = analyze(_chunks(file), path)
    except IsADirectoryError:
        raise UsageError(f"{path} is a folder", "name the logs in it") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}") from None
    lines, size = analysis.facts["lines"], analysis.facts["bytes"]
    if size == 0:
        raise UsageError(f"{path} is empty", "name a log, or - for standard input")
    if not analysis.is_log:
        raise UsageError(
            f"{path} is no console log: {lines:,} lines, {size:,} bytes, nothing in them that an ESP32 prints",
            "name what idf.py monitor or a terminal has recorded",
        )
    return analysis


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    while chunk := file.read(CHUNK):
        yield chunk
