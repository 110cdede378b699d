"""The wire protocol, decoded once: records, requests, log lines, boxes, panics, reset banners → typed events."""
