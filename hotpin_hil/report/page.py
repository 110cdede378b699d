"""Renders pages from templates: one file each, no network access, no scripts, all text escaped."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Any

from hotpin_hil.printable import printable

if TYPE_CHECKING:
    from jinja2 import Environment

TEXT_MAX = 2_000
"""Maximum length of a text on the page, in characters. The filter `whole` keeps all of the text."""

FIGURE_MAX = 28
"""Maximum length of a value that is kept on one line, in characters."""

_HASH = re.compile(r"\b(?:[0-9a-f]{64}|[0-9a-f]{40}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\b")
"""A SHA-256, a SHA-1 or a UUID."""

SYMBOLS = {
    "PASS": "✓",
    "MARGINAL": "△",
    "WAIVED": "◇",
    "FAIL": "✕",
    "UNSET": "?",
    "BLOCKED": "⊘",
    "NOT APPLICABLE": "-",
    "QUALIFIED": "✓",
    "REHEARSED": "◐",
    "NOT QUALIFIED": "✕",
    "INCOMPLETE": "◌",
}
"""A symbol for each verdict, so that verdicts are readable without colours."""


def render_page(template: str, **content: Any) -> str:
    """Render a template of `templates/`. Texts are escaped, the SVG of a chart is not."""
    return environment().get_template(template).render(symbols=SYMBOLS, **content)


@cache
def environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup, escape

    made = Environment(
        loader=PackageLoader("hotpin_hil.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: (
            _shown(value) if isinstance(value, str) and not hasattr(value, "__html__") else value
        ),
    )
    made.filters["whole"] = lambda text: Markup(escape(printable(text)))
    made.filters["hashes"] = lambda value: Markup(
        _HASH.sub(r"<code>\g<0></code>", str(escape(_shown(str(value)))))
    )
    made.filters["figure"] = lambda text: (
        text if len(text) > FIGURE_MAX else Markup('<span class="figure">{}</span>').format(printable(text))
    )
    made.filters["css_word"] = lambda text: re.sub(r"[^0-9A-Za-z-]", "", text)[: FIGURE_MAX * 2]
    return made


def _shown(text: str) -> str:
    """The text cut to TEXT_MAX, without control characters, which HTML does not allow."""
    left_out = len(text) - TEXT_MAX
    return (
        printable(text) if left_out <= 0 else f"{printable(text[:TEXT_MAX])} ... and {left_out:,} characters"
    )
