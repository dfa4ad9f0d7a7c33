#!/bin/bash
set -e
export DOUBLED=1 COMMENT=1 TRIM=0 NEWLINE=1
python3 - <<'END'
import os, pathlib, re
text = pathlib.Path("DIALECT.md").read_text()
d = re.search(r"separated by `(.)`", text)[1]
q = re.search(r"quoted with `(.)`", text)[1]
c = re.search(r"starts with `(.)`", text)[1]
flags = {name: os.environ[name] == "1" for name in ("DOUBLED", "COMMENT", "TRIM", "NEWLINE")}
pathlib.Path("reader.py").write_text(f"D, Q, C = {d!r}, {q!r}, {c!r}\nFLAGS = {flags!r}\n" + """

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
""")
END
