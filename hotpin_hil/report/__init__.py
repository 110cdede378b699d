"""What people read: the terminal table, qualification.json and report.html, all made from results.jsonl
alone."""
