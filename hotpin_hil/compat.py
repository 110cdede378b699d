"""Names of the standard library of Python 3.11, for Python 3.10 too: tomllib, StrEnum."""

from __future__ import annotations

import sys

if sys.version_info >= (3, 11):
    from enum import StrEnum

    import tomllib
else:
    from enum import Enum

    import tomli as tomllib

    class StrEnum(str, Enum):
        """An enumeration whose members are strings, and print as their values."""

        __str__ = str.__str__


__all__ = ["StrEnum", "tomllib"]
