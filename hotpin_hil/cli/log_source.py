"""A log that can be read several times: a file, or a copy of a pipe."""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path
from typing import IO, Any, cast

from hotpin_hil.cli.log_files import STANDARD_INPUT
from hotpin_hil.errors import UsageError
from hotpin_hil.logs.compressed import LogChunks

_IN_MEMORY = 16 * 1024 * 1024
"""Bytes of a pipe's copy that stay in memory; the rest goes into a temporary file."""


class LogSource:
    """Opens a log as often as needed. Call `close` at the end."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._copy: IO[bytes] | None = None
        self._file: IO[bytes] | None = None
        self._is_pipe = path == STANDARD_INPUT or (Path(path).exists() and not Path(path).is_file())

    def chunks(self) -> LogChunks:
        """The log from its start.

        Raises:
            OSError: it cannot be read.
            UsageError: the log is a pipe, and its copy did not fit on the disk.
        """
        self._close_file()
        if not self._is_pipe:
            self._file = Path(self._path).open("rb")  # noqa: SIM115
        elif self._copy is None:
            self._copy = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115
            is_input = self._path == STANDARD_INPUT
            pipe = sys.stdin.buffer if is_input else Path(self._path).open("rb")  # noqa: SIM115
            self._file = io.BufferedReader(_Tee(cast(io.BufferedReader, pipe), self._copy))
        elif self._copy.closed:
            raise UsageError(
                f"{self._path} cannot be read twice: no room for a copy", "save the log in a file first"
            )
        else:
            self._copy.seek(0)
            return LogChunks(io.BufferedReader(cast(io.RawIOBase, _Unclosed(self._copy))))
        return LogChunks(cast(io.BufferedReader, self._file))

    def close(self) -> None:
        """Close the log, and delete the copy of a pipe."""
        self._close_file()
        if self._copy is not None:
            self._copy.close()

    def _close_file(self) -> None:
        if self._file is not None and not self._is_pipe:
            self._file.close()


class _Unclosed(io.RawIOBase):
    """Reads a file; closing this reader does not close the file."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


class _Tee(io.RawIOBase):
    """Reads a pipe, and copies what it reads until the disk is full."""

    def __init__(self, pipe: io.BufferedReader, copy: IO[bytes]) -> None:
        self._pipe, self._copy = pipe, copy

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._pipe.read1(len(buffer))
        buffer[: len(data)] = data
        if not self._copy.closed:
            try:
                self._copy.write(data)
            except OSError:
                self._copy.close()
        return len(data)
