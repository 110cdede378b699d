"""Context names in the statistics of the original firmware and of this firmware."""

from __future__ import annotations

import re
from functools import lru_cache

_BEFORE = re.compile(r"Before (Camera|Voice) Transition")
_AFTER = re.compile(r"After (Camera|Voice) Transition")
BEFORE_TTS = "Before TTS Allocation"


@lru_cache(maxsize=64)
def before_transition(context: str) -> str:
    """Target mode from the context logged before a transition; empty for other contexts."""
    found = _BEFORE.fullmatch(context)
    return found[1].lower() if found else ""


@lru_cache(maxsize=64)
def after_transition(context: str) -> str:
    """New mode, from the context logged after a transition; empty for other contexts."""
    found = _AFTER.fullmatch(context)
    return found[1].lower() if found else ""
