"""Places in the source code."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass


@dataclass(frozen=True)
class SourcePlace:
    """The function, file and line at an address."""

    function: str
    """Empty if the ELF does not name it."""
    file: str = ""
    """Path as the compiler saw it; empty if the ELF has no line information."""
    line: int | None = None

    @property
    def short(self) -> str:
        """Function, name of the file without its folder, and line."""
        where = f" ({posixpath.basename(self.file)}:{self.line or '?'})" if self.file else ""
        return f"{self.function or '??'}{where}"

    def __str__(self) -> str:
        where = f" at {self.file}:{self.line if self.line is not None else '?'}" if self.file else ""
        return f"{self.function or '??'}{where}"


@dataclass(frozen=True)
class DecodedAddress:
    """An address with its places in the source code."""

    address: int
    places: tuple[SourcePlace, ...] = ()
    """The inlined functions, innermost first, then the function that contains them. Empty if the ELF names neither
    function nor line."""

    @property
    def is_known(self) -> bool:
        """Whether the ELF names the function or the line."""
        return bool(self.places)

    def __str__(self) -> str:
        if not self.places:
            return f"0x{self.address:08x}: no function known"
        return f"0x{self.address:08x}: " + "\n (inlined by) ".join(map(str, self.places))
