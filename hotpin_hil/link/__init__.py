"""The serial line: opens a port, reads it without polling, and finds records in the received bytes."""
