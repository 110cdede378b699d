"""Loads the suite's fixtures. Options, board choice and verdicts are the installed plugin's
(hotpin_hil.plugin)."""

pytest_plugins = [
    "fixtures.console",
    "fixtures.measure",
    "fixtures.board",
    "fixtures.device",
    "fixtures.faults",
    "fixtures.memory",
    "fixtures.modes",
]
