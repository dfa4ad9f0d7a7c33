"""c03: the parser, called out of process on hidden texts."""

import json
import sys

sys.path.insert(0, "/tests")

import grading

cases = json.loads((grading.INSTANCE / "expected.json").read_text())
report = grading.Report()
flat = [(name, text, rows) for name, found in cases.items() for text, rows in found]
results = grading.call(grading.APP / "reader.py", "parse", [[text] for _, text, _ in flat])
report.check("importable", len(results) == len(flat), "no results")
for (name, text, rows), got in zip(flat, results or [{}] * len(flat)):
    report.check(name, got.get("value") == rows, f"{text!r} gave {got}, wanted {rows}")
report.finish()
