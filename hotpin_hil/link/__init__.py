"""The serial line: opening a port, reading it without polling, finding records in the bytes received."""
