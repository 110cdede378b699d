"""The terminal table, qualification.json and report.html, all made from results.jsonl alone."""
