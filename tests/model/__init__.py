"""A model of the guide plays against the firmware: see docs/writing-tests.md."""
