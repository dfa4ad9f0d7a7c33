"""Instances of c03: a reader of delimited text that breaks on quoted line breaks, and its dialect."""

import argparse
import json
import pathlib
import random

NAMES = ["orders", "parcels", "members", "sensors", "tickets", "rooms"]

DIALECT = """# The dialect of {name}.txt files

One record per line, fields separated by `{d}`.

- A field may be quoted with `{q}`. Inside quotes, separators and line breaks are part of the field.
- Inside quotes, a doubled `{q}{q}` stands for one `{q}`.
- A line that starts with `{c}` outside quotes is a comment and yields no record. An empty line yields none either.
- Blanks around an unquoted field are not part of it; inside quotes they are.
- The last line may or may not end with a line break.

`parse(text)` returns a list of records, each a list of strings.
"""

MODULE = """# Reads {name}.txt files; see DIALECT.md.


def parse(text):
    return [line.split("{d}") for line in text.splitlines()]
"""

TESTS = """# The tests so far: python3 test_reader.py

from reader import parse

assert parse("a{d}b\\n1{d}2\\n") == [["a", "b"], ["1", "2"]]
assert parse("x{d}y") == [["x", "y"]]
print("ok")
"""


def write(records, d, q, rng):
    """Records as text: fields quoted where they must be, and at times where they need not."""
    lines = []
    for record in records:
        fields = []
        for field in record:
            must = any(ch in field for ch in (d, q, "\n", "#", "%", ";")) or field != field.strip() or not field
            fields.append(q + field.replace(q, q + q) + q if must or rng.random() < 0.2 else " " * rng.randrange(0, 2) + field)
        lines.append(d.join(fields))
    return lines


def build(seed):
    rng = random.Random(f"c03:{seed}")
    name, d, q, c = rng.choice(NAMES), rng.choice(";|,"), rng.choice("\"'"), rng.choice("#%")
    words = dict(name=name, d=d, q=q, c=c)
    pool = ["north", "12", "3.5", "late", "x y", "ok", "7", "blue"]

    def plain(n=3):
        return [rng.choice(pool) for _ in range(n)]

    cases = {"plain": [], "line-breaks": [], "doubled-quotes": [], "comments": [], "blanks": [], "mixed": []}

    def add(check, records, text=None):
        cases[check].append([text if text is not None else "\n".join(write(records, d, q, rng)) + "\n", records])

    rows = [plain() for _ in range(3)]
    cases["plain"].append(["\n".join(d.join(row) for row in rows) + "\n", rows])
    for special in ("two\nlines", f"a{d}b", "one\n\nthree"):
        add("line-breaks", [plain(), [special, *plain(2)], plain()])
    for special in (f"say {q}hi{q}", q, f"{q}{q}", f"end{q}"):
        add("doubled-quotes", [[special, "1", "2"], plain()])
    one, two = plain(), plain()
    add("comments", [one, two], f"{c} a remark\n{d.join(one)}\n\n{c}{d}{d}\n{d.join(two)}")
    held = [f"{q}{c} not a remark{q}", "1"]
    add("comments", [[held[0].strip(q), "1"]], d.join(held) + "\n")
    add("comments", [["a", f"x\n{c} inside\ny"]], f"a{d}{q}x\n{c} inside\ny{q}\n")
    add("blanks", [["a", " b ", "c d"]], f"  a {d}{q} b {q}{d} c d\n")
    for _ in range(12):
        add("mixed", [[rng.choice(pool + ["two\nlines", f"q{q}q", f"s{d}s", " pad ", c + "x"]) for _ in range(3)] for _ in range(4)])
    files = {"reader.py": MODULE.format(**words), "test_reader.py": TESTS.format(**words), "DIALECT.md": DIALECT.format(**words)}
    return files, {"expected.json": json.dumps(cases) + "\n"}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    arguments = parser.parse_args()
    for folder, made in zip(("files", "instance"), build(arguments.seed)):
        for name, text in made.items():
            target = arguments.out / folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)


if __name__ == "__main__":
    main()
