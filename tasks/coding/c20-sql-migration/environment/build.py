"""Instances of c20: a table, a change request, and the house rules for migrations."""

import argparse
import json
import pathlib
import random

TOPICS = [("members", "plan", ["basic", "plus", "pro"]), ("devices", "mode", ["auto", "manual", "eco"]),
          ("parcels", "route", ["north", "south", "air"]), ("courses", "level", ["a1", "b2", "c1"])]
EXTRA = ["note", "phone", "source", "comment"]

SCHEMA = """CREATE TABLE {table} (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL,
  {extra} TEXT,
  score INTEGER
);
"""

TICKET = """# Change request

In the table {table}:

1. Add a column {column} of type TEXT. Rows that are there already get '{value}', and so does a new row that names none.
2. The column {extra} may be missing today. From now on it must not be NULL; where it is, it becomes the empty string.

Write up.sql, which makes the change, and down.sql, which takes it back. Both are run with sqlite3 against a copy of the data.
"""

RULES = """# Rules for migrations

Names of columns are lower case. Do not create views. Do not switch foreign keys off for longer than you need.

A migration is one transaction: it begins with BEGIN and ends with COMMIT.

A migration keeps what it replaces. What `up` changes in a way that cannot be computed back goes into a table named
`_kept_{table}`, and `down` restores it from there, NULLs included, and drops that table. After up and down the data are the
same as before, row by row, and so is the list of columns. Rows that came in between stay.
"""


def build(seed):
    rng = random.Random(f"c20:{seed}")
    table, column, values = rng.choice(TOPICS)
    extra, value = rng.choice(EXTRA), rng.choice(values)
    words = dict(table=table, column=column, extra=extra, value=value)
    rows = [[i, f"name {rng.randrange(100)}", rng.choice([None, "", "x%d" % i, "it's"]), rng.choice([None, rng.randrange(50)])]
            for i in rng.sample(range(1, 200), 25)]
    rows[0][2], rows[1][2], rows[2][2] = None, "", "kept"
    files = {"schema.sql": SCHEMA.format(**words), "TICKET.md": TICKET.format(**words), "docs/MIGRATIONS.md": RULES.format(**words)}
    return files, {"expected.json": json.dumps({**words, "schema": SCHEMA.format(**words), "rows": sorted(rows)}) + "\n"}


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
