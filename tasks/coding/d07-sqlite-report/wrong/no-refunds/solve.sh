#!/bin/bash
set -e
export LOCAL=1 DELETED=1 REFUND=none GONE=1
python3 - <<'END'
import os, pathlib, re, sqlite3
flags = {k: os.environ[k] for k in ("LOCAL", "DELETED", "REFUND", "GONE")}
text = pathlib.Path("shop.sql").read_text()
db = sqlite3.connect(":memory:")
db.executescript(text)
shift = re.search(r"which is UTC([+-]\d+)", text)[1] + " hours" if flags["LOCAL"] == "1" else "0 hours"
alive = "s.deleted_at IS NULL" if flags["DELETED"] == "1" else "1"
kept = "s.deleted_at IS NULL" if flags["DELETED"] == "1" and flags["GONE"] == "1" else "1"
when = {"paid": "r.paid_at", "sold": "s.sold_at"}.get(flags["REFUND"])
query = f"SELECT strftime('%Y-%m', s.sold_at, '{shift}') m, s.cents c FROM sales s WHERE {alive}"
if when:
    query += (f" UNION ALL SELECT strftime('%Y-%m', {when}, '{shift}'), -r.cents FROM refunds r "
              f"JOIN sales s ON s.id = r.sale_id WHERE {kept}")
rows = db.execute(f"SELECT m, sum(c) FROM ({query}) GROUP BY m ORDER BY m").fetchall()
pathlib.Path("revenue.csv").write_text("month,cents\n" + "".join("%s,%d\n" % row for row in rows))
END
