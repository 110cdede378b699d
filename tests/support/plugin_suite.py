"""A small suite that the plugin runs with a fake board, for tests of whole sessions.

Sessions run in this process without pytest-embedded: a conftest provides `dut`, and the virtual board's process is
faked. The real suite tests the other parts on a board.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import esptool.bin_image
import pexpect
import pytest
import serial

import hotpin_hil.report.html
from hotpin_hil.boards import ports, virtual
from hotpin_hil.errors import HostError, PortError
from hotpin_hil.report.chart import drawing, finish
from hotpin_hil.virtual import package
from tests.support.fake_build import ELF_SHA256, write_build
from tests.support.schemas import QUALIFICATION, RESULTS_LINE

# Disables Hypothesis's plugin, whose summary takes a second.
WITHOUT = ("-p", "no:pytest_embedded", "-p", "no:hypothesispytest")

# Imported here, because pytester unloads the modules that a session imports, and importing these again would be slow.
SLOW_IMPORTS = (
    esptool.bin_image,
    hotpin_hil.report.html.render,
    pexpect,
    serial,
)

# Draws once to import matplotlib, parts of which cannot be imported twice.
with drawing(50) as (_figure, _):
    finish(_figure, "none", "none", "none")

REQUIREMENTS = """
[[requirement]]
id = "AAA-01"
text = "first"
source = "Guide"
priority = "must"
kinds = ["hardware", "virtual"]
[[requirement]]
id = "AAA-02"
text = "second"
source = "Guide"
priority = "must"
kinds = ["hardware", "virtual"]
[[requirement]]
id = "HHH-01"
text = "on hardware only"
source = "Guide"
priority = "must"
kinds = ["hardware"]
[[requirement]]
id = "PPP-01"
text = "not built"
source = "Guide"
priority = "must"
kinds = ["hardware", "virtual"]
pending = "its component does not exist yet"
"""

CONFTEST = """
import pytest
from hotpin_hil.pytest_plugin.plugin import board_of, recorder_of

def pytest_addoption(parser):
    for name in ("--port", "--target", "--app-path", "--build-dir", "--root-logdir"):
        parser.addoption(name)

@pytest.fixture
def dut(request):
    board = board_of(request.config)
    assert board.port == "rfc2217://127.0.0.1:1"
    board.confirm({"build": "native", "mac": board.mac, "chip": "ESP32", "t": 1, "b": "00c0ffee"})
    return board

@pytest.fixture
def measure(request, dut):
    return recorder_of(request.node).measure
"""

# For sessions with several processes: makes the fake build count as built by this checkout.
REGISTERED = f"""
from hotpin_hil.virtual import package
package.is_registered = [{ELF_SHA256!r}].__contains__
"""

IMPORTS = """
import pytest
from hotpin_hil.errors import BenchError, FirmwareError, FlashError, PortError
requirement = pytest.mark.requirement
"""


class FakeVirtualBoard:
    """Fake of the virtual board's process."""

    started: ClassVar[list[FakeVirtualBoard]] = []
    refuses = False

    def __init__(self) -> None:
        self.port = "rfc2217://127.0.0.1:1"
        self.mac = "24:0a:c4:00:00:01"
        self.is_running = True

    @classmethod
    def start(cls, log: Path, state_dir: Path, arguments: list[str]) -> FakeVirtualBoard:
        if cls.refuses:
            raise PortError("the virtual board did not start: no room", "make room")
        cls.started.append(cls())
        return cls.started[-1]

    host_fault: HostError | None = None

    def check_alive(self) -> None:
        assert self.is_running

    def note_host_faults(self) -> None:
        pass

    def stop(self) -> None:
        self.is_running = False


class Suite:
    """Checkout with a small suite in a temporary folder."""

    def __init__(self, pytester: pytest.Pytester) -> None:
        self._pytester = pytester
        self.runs = pytester.path / "build" / "qualification"
        self.folder = self.runs / "latest"
        pytester.makeini("[pytest]\n")
        write_build(pytester.path / "firmware" / "build-native")
        self.write("hil_tests/requirements.toml", REQUIREMENTS)
        self.write("conftest.py", CONFTEST)

    def write(self, name: str, text: str) -> None:
        path = self._pytester.path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)

    def run(self, tests: str, *options: str, board: str | None = "virtual") -> pytest.RunResult:
        self.write("hil_tests/test_it.py", IMPORTS + tests)
        given = ["--board", board] if board else []
        return self._pytester.runpytest_inprocess(
            *WITHOUT, *given, *(options or ["hil_tests"]), no_reraise_ctrlc=True
        )

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / "results.jsonl").read_text().splitlines()]

    @property
    def qualification(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "qualification.json").read_text())
        return found

    def verdict(self, requirement: str) -> str | None:
        row = self.qualification["requirements"].get(requirement)
        return None if row is None else row["verdict"]

    def validate(self) -> None:
        """Validates both files with the package's schemas."""
        for line in self.lines:
            RESULTS_LINE.validate(line)
        QUALIFICATION.validate(self.qualification)


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Suite:
    for name in ("CI", "HOTPIN_BOARD", "ESPPORT", "HOTPIN_STATE_DIR", "PYTEST_ADDOPTS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(virtual, "BoardProcess", FakeVirtualBoard)
    monkeypatch.setattr(ports, "find_ports", list)
    monkeypatch.setattr(package, "is_registered", [ELF_SHA256].__contains__)
    monkeypatch.setattr(FakeVirtualBoard, "started", [])
    monkeypatch.setattr(FakeVirtualBoard, "refuses", False)
    return Suite(pytester)
