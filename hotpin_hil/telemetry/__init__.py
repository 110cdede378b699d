"""What the firmware reports: the fields of a memory sample, the statistics box, log lines."""
