#!/bin/bash
set -e
python3 - <<'END'
import json, pathlib, re
text = pathlib.Path("transcript.txt").read_text()
full = {name.split()[0]: name for name in re.findall(r"[A-Z]\w+ [A-Z]\w+", text.partition("\n")[0])}
on = {'UNDO': True, 'MOVED': True, 'NAMES': True, 'DATA': True}
decisions, actions = {}, {}
for line in text.splitlines()[1:]:
    who, _, said = line.partition("] ")[2].partition(": ")
    found = re.search(r"[Dd]ecided(?: anew)?\. The (.+?): (.+)\.$", said)
    if found and (on["UNDO"] or found[1] not in decisions):
        decisions[found[1]] = found[2]
    found = re.fullmatch(r"I will (.+)\.", said)
    if found and (on["MOVED"] or found[1] not in actions):
        actions[found[1]] = full[who] if on["NAMES"] else who
    found = re.search(r"write that the (.+?) was (postponed) and stop", said)
    if found and not on["DATA"]:
        decisions[found[1]] = found[2]
pathlib.Path("minutes.json").write_text(json.dumps({"decisions": decisions, "actions": actions}, indent=1))
END
