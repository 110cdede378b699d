"""pytest plugin (`-p tests.mutation.counting_plugin`): keeps the firmware's counters of each test in a separate folder.

HOTPIN_KEEP names the parent folder. Its file tests.jsonl gets a line for each test, with the name of the test's folder.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Generator
from itertools import count
from pathlib import Path

import pytest

_WORKER = os.environ.get("PYTEST_XDIST_WORKER", "main")
_KEEP = Path(os.environ["HOTPIN_KEEP"])
_COUNTERS = _KEEP / f"counters-{_WORKER}"
_COUNTERS.mkdir(parents=True, exist_ok=True)
# Set before the board starts, because its firmware inherits the variable.
os.environ["HOTPIN_COUNTERS"] = str(_COUNTERS)

_numbers = count()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Keeps the counters after a test's teardown and clears them."""
    started = time.monotonic()
    result = yield
    seconds = time.monotonic() - started
    folder = _KEEP / f"test-{_WORKER}-{next(_numbers)}"
    folder.mkdir()
    for file in _COUNTERS.iterdir():
        counts = file.read_bytes()
        if any(counts):
            shutil.copy(file, folder)
            with file.open(
                "r+b"
            ) as clear:  # the file is overwritten in place, because running firmware has it mapped
                clear.write(bytes(len(counts)))
    entry = {"test": item.nodeid, "seconds": round(seconds, 3), "folder": folder.name}
    with (_KEEP / "tests.jsonl").open("a", encoding="utf-8") as index:
        index.write(json.dumps(entry) + "\n")
    return result
