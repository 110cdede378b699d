"""Contexts of the statistics, as both firmwares name them."""

from __future__ import annotations

import re

_BEFORE = re.compile(r"Before (Camera|Voice) Transition")
_AFTER = re.compile(r"After (Camera|Voice) Transition")
BEFORE_TTS = "Before TTS Allocation"


def before_transition(context: str) -> str:
    """Mode that a transition leads to, from the context before it; empty for another context."""
    found = _BEFORE.fullmatch(context)
    return found[1].lower() if found else ""


def after_transition(context: str) -> str:
    """Mode that a transition has led to, from the context after it; empty for another context."""
    found = _AFTER.fullmatch(context)
    return found[1].lower() if found else ""
