"""Measurements of stock tools. A stock tool that fails is a row of the table with the reason, not an error."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from hotpin_hil.printable import printable

Measured = TypeVar("Measured")

_REASON_MAX = 120
_TELLING = ("FAILED ", "ERROR ", "E  ")
"""Prefixes of the lines in which pytest states why a test failed; other tools state the reason in their last line."""


@dataclass(frozen=True)
class StockFailure:
    """The failure of a stock tool, with its reason."""

    reason: str

    def __str__(self) -> str:
        return f"failed: {self.reason}"


def measure_stock(measure: Callable[[], Measured]) -> Measured | StockFailure:
    """Result of the measurement of a stock tool, or its failure. Ctrl-C ends the benchmark as usual."""
    try:
        return measure()
    except Exception as error:  # a stock tool may raise any exception
        return StockFailure(_reason(error))


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if line.startswith(_TELLING)]
    line = (telling or lines or [type(error).__name__])[-1]
    return printable(line)[:_REASON_MAX]
