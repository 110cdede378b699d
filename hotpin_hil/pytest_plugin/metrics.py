"""Appends the run's figures to pytest-embedded's `--metric-path` file, after the lines of the tests' `log_metric`.

pytest-embedded 2.9 writes to that file only if a test uses its fixture `log_metric`, one line `key{labels} value` per
call, and empties it at the first use. It never writes OpenMetrics' types, units and end mark.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from hotpin_hil.errors import UsageError


def metric_path(config: pytest.Config) -> Path | None:
    """The file of `--metric-path`; None without it, or without pytest-embedded."""
    given = getattr(config.option, "metric_path", None)
    return config.invocation_params.dir / given if given else None


def begin_metrics(path: Path) -> None:
    """Remove the file of an earlier run, since its lines would be mixed with this run's.

    Raises:
        UsageError: It cannot be removed.
    """
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(
            f"{path} cannot be replaced: {error.strerror or error}", "give another file with --metric-path"
        ) from error


def add_metrics(path: Path, text: str) -> None:
    """Append OpenMetrics text to the file.

    Raises:
        UsageError: It cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written: {error.strerror or error}", "give another file with --metric-path"
        ) from error
