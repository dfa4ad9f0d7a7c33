"""c20: both scripts, run out of process against a database in memory; what they leave is compared."""

import json
import sys

sys.path.insert(0, "/tests")

import grading

expected = json.loads((grading.INSTANCE / "expected.json").read_text())
report = grading.Report()
DRIVER = r"""
import json, sqlite3, sys
given = json.load(sys.stdin)
table, extra = given["table"], given["extra"]
db = sqlite3.connect(":memory:", isolation_level=None)
db.executescript(given["schema"])
db.executemany("INSERT INTO %s VALUES (?, ?, ?, ?)" % table, given["rows"])
out = {}
def columns():
    return [[c[1], c[2].upper(), c[3]] for c in db.execute("PRAGMA table_info(%s)" % table)]
def rows(names):
    return [list(r) for r in db.execute("SELECT %s FROM %s ORDER BY id" % (", ".join(names), table))]
def attempt(key, action):
    try:
        out[key] = action()
    except sqlite3.Error as error:
        out[key] = {"error": str(error)}
attempt("up", lambda: db.executescript(given["up"]) and None)
attempt("columns_up", columns)
attempt("rows_up", lambda: rows(["id", "name", extra, "score", given["column"]]))
attempt("new_row", lambda: db.execute("INSERT INTO %s (id, name, %s) VALUES (900, 'new', 'e')" % (table, extra)) and
        db.execute("SELECT %s FROM %s WHERE id = 900" % (given["column"], table)).fetchone()[0])
attempt("null_refused", lambda: db.execute("INSERT INTO %s (id, name, %s) VALUES (901, 'n', NULL)" % (table, extra)) and None)
attempt("down", lambda: db.executescript(given["down"]) and None)
attempt("columns_down", columns)
attempt("rows_down", lambda: rows(["id", "name", extra, "score"]))
attempt("tables", lambda: sorted(r[0] for r in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")))
print(json.dumps(out))
"""
scripts = {}
with report.guard("readable"):
    scripts = {name: grading.read_text(grading.APP / f"{name}.sql") for name in ("up", "down")}
found = {}
if scripts:
    ran = grading.run([sys.executable, "-I", "-c", DRIVER], stdin=json.dumps({**expected, **scripts}), cwd="/tmp")
    with report.guard("runs"):
        found = ran.json()
        report.check("runs", found["up"] is None and found["down"] is None, f"{found['up']} {found['down']}")
rows, extra, value = expected["rows"], expected["extra"], expected["value"]
names = ["id", "name", extra, "score"]
report.check("column-added", sorted(c[0] for c in found.get("columns_up") or [] if isinstance(c, list)) == sorted([*names, expected["column"]]))
up_rows = found.get("rows_up") if isinstance(found.get("rows_up"), list) else []
report.check("default-on-rows", len(up_rows) == len(rows) and all(r[4] == value for r in up_rows), f"{up_rows[:2]}")
report.check("default-on-new", found.get("new_row") == value, f"{found.get('new_row')}")
report.check("null-becomes-empty", [r[:4] for r in up_rows] == [[i, n, e or "", s] for i, n, e, s in rows])
report.check("null-refused", isinstance(found.get("null_refused"), dict))
report.check("columns-restored", [c[:2] for c in found.get("columns_down") or [] if isinstance(c, list)] ==
             [["id", "INTEGER"], ["name", "TEXT"], [extra, "TEXT"], ["score", "INTEGER"]], f"{found.get('columns_down')}")
down_rows = found.get("rows_down") if isinstance(found.get("rows_down"), list) else []
report.check("rows-restored", [r for r in down_rows if r[0] < 900] == rows, f"{down_rows[:3]}")
report.check("new-rows-stay", [r for r in down_rows if r[0] == 900] == [[900, "new", "e", None]])
report.check("nothing-left", found.get("tables") == [expected["table"]], f"{found.get('tables')}")
report.finish()
