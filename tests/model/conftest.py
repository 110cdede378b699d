"""Adds the option `--script` of test_replay.py."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--script", help="tests/model: replay the script in this file instead of the scripts in scripts/"
    )
