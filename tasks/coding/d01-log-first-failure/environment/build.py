"""Instances of d01: logs of three hosts in three UTC offsets, the oldest part rotated and compressed, and a runbook."""

import argparse
import datetime
import gzip
import io
import json
import pathlib
import random

HOSTS = ["ash", "birch", "cedar", "elm", "fir", "oak", "pine", "yew"]
CODES = ["E17", "E23", "E42", "E58", "E61", "E77"]
FILLER = ["Keep the channel quiet while somebody works on it.", "Name one person who writes the notes.",
          "Restart a service only after its memory has been saved.", "Tell support what customers will notice.",
          "Write times in UTC in every report.", "Do not delete rotated logs before the review is over.",
          "Ask the owner of a service before you drain it.", "A graph is no proof; a log line is."]

RUNBOOK = """# Runbook: payment gateway

## Conduct

{filler}

## Log format

`<time> <host> <level> req=<id> code=<code> <text>`. Each host writes its own local time; the offset stands at the end of
the time. The running log is logs/app.log; older parts are beside it.

## Incident reports

The incident of a review is named by its code. For this one it is {code}. A failure is a line of level ERROR with that code;
WARN lines with the code are early signs and are no failures.

Clients try again up to four times under the same request id. Retries of one request count once.
"""


def stamp(moment, minutes):
    zone = datetime.timezone(datetime.timedelta(minutes=minutes))
    return moment.astimezone(zone).strftime("%Y-%m-%dT%H:%M:%S%z").replace("+0000", "+00:00")


def with_colon(text):
    return text if text[-3] == ":" else text[:-2] + ":" + text[-2:]


def build(seed):
    rng = random.Random(f"d01:{seed}")
    hosts = rng.sample(HOSTS, 3)
    offsets = dict(zip(hosts, rng.sample([-300, -180, 60, 120, 330, 540], 3)))
    code, other = rng.sample(CODES, 2)
    start = datetime.datetime(2026, rng.randrange(1, 12), rng.randrange(2, 27), rng.randrange(3, 20), 0, tzinfo=datetime.timezone.utc)
    first = start + datetime.timedelta(seconds=rng.randrange(700, 1100))
    lines, requests, tick = [], 0, start
    failed = []

    def put(moment, host, level, req, kind, text):
        lines.append((moment, f"{with_colon(stamp(moment, offsets[host]))} {host} {level} req={req} code={kind} {text}"))

    for number in range(420):
        tick += datetime.timedelta(seconds=rng.randrange(3, 9))
        host, req = rng.choice(hosts), f"{rng.randrange(16**6):06x}"
        if tick < first and rng.random() < 0.05:
            put(tick, host, "WARN", req, code, "slow answer")
        elif tick >= first and rng.random() < 0.12:
            moment = first if not failed else tick
            failed.append(req)
            requests += 1
            put(moment, host, "ERROR", req, code, "upstream refused")
            for again in range(rng.choice([0, 0, 1, 2, 3])):
                put(moment + datetime.timedelta(seconds=again + 1), rng.choice(hosts), "ERROR", req, code, "upstream refused, retry")
        elif rng.random() < 0.04:
            put(tick, host, "ERROR", req, other, "bad input")
        else:
            put(tick, host, "INFO", req, "-", "done in %d ms" % rng.randrange(5, 900))
    cut = first + datetime.timedelta(seconds=rng.randrange(200, 320))
    old, new = [t for m, t in lines if m < cut], [t for m, t in lines if m >= cut]
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", mtime=0, filename="") as file:
        file.write(("\n".join(old) + "\n").encode())
    filler = "\n".join(f"- {rng.choice(FILLER)}" for _ in range(40))
    files = {"RUNBOOK.md": RUNBOOK.format(filler=filler, code=code).encode(), "logs/app.log": ("\n".join(new) + "\n").encode(),
             "logs/app.log.1.gz": packed.getvalue()}
    answer = {"first_failure": first.strftime("%Y-%m-%dT%H:%M:%SZ"), "requests": requests}
    return files, {"expected.json": (json.dumps(answer) + "\n").encode()}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    arguments = parser.parse_args()
    for folder, made in zip(("files", "instance"), build(arguments.seed)):
        for name, data in made.items():
            target = arguments.out / folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)


if __name__ == "__main__":
    main()
