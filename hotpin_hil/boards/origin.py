"""Reads from a firmware image the commits that it was built from."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MARK = b"HOTPIN-BUILT-FROM"
_ORIGIN = struct.Struct("20s44s16s44s")
"""build_origin_t of firmware/components/telemetry/src/build_origin.h: mark, commit, dirty, commit of ESP-IDF."""


@dataclass(frozen=True)
class Origin:
    """The commits of a firmware image; an empty string for sources that were not in git."""

    commit: str = ""
    dirty: str = ""
    """Start of the hash of the uncommitted changes; empty if there were none."""
    idf_commit: str = ""

    def __str__(self) -> str:
        if not self.commit:
            return "an unknown commit"
        return f"commit {self.commit[:12]}" + (
            f" with uncommitted changes {self.dirty}" if self.dirty else ""
        )


UNKNOWN_ORIGIN = Origin()


def find_origin(image: bytes) -> Origin:
    """The origin in an app image; UNKNOWN_ORIGIN for older firmware, whose images have none."""
    at = image.find(MARK + b"\0")
    if at < 0 or at + _ORIGIN.size > len(image):
        return UNKNOWN_ORIGIN
    _, *texts = (text.split(b"\0")[0].decode("ascii", "replace") for text in _ORIGIN.unpack_from(image, at))
    return Origin(*texts)


def reported_origin(info: Mapping[str, Any]) -> Origin:
    """The origin that the firmware reports in `sys.info`; older firmware reports none."""
    return Origin(str(info.get("commit", "")), str(info.get("dirty", "")))
