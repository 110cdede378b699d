"""Faults on demand: what goes wrong on a virtual board's line, in its power, or in its firmware's world."""
