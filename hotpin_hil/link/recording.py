"""Everything that a monitor receives, and its own notes, in order: for its display, and byte by byte in a file."""

from __future__ import annotations

import threading
from pathlib import Path

from hotpin_hil.errors import UsageError, host_remedy
from hotpin_hil.link.console_log import ConsoleLog

NOTE = "--- hotpin-hil: "
"""Start of a note. `idf.py monitor` uses the same dashes, so the analyser does not take the line for a
board's output."""

WAITING_MAX = 256 * 1024
"""Maximum number of bytes that a file's reader may be ahead of the display."""


class Recording:
    """Bytes and notes in the order of their arrival; thread-safe.

    A thread that reads a port or a file adds them, and the display removes them. The file has the same bytes, so line
    numbers match.
    """

    def __init__(self, path: Path | None = None, *, append: bool = False) -> None:
        """Start an empty recording, and open its file.

        Args:
            path: file for the bytes; None for no file.
            append: add to a file that exists.

        Raises:
            UsageError: the file exists and `append` is false, or the file cannot be written.
        """
        self.path = path
        self.is_saved = path is not None
        """Whether the file has every byte."""
        self._has_ended = False
        self._cond = threading.Condition()
        self._waiting = bytearray()
        self._is_in_line = False
        self._file = None if path is None else _open(path, append)

    def put(self, data: bytes) -> None:
        """Add received bytes. If the file cannot be written, saving stops with a note; the display gets all bytes."""
        if data:
            with self._cond:
                self._add(data)

    def note(self, text: str) -> None:
        """Add a note of the monitor."""
        with self._cond:
            self._add(b"%s%s%s\n" % (b"\n" if self._is_in_line else b"", NOTE.encode(), text.encode()))

    def take(self, timeout_s: float = 0.0) -> bytes:
        """Everything added since the last call. Waits up to `timeout_s`; empty after the timeout."""
        with self._cond:
            self._cond.wait_for(lambda: self._waiting or self._has_ended, timeout_s)
            taken, self._waiting = bytes(self._waiting), bytearray()
            self._cond.notify_all()
        return taken

    @property
    def is_over(self) -> bool:
        """Whether the display has received everything, and nothing more will arrive."""
        with self._cond:
            return self._has_ended and not self._waiting

    def has_room(self, timeout_s: float) -> bool:
        """Wait up to `timeout_s` for the display to catch up; returns whether it has."""
        with self._cond:
            return self._cond.wait_for(lambda: len(self._waiting) < WAITING_MAX, timeout_s)

    def end(self) -> None:
        """Wake the display, because nothing more will arrive."""
        with self._cond:
            self._has_ended = True
            self._cond.notify_all()

    def close(self) -> None:
        """Close the file; later bytes are not saved."""
        with self._cond:
            if self._file is not None:
                self._file.close()

    def _add(self, data: bytes) -> None:
        self._waiting += data
        self._is_in_line = not data.endswith(b"\n")
        if self._file is not None:
            try:
                self._file.put(data)
            except OSError as error:
                self._stop_saving(error)
        self._cond.notify_all()

    def _stop_saving(self, error: OSError) -> None:
        file, self._file, self.is_saved = self._file, None, False
        if file is not None:
            file.close()
        remedy = host_remedy(error)
        self.note(
            f"{self.path} cannot be written: {error.strerror}{f' ({remedy})' if remedy else ''}; "
            "later bytes are not saved"
        )


def _open(path: Path, append: bool) -> ConsoleLog:
    if path.exists() and not append:
        raise UsageError(f"{path} already exists", "name another file, or add to it with --append")
    try:
        return ConsoleLog(path)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}", "name another file") from error
