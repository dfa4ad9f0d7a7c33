"""Finding a first failure in logs: which files there are, what their times mean, what counts."""

from __future__ import annotations

from harness.models.simulated.skill import Fact, Skill

_DRAFT = r"""python3 - <<'END'
import datetime, gzip, json, os, pathlib, re
on = @FLAGS@
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
END"""

_CHECK = r"""python3 - <<'END'
import json, pathlib, re
report = json.loads(pathlib.Path("report.json").read_text())
code = re.search(r"this one it is (\w+)", pathlib.Path("RUNBOOK.md").read_text())[1]
lines = [l.split() for l in pathlib.Path("logs/app.log").read_text().splitlines()]
hits = [l for l in lines if l[4] == "code=" + code and l[2] == "ERROR"]
found = []
if report["first_failure"][:16] in [l[0][:16] for l in hits] and report["first_failure"] != hits[0][0]:
    found.append("the first failure lies at the start of the running log: older parts (.gz) were not read")
import gzip
every = lines + [l.split() for p in pathlib.Path("logs").glob("*.gz") for l in gzip.open(p, "rt").read().splitlines()]
if report["requests"] > len(set(l[3] for l in every if l[4] == "code=" + code and l[2] == "ERROR")):
    found.append("more failures than request ids: the same request id is counted several times")
print("\n".join(found) or "all good")
END"""


def draft(known: frozenset[str]) -> str:
    """The report, honouring the known facts."""
    flags = {"GZ": "archive", "UTC": "offsets", "ONCE": "retries", "ERRORS": "level"}
    return _DRAFT.replace("@FLAGS@", repr({flag: fact in known for flag, fact in flags.items()}))


SKILL = Skill(
    name="log incident",
    words=("first failure", "logs", "runbook"),
    look="ls; tail -3 logs/app.log",
    sources=("cat RUNBOOK.md", "ls -l logs; tail -5 logs/app.log"),
    facts=(
        Fact("level", obvious=True),
        Fact("archive", sign=r"\.gz\b", rule="inventory"),
        Fact("offsets", sign=r"writes its own local time", rule="units"),
        Fact("retries", sign=r"Retries of one request count once|same request id is counted"),
    ),
    draft=draft,
    check=_CHECK,
)
