"""Measurements with limits, requirements, verdicts and the results file; independent of pytest and of boards."""
