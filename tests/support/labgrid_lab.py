"""Runs a real labgrid on loopback: a coordinator, and exporters that export virtual boards."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from hotpin_hil.boards.labgrid_client import LabgridClient, LabgridPlace, find_client
from hotpin_hil.errors import UsageError
from tests.support.until import until


def labgrid_programs() -> Path:
    """Folder of labgrid's programs; skips the test without labgrid."""
    try:
        folder = Path(find_client(os.environ)).parent
    except UsageError as error:
        pytest.skip(str(error))
    if not (folder / "labgrid-coordinator").is_file():
        pytest.skip(f"{folder} has no labgrid-coordinator; make labgrid")
    return folder


class Lab:
    """A coordinator with places, and the machines (exporters) with their boards."""

    def __init__(self, folder: Path, places: Mapping[str, Mapping[str, str]]) -> None:
        """Starts the coordinator.

        Args:
            folder: its working folder.
            places: name -> tags. A place has the resources of the exporters' group with the same name, or of the group
                in its tag `group`.
        """
        self.programs = labgrid_programs()
        self.folder = folder
        match = {"exporter": "*", "cls": "*", "name": None, "rename": None}
        (folder / "places.yaml").write_text(
            yaml.safe_dump(
                {
                    name: {
                        "aliases": [],
                        "comment": "a comment with an escape: \x1b[31m",
                        "tags": dict(tags),
                        "matches": [{**match, "group": tags.get("group", name)}],
                        "created": 0.0,
                        "changed": 0.0,
                    }
                    for name, tags in places.items()
                }
            )
        )
        self.exporters: dict[str, subprocess.Popen[bytes]] = {}
        self._resources: dict[str, Path] = {}
        self._address = "127.0.0.1:0"
        self.start_coordinator()

    @property
    def address(self) -> str:
        return self._address

    @property
    def client(self) -> LabgridClient:
        return LabgridClient(str(self.programs / "labgrid-client"), self._address)

    def start_coordinator(self) -> None:
        """Starts the coordinator; after a stop, it uses the same port again."""
        log = self.folder / "coordinator.log"
        self.coordinator = self._start("labgrid-coordinator", "-l", self._address, log=log)
        self._address = _line(self.coordinator, log, "listening on ").rpartition(" ")[2]

    def stop_coordinator(self) -> None:
        """Kills the coordinator, so that the next coordinator has no record of the places' users."""
        self.coordinator.kill()
        self.coordinator.wait()

    def start_exporter(
        self, name: str, urls: Mapping[str, str] | None = None, protocol: str = "rfc2217"
    ) -> None:
        """Starts an exporter and waits until the coordinator has its resources.

        Args:
            name: name of the exporter, which stands for a machine.
            urls: group -> URL of its board, or an exporter configuration file; None: as in the previous start.
        """
        if isinstance(urls, Path):
            self._resources[name] = urls
        elif urls is not None:
            self._resources[name] = self.folder / f"{name}.yaml"
            self._resources[name].write_text(
                yaml.safe_dump({place: {"NetworkSerialPort": _serial(url)} for place, url in urls.items()})
            )
        log = self.folder / f"{name}.log"
        arguments = ("-c", self._address, "-n", name, "--hostname", "127.0.0.1", str(self._resources[name]))
        self.exporters[name] = self._start("labgrid-exporter", *arguments, log=log)
        _line(self.exporters[name], log, "creating poll task")

    def kill_exporter(self, name: str) -> None:
        self.exporters[name].kill()
        self.exporters[name].wait()

    def places(self) -> dict[str, LabgridPlace]:
        return {place.name: place for place in self.client.places()}

    def is_free(self) -> bool:
        """Whether the place is neither acquired nor reserved."""
        return not any(place.acquired or place.reservation for place in self.places().values())

    def stop(self) -> None:
        for process in (*self.exporters.values(), self.coordinator):
            with contextlib.suppress(OSError):
                process.kill()
            process.wait()

    def _start(self, program: str, *arguments: str, log: Path) -> subprocess.Popen[bytes]:
        with log.open("wb") as output:
            return subprocess.Popen(
                [str(self.programs / program), *arguments],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )


def _serial(url: str) -> dict[str, object]:
    address = urlsplit(url)
    return {"host": address.hostname, "port": address.port, "protocol": address.scheme}


def _line(process: subprocess.Popen[bytes], log: Path, text: str) -> str:
    """Waits for a line with this text in the log."""

    def find() -> str:
        for line in written().splitlines():
            if text in line:
                return line
        assert process.poll() is None, written()
        return ""

    def written() -> str:
        return log.read_text(errors="replace")

    return until(find, written)
