"""c01: the merge function, called out of process on hidden inputs."""

import json
import sys

sys.path.insert(0, "/tests")

import grading

expected = json.loads((grading.INSTANCE / "expected.json").read_text())
report = grading.Report()
names = [(name, items, result) for name, inputs in expected["cases"].items() for items, result in inputs]
results = grading.call(grading.APP / expected["module"], "merge", [[[tuple(p) for p in items]] for _, items, _ in names])
report.check("importable", len(results) == len(names) and not any("error" in r for r in results[:1]), "no results")
for (name, items, result), got in zip(names, results or [{}] * len(names)):
    report.check(name, got.get("value") == result, f"{items} gave {got}, wanted {result}")
report.finish()
