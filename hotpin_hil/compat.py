"""tomllib and StrEnum, which Python 3.10's standard library does not have."""

from __future__ import annotations

import sys

if sys.version_info >= (3, 11):
    from enum import StrEnum

    import tomllib
else:
    from enum import Enum

    import tomli as tomllib

    class StrEnum(str, Enum):
        """An enumeration of strings; each member prints as its value."""

        __str__ = str.__str__


__all__ = ["StrEnum", "tomllib"]
