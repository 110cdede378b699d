"""What a log shows, as text for a terminal. Nothing from the log reaches it unescaped."""

from __future__ import annotations

from hotpin_hil.analysis.log_analysis import LogAnalysis
from hotpin_hil.report.text import printable


def text_lines(analysis: LogAnalysis) -> list[str]:
    """The whole result, line by line."""
    facts = analysis.facts
    return [printable(f"{facts['file']}: {facts['lines']:,} lines, {facts['bytes']:,} bytes")]
