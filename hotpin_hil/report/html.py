"""report.html: the qualification as one file that needs no network and prints on paper."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from hotpin_hil.evidence.model import limit_text, with_unit
from hotpin_hil.evidence.qualification import headline
from hotpin_hil.report.text import printable


def render(qualification: Mapping[str, Any]) -> str:
    """The page. Everything from a log or a board is escaped; nothing of it can become markup."""
    environment = Environment(
        loader=PackageLoader("hotpin_hil.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        # A control character has no place in HTML, escaped or not.
        finalize=lambda value: (
            printable(value) if isinstance(value, str) and not hasattr(value, "__html__") else value
        ),
    )
    environment.filters["value"] = lambda row: with_unit(row["value"], row["unit"])
    environment.filters["limit"] = lambda row: limit_text(row["limit"], row["unit"])
    template = environment.get_template("report.html")
    return template.render(q=qualification, headline=headline(qualification))
