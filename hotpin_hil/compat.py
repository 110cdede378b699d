"""Names of Python 3.11's standard library that Python 3.10 does not have: tomllib, StrEnum."""

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
