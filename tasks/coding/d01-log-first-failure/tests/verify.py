"""d01: the report against the known first failure and the known number of requests."""

import json
import sys

sys.path.insert(0, "/tests")

import grading

expected = json.loads((grading.INSTANCE / "expected.json").read_text())
report = grading.Report()
found = {}
with report.guard("readable"):
    found = grading.read_json(grading.APP / "report.json")
    report.check("keys", isinstance(found, dict) and set(found) == set(expected), f"keys of {found!r:.200}")
found = found if isinstance(found, dict) else {}
report.check("first-failure", found.get("first_failure") == expected["first_failure"], f"{found.get('first_failure')!r:.100}")
requests = found.get("requests")
report.check("requests", type(requests) is int and requests == expected["requests"], f"{requests!r:.100}")
report.finish()
