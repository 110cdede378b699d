"""The wire protocol: decodes records, log lines, boxes, panics and reset banners, and encodes requests."""
