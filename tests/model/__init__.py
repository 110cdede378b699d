"""A model of the memory management guide. Random scripts compare it with the firmware: see docs/writing-tests.md."""
