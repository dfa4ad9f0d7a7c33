#!/bin/bash
set -e
export GZ=1 UTC=0 ONCE=1 ERRORS=1
python3 - <<'END'
import datetime, gzip, json, os, pathlib, re
on = {name: os.environ[name] == "1" for name in ("GZ", "UTC", "ONCE", "ERRORS")}
code = re.search(r"this one it is (\w+)", pathlib.Path("RUNBOOK.md").read_text())[1]
text = pathlib.Path("logs/app.log").read_text()
if on["GZ"]:
    text = "".join(gzip.open(p, "rt").read() for p in sorted(pathlib.Path("logs").glob("*.gz"))) + text
failures = []
for line in text.splitlines():
    time, host, level, req, kind = line.split()[:5]
    if kind == "code=" + code and (level == "ERROR" or not on["ERRORS"]):
        moment = datetime.datetime.fromisoformat(time)
        if on["UTC"]:
            moment = moment.astimezone(datetime.timezone.utc)
        failures.append((moment.replace(tzinfo=None), req))
first = min(failures)[0]
count = len(set(req for _, req in failures)) if on["ONCE"] else len(failures)
pathlib.Path("report.json").write_text(json.dumps({"first_failure": first.strftime("%Y-%m-%dT%H:%M:%SZ"), "requests": count}))
END
