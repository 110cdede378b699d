"""A model of the guide, compared with the firmware in random scripts: see docs/writing-tests.md."""
