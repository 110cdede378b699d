"""A recorded console → typed events: scanner, boots, memory, transitions, failures."""
