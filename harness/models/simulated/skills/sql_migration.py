"""A migration up and down: the change is in the ticket, what must survive it is in the house rules."""

from __future__ import annotations

from harness.models.simulated.skill import Fact, Skill

_READ = r"""t=$(sed -n 's/In the table \(.*\):/\1/p' TICKET.md)
c=$(sed -n 's/.*Add a column \([a-z]*\) of.*/\1/p' TICKET.md)
v=$(sed -n "s/.*already get '\([a-z0-9]*\)'.*/\1/p" TICKET.md)
e=$(sed -n 's/.*The column \([a-z]*\) may.*/\1/p' TICKET.md)
"""
_UP = """cat > up.sql <<SQL
BEGIN;
@KEPT@CREATE TABLE _new (id INTEGER PRIMARY KEY, name TEXT NOT NULL, $e TEXT NOT NULL, score INTEGER, $c TEXT DEFAULT '$v');
INSERT INTO _new (id, name, $e, score) SELECT id, name, coalesce($e, ''), score FROM $t;
DROP TABLE $t;
ALTER TABLE _new RENAME TO $t;
COMMIT;
SQL
"""
_DOWN = """cat > down.sql <<SQL
BEGIN;
CREATE TABLE _old (id INTEGER PRIMARY KEY, name TEXT NOT NULL, $e TEXT, score INTEGER);
INSERT INTO _old SELECT id, name, @BACK@, score FROM @FROM@;
DROP TABLE $t;
ALTER TABLE _old RENAME TO $t;
@DROP@COMMIT;
SQL
"""

_CHECK = r"""python3 - <<'END'
import pathlib, re, sqlite3
table = re.search(r"CREATE TABLE (\w+)", pathlib.Path("schema.sql").read_text())[1]
db = sqlite3.connect(":memory:", isolation_level=None)
db.executescript(pathlib.Path("schema.sql").read_text())
db.execute("INSERT INTO %s VALUES (1, 'a', NULL, 1)" % table)
before = db.execute("SELECT * FROM %s" % table).fetchall()
db.executescript(pathlib.Path("up.sql").read_text())
names = [c[1] for c in db.execute("PRAGMA table_info(%s)" % table)]
db.execute("INSERT INTO %s (id, name, %s) VALUES (2, 'b', 'x')" % (table, names[2]))
db.executescript(pathlib.Path("down.sql").read_text())
after = db.execute("SELECT * FROM %s ORDER BY id" % table).fetchall()
found = []
if after[:1] != before:
    found.append("after up and down a NULL has become %r: the data are not the same as before" % (after[0][2],))
if len(after) < 2:
    found.append("a row that came in between is gone")
print("\n".join(found) or "all good")
END"""


def draft(known: frozenset[str]) -> str:
    """Both scripts, honouring the known facts. Without `between`, down restores the rows as up found them."""
    if "between" in known:
        keep = "SELECT id FROM $t WHERE $e IS NULL" if "nulls" in known else ""
        back = "CASE WHEN id IN (SELECT id FROM _kept_$t) AND $e = '' THEN NULL ELSE $e END" if keep else "$e"
    else:
        keep, back = "SELECT * FROM $t", "$e" if "nulls" in known else "coalesce($e, '')"
    up = _UP.replace("@KEPT@", f"CREATE TABLE _kept_$t AS {keep};\n" if keep else "")
    down = _DOWN.replace("@BACK@", back).replace("@FROM@", "$t" if "between" in known else "_kept_$t")
    return _READ + up + down.replace("@DROP@", "DROP TABLE _kept_$t;\n" if keep else "")


SKILL = Skill(
    name="sql migration",
    words=("migration", "up.sql", "down.sql"),
    look="ls; cat TICKET.md schema.sql",
    sources=("cat docs/*.md",),
    facts=(
        Fact("change", obvious=True),
        Fact("nulls", sign=r"NULLs included|a NULL has become"),
        Fact("between", sign=r"came in between"),
    ),
    draft=draft,
    check=_CHECK,
)
