"""Pages made from templates: one file each, no network, no scripts, and no text that can become markup."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from hotpin_hil.report.text import printable

if TYPE_CHECKING:
    from jinja2 import Environment

SYMBOLS = {
    "PASS": "✓",
    "MARGINAL": "△",
    "FAIL": "✕",
    "UNSET": "?",
    "BLOCKED": "⊘",
    "NOT APPLICABLE": "-",
    "QUALIFIED": "✓",
    "REHEARSED": "◐",
    "NOT QUALIFIED": "✕",
    "INCOMPLETE": "◌",
}
"""A sign for each verdict, so that none is told by its colour alone."""


def render_page(template: str, **content: Any) -> str:
    """The page that a template of `templates/` makes of this content. Texts are escaped, a chart's SVG is not."""
    return environment().get_template(template).render(symbols=SYMBOLS, **content)


@cache
def environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
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
