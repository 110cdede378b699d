"""A model of the memory management guide, which random scripts compare with the firmware: see docs/writing-tests.md."""
