"""d07: the report's months and cents against the known ones."""

import csv
import io
import json
import sys

sys.path.insert(0, "/tests")

import grading

expected = json.loads((grading.INSTANCE / "expected.json").read_text())
report = grading.Report()
found = {}
with report.guard("readable"):
    rows = list(csv.reader(io.StringIO(grading.read_text(grading.APP / "revenue.csv"))))
    report.check("header", rows[0] == ["month", "cents"], f"{rows[0]!r:.100}")
    report.check("order", [r[0] for r in rows[1:]] == sorted({r[0] for r in rows[1:]}), "months not in order or not unique")
    found = {month: int(cents) for month, cents in rows[1:]}
report.check("months", sorted(found) == sorted(expected), f"{sorted(found)!r:.200}")
report.check("cents", found == expected, f"{found!r:.300}")
report.finish()
