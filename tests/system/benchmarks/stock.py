"""Measurements of stock tools. A stock tool that fails is a row of the table with the reason, not an error."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from hotpin_hil.printable import printable

Measured = TypeVar("Measured")

_REASON_MAX = 120
_TELLING = ("FAILED ", "ERROR ", "E  ")
"""Beginnings of the lines that say why pytest failed; other tools give the reason in their last line."""


@dataclass(frozen=True)
class StockFailure:
    """A stock tool failed, for this reason."""

    reason: str

    def __str__(self) -> str:
        return f"failed: {self.reason}"


def measure_stock(measure: Callable[[], Measured]) -> Measured | StockFailure:
    """Result of the measurement of a stock tool, or its failure. Ctrl-C ends the benchmark as usual."""
    try:
        return measure()
    except Exception as error:  # the benchmark does not control what a stock tool raises
        return StockFailure(_reason(error))


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if line.startswith(_TELLING)]
    line = (telling or lines or [type(error).__name__])[-1]
    return printable(line)[:_REASON_MAX]
