#!/bin/bash
set -e
python3 - <<'END'
import json, re
lines = open("transcript.txt").read().splitlines()
people = [p.replace(" (chair)", "") for p in lines[0][len("Present: "):].split(", ")]
decisions, actions = {}, {}
for line in reversed(lines[1:]):
    if m := re.search(r"[Dd]ecided\b.*? The ([a-z ]+): (.*)\.$", line):
        decisions.setdefault(*m.groups())
    if m := re.match(r"\S+ (\w+): I will (.*)\.$", line):
        actions.setdefault(m[2], next(p for p in people if p.startswith(m[1] + " ")))
json.dump({"decisions": decisions, "actions": actions}, open("minutes.json", "w"))
END
