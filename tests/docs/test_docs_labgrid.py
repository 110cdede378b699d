"""Runs the labgrid example of docs/bench.md with a real labgrid."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from hotpin_hil.boards.bench import load_bench
from hotpin_hil.boards.kind import BoardKind
from hotpin_hil.boards.labgrid import LabgridPlaces
from hotpin_hil.boards.labgrid_client import ENV_CLIENT
from hotpin_hil.paths import PROJECT_ROOT
from tests.support.labgrid_lab import Lab
from tests.support.until import PATIENCE_S

DOCS = PROJECT_ROOT / "docs"


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    lab = Lab(tmp_path, {})
    try:
        lab.start_exporter("bench-3", DOCS / "labgrid/exporter.yaml")
        yield lab
    finally:
        lab.stop()


def test_example_of_labgrid_gives_a_board(lab: Lab, tmp_path: Path) -> None:
    address = re.escape("bench-1.example:20408")
    bench = (DOCS / "bench.md").read_text(encoding="utf-8")
    (commands,) = re.findall(r"^```sh\n(export LG_COORDINATOR=.*?)^```", bench, re.DOTALL | re.MULTILINE)
    subprocess.run(
        ["bash", "-ec", re.sub(address, lab.address, commands)],
        env={**os.environ, "PATH": f"{lab.programs}{os.pathsep}{os.environ['PATH']}"},
        timeout=PATIENCE_S,
        check=True,
    )
    example = (DOCS / "labgrid/bench.toml").read_text(encoding="utf-8")
    (tmp_path / "bench.toml").write_text(re.sub(address, lab.address, example))
    settings = load_bench(tmp_path / "bench.toml").labgrid
    assert settings is not None
    places = LabgridPlaces.connect(settings, BoardKind.HARDWARE, {ENV_CLIENT: lab.client.program}, print)
    try:
        (board,) = places.acquire(1, 0)
        assert (board.name, board.mac) == ("cam-1", "24:0a:c4:00:00:01")
        assert board.port == "rfc2217://bench-3.example:4001?ign_set_control"
    finally:
        assert places.release() == []
    assert lab.is_free()
