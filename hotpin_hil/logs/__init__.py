"""Turns a recorded console into typed events: scanner, boots, memory, transitions, failures."""
