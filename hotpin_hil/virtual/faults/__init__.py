"""Faults on demand: on a virtual board's serial line, in its power supply, or in its firmware's environment."""
