"""Loads the suite's fixtures.

The installed plugin (hotpin_hil.pytest_plugin.plugin) provides options, board choice and verdicts.
"""

import sys
from importlib.util import find_spec

if "hotpin_hil.pytest_plugin.plugin" not in sys.modules or find_spec("pytest_embedded") is None:
    print(
        f"error: hotpin-hil is not installed for {sys.executable} (make setup && . .venv/bin/activate)",
        file=sys.stderr,
    )
    sys.exit(4)  # pytest's exit status for a usage error

pytest_plugins = [
    "fixtures.console",
    "fixtures.agreement",  # listed before conservation, so that its check runs first
    "fixtures.conservation",
    "fixtures.measure",
    "fixtures.board",
    "fixtures.clock",
    "fixtures.device",
    "fixtures.faults",
    "fixtures.memory",
    "fixtures.modes",
    "fixtures.pace",
    "fixtures.profile",
]
