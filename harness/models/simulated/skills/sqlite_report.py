"""A report from a database: the sums are easy, what counts and in which month is written in the schema."""

from __future__ import annotations

from harness.models.simulated.skill import Fact, Skill

_DRAFT = r"""python3 - <<'END'
import pathlib, re, sqlite3
flags = @FLAGS@
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
END"""

_CHECK = r"""python3 - <<'END'
import pathlib, sqlite3
rows = [l.split(",") for l in pathlib.Path("revenue.csv").read_text().split()][1:]
db = sqlite3.connect(":memory:")
db.executescript(pathlib.Path("shop.sql").read_text())
got = sum(int(c) for _, c in rows)
every = db.execute("SELECT sum(cents) FROM sales").fetchone()[0]
alive = db.execute("SELECT sum(cents) FROM sales WHERE deleted_at IS NULL").fetchone()[0]
back = db.execute("SELECT sum(cents) FROM refunds").fetchone()[0]
found = []
if got in (every, every - back):
    found.append("the sum counts sales that were removed (deleted_at is set)")
if got in (every, alive):
    found.append("money given back is not in it: a refund lowers the revenue of the month in which it was paid")
print("\n".join(found) or "all good")
END"""


def draft(known: frozenset[str]) -> str:
    """The report, honouring the known facts."""
    flags = {"LOCAL": str(int("local" in known)), "DELETED": str(int("deleted" in known)), "GONE": "1",
             "REFUND": "paid" if "refunds" in known else "sold"}  # fmt: skip
    return _DRAFT.replace("@FLAGS@", repr(flags))


SKILL = Skill(
    name="database report",
    words=("revenue", "dump"),
    look="ls -l; grep -c INSERT shop.sql; grep -o '^CREATE TABLE .*' shop.sql",
    sources=("sed -n '1,60p' shop.sql",),
    facts=(
        Fact("sums", obvious=True),
        Fact("local", sign=r"books are kept in local time", rule="units"),
        Fact("deleted", sign=r"count\s+nowhere|sales that were removed|deleted_at is set when"),
        Fact("refunds", sign=r"of the month in which it was paid"),
    ),
    draft=draft,
    check=_CHECK,
)
