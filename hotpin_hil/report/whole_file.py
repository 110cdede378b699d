"""Writes a file completely or not at all."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from hotpin_hil.errors import UsageError, host_remedy


def write_whole(path: Path, text: str) -> None:
    """Write the file; after an error or Ctrl-C, the old content is unchanged.

    Raises:
        UsageError: The file cannot be written.
    """
    part = path.with_name(path.name + ".part")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written: {error.strerror or error}",
            host_remedy(error) or "make sure that its folder exists, is writable and has space",
        ) from error
    finally:
        with suppress(OSError):
            part.unlink()
