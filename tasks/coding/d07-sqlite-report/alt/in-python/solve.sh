#!/bin/bash
set -e
python3 - <<'END'
import collections, datetime, pathlib, re, sqlite3
text = pathlib.Path("shop.sql").read_text()
hours = datetime.timedelta(hours=int(re.search(r"which is UTC([+-]\d+)", text)[1]))
db = sqlite3.connect(":memory:")
db.executescript(text)
gone = {i for i, d in db.execute("SELECT id, deleted_at FROM sales") if d}
month = lambda t: (datetime.datetime.fromisoformat(t) + hours).strftime("%Y-%m")
books = collections.Counter()
for i, t, c in db.execute("SELECT id, sold_at, cents FROM sales"):
    if i not in gone:
        books[month(t)] += c
for i, t, c in db.execute("SELECT sale_id, paid_at, cents FROM refunds"):
    if i not in gone:
        books[month(t)] -= c
with open("revenue.csv", "w") as out:
    print("month,cents", *(f"{m},{c}" for m, c in sorted(books.items())), sep="\n", file=out)
END
