"""Mending a reader of delimited text: quoting is plain, what else the dialect says must be read."""

from __future__ import annotations

from harness.models.simulated.skill import Fact, Skill

_DRAFT = r"""python3 - <<'END'
import pathlib, re
text = pathlib.Path("DIALECT.md").read_text()
d = re.search(r"separated by `(.)`", text)[1]
q = re.search(r"quoted with `(.)`", text)[1]
c = re.search(r"starts with `(.)`", text)[1]
flags = @FLAGS@
pathlib.Path("reader.py").write_text(f"D, Q, C = {d!r}, {q!r}, {c!r}\nFLAGS = {flags!r}\n" + '''

def parse(text):
    rows, row, field, quoted, was_quoted, at_start = [], [], "", False, False, True
    i = 0
    while i <= len(text):
        ch = text[i] if i < len(text) else None
        if quoted and ch is not None:
            if ch == Q and FLAGS["DOUBLED"] and text[i + 1 : i + 2] == Q:
                field += Q
                i += 1
            elif ch == Q:
                quoted = False
            elif ch == "\\n" and not FLAGS["NEWLINE"]:
                quoted = False
                continue
            else:
                field += ch
        elif at_start and FLAGS["COMMENT"] and ch == C:
            while i < len(text) and text[i] != "\\n":
                i += 1
        elif ch == Q and not field.strip() and not was_quoted:
            field, quoted, was_quoted, at_start = "", True, True, False
        elif ch == D or ch == "\\n" or ch is None:
            if not (at_start and not row and not field and ch != D):
                row.append(field.strip() if FLAGS["TRIM"] and not was_quoted else field)
            if ch != D:
                if row:
                    rows.append(row)
                row = []
            field, was_quoted, at_start = "", False, ch != D
        elif not was_quoted:
            field += ch
            at_start = False
        i += 1
    return rows
''')
END
python3 test_reader.py"""

_CHECK = r"""python3 - <<'END'
import pathlib, re, sys
sys.path.insert(0, ".")
from reader import parse
text = pathlib.Path("DIALECT.md").read_text()
d, q, c = (re.search(p, text)[1] for p in (r"separated by `(.)`", r"quoted with `(.)`", r"starts with `(.)`"))
found = []
def differs(given, wanted):
    try:
        return parse(given) != wanted
    except Exception:
        return True
if differs(q + "a" + q + q + "b" + q + d + "1\n", [["a" + q + "b", "1"]]):
    found.append("doubled quotes come out wrong")
if differs(c + " x\n1" + d + "2\n", [["1", "2"]]):
    found.append("a comment line yields a record")
if differs(" a " + d + "b\n", [["a", "b"]]):
    found.append("blanks around an unquoted field are kept")
print("\n".join(found) or "all good")
END"""


def draft(known: frozenset[str]) -> str:
    """The reader rewritten, honouring the known facts."""
    flags = {"DOUBLED": "doubled", "COMMENT": "comment", "TRIM": "trim"}
    return _DRAFT.replace("@FLAGS@", repr({**{flag: fact in known for flag, fact in flags.items()}, "NEWLINE": True}))


SKILL = Skill(
    name="delimited text",
    words=("parse", "dialect"),
    look="ls; cat reader.py",
    sources=("cat DIALECT.md", "cat test_reader.py"),
    facts=(
        Fact("newline", obvious=True),
        Fact("doubled", sign=r"doubled `|doubled quotes"),
        Fact("comment", sign=r"is a comment|comment line"),
        Fact("trim", sign=r"blanks around an unquoted"),
    ),
    draft=draft,
    check=_CHECK,
)
