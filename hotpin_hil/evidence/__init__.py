"""Measurements with limits, requirements, verdicts and the results file. Knows nothing of pytest or of
boards."""
