"""Instances of c01: a merging module with a bug, its specification, and tests that do not cover all of it."""

import argparse
import json
import pathlib
import random

TOPICS = [("bookings", "booking", "room"), ("shifts", "shift", "worker"), ("outages", "outage", "site"),
          ("leases", "lease", "berth"), ("flights", "flight", "gate"), ("visits", "visit", "ward")]

SPEC = """# How {things} are merged

Times are whole minutes. A {thing} is a pair (start, end) and is half-open: the minute `end` is no longer part of it.

1. A {thing} of no length is dropped before anything else is looked at.
2. Two {things} are joined when they overlap, or when the gap between them is at most {gap} minutes.
3. Joining repeats until nothing can be joined. The result is sorted by start.
4. The input may come in any order and is not changed. The result is a list of tuples.
"""

MODULE = """# Merging {things} of one {place}; see SPEC.md.


def merge({things}):
    merged = []
    for start, end in sorted({things}):
        if merged and start < merged[-1][1]:
            merged[-1] = (merged[-1][0], end)
        else:
            merged.append((start, end))
    return merged
"""

TESTS = """# The tests so far: python3 test_{things}.py

import {things}

assert {things}.merge([]) == []
assert {things}.merge([({a}, {b}), ({c}, {d})]) == [({a}, {b}), ({c}, {d})]
assert {things}.merge([({c}, {d}), ({a}, {e})]) == [({a}, {d})]
print("ok")
"""


def reference(items, gap):
    merged = []
    for start, end in sorted((s, e) for s, e in items if e > s):
        if merged and start - merged[-1][1] <= gap:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged


def cases(rng, gap):
    """Hidden inputs by check: each list holds inputs that only this rule decides, and random ones for `merged`."""
    base = rng.randrange(400, 700)
    found = {"nested": [[[base, base + 200], [base + 20, base + 90]], [[base, base + 90], [base + 5, base + 9], [base + 80, base + 120]]],
             "gap": [[[base, base + 30], [base + 30 + gap, base + 90]], [[base, base + 30], [base + 31 + gap, base + 90]],
                     [[base, base + 30], [base + 30, base + 60]]],
             "empty": [[[base, base], [base + 500, base + 510]], [[base, base + 10], [base + 10 + gap, base + 10 + gap], [base + 11 + 2 * gap, base + 300]]],
             "order": [[[base + 300, base + 310], [base, base + 10], [base + 150, base + 160]]], "merged": []}
    for _ in range(30):
        items = []
        for _ in range(rng.randrange(2, 9)):
            start = rng.randrange(0, 1440)
            items.append([start, start + rng.choice([0, 5, 10, gap, gap + 1, 45, 120])])
        found["merged"].append(items)
    return found


def build(seed):
    rng = random.Random(f"c01:{seed}")
    things, thing, place = rng.choice(TOPICS)
    gap = rng.randrange(3, 26)
    a = rng.randrange(60, 300)
    b, c = a + 40, a + 200
    d = c + rng.randrange(30, 90)
    words = dict(things=things, thing=thing, place=place, gap=gap, a=a, b=b, c=c, d=d, e=c + 10)
    files = {f"{things}.py": MODULE.format(**words), f"test_{things}.py": TESTS.format(**words), "SPEC.md": SPEC.format(**words)}
    hidden = cases(rng, gap)
    expected = {name: [[items, [list(p) for p in reference(items, gap)]] for items in inputs] for name, inputs in hidden.items()}
    return files, {"expected.json": json.dumps({"module": f"{things}.py", "cases": expected}) + "\n"}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    arguments = parser.parse_args()
    files, instance = build(arguments.seed)
    for folder, made in (("files", files), ("instance", instance)):
        for name, text in made.items():
            target = arguments.out / folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)


if __name__ == "__main__":
    main()
