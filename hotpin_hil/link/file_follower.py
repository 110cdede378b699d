"""Follows a log file that another program is writing, like `tail -F`, but from its start."""

from __future__ import annotations

import os
import sys
import threading
from io import FileIO

from hotpin_hil.errors import UsageError
from hotpin_hil.link.recording import Recording

STANDARD_INPUT = "-"
POLL_S = 0.2
CHUNK = 64 * 1024


class FileFollower:
    """Reads a file from its start into a recording, then the data appended to the file, until `close`.

    A file that is replaced or truncated is read again from its start. Standard input is read to its end.
    """

    problem = ""

    def __init__(self, path: str, recording: Recording, *, poll_s: float = POLL_S) -> None:
        self.port = path
        self._recording = recording
        self._poll_s = poll_s
        self._is_closing = threading.Event()
        self._file: FileIO | None = None
        self._thread = threading.Thread(target=self._run, name=f"follower of {path}", daemon=True)

    def open(self) -> None:
        """Open the file and start to read it.

        Raises:
            UsageError: the file cannot be read.
        """
        if self.port != STANDARD_INPUT:
            if os.path.isdir(self.port):
                raise UsageError(f"{self.port} is a folder", "name a log in it")
            try:
                self._file = FileIO(self.port)
            except OSError as error:
                raise UsageError(f"{self.port} cannot be read: {error.strerror}", "name a log") from error
        self._thread.start()

    def close(self) -> None:
        """Stop reading. Safe to call twice."""
        self._is_closing.set()
        if self._file is not None and self._thread.ident is not None:
            self._thread.join()  # a thread that waits for standard input ends with the process
        if self._file is not None:
            self._file.close()

    def _run(self) -> None:
        if self._file is None:
            while not self._is_closing.is_set() and (data := os.read(sys.stdin.fileno(), CHUNK)):
                self._put(data)
            self._recording.end()
            return
        while not self._is_closing.is_set():
            if data := self._file.read(CHUNK):
                self._put(data)
            elif not self._is_closing.wait(self._poll_s):
                self._file = self._reopened(self._file)

    def _put(self, data: bytes) -> None:
        while not self._recording.has_room(self._poll_s) and not self._is_closing.is_set():
            pass
        self._recording.put(data)

    def _reopened(self, file: FileIO) -> FileIO:
        """The file, opened again if it was replaced."""
        own = os.fstat(file.fileno())
        try:
            status = os.stat(self.port)
            if (status.st_dev, status.st_ino) != (own.st_dev, own.st_ino):
                new = FileIO(self.port)
                file.close()
                self._recording.note(f"{self.port} was replaced")
                return new
        except OSError:
            return file  # the file is being replaced, or was removed
        if status.st_size < file.tell():
            file.seek(0)
            self._recording.note(f"{self.port} was truncated")
        return file
