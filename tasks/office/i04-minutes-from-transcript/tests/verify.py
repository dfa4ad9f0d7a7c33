"""i04: the minutes against what stood at the end of the meeting."""

import json
import sys

sys.path.insert(0, "/tests")

import grading

expected = json.loads((grading.INSTANCE / "expected.json").read_text())
report = grading.Report()
found = {}
with report.guard("readable"):
    found = grading.read_json(grading.APP / "minutes.json")
found = found if isinstance(found, dict) else {}
report.check("keys", set(found) == {"decisions", "actions"}, f"{sorted(found)!r:.200}")
decisions = found.get("decisions") if isinstance(found.get("decisions"), dict) else {}
actions = found.get("actions") if isinstance(found.get("actions"), dict) else {}
report.check("topics", set(decisions) == set(expected["decisions"]), f"{sorted(decisions)!r:.300}")
report.check("decisions", decisions == expected["decisions"], f"{decisions!r:.400}")
report.check("actions", set(actions) == set(expected["actions"]), f"{sorted(actions)!r:.300}")
report.check("owners", actions == expected["actions"], f"{actions!r:.400}")
report.finish()
