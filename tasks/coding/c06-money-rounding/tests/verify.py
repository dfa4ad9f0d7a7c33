"""c06: totals, called out of process on hidden invoices."""

import json
import sys

sys.path.insert(0, "/tests")

import grading

cases = json.loads((grading.INSTANCE / "expected.json").read_text())
report = grading.Report()
flat = [(name, case[:2], case[2]) for name, found in cases.items() for case in found]
results = grading.call(grading.APP / "invoice.py", "total", [arguments for _, arguments, _ in flat])
report.check("importable", len(results) == len(flat), "no results")
for (name, arguments, wanted), got in zip(flat, results or [{}] * len(flat)):
    report.check(name, got.get("value") == wanted, f"{arguments} gave {got}, wanted {wanted}")
report.finish()
