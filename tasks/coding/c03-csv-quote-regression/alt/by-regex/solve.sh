#!/bin/bash
set -e
python3 - <<'END'
import pathlib, re
text = pathlib.Path("DIALECT.md").read_text()
d = re.search(r"separated by `(.)`", text)[1]
q = re.search(r"quoted with `(.)`", text)[1]
c = re.search(r"starts with `(.)`", text)[1]
pathlib.Path("reader.py").write_text(f"D, Q, C = {d!r}, {q!r}, {c!r}\n" + """
import re

FIELD = re.compile(
    r"[ \\t]*%(q)s((?:[^%(q)s]|%(q)s%(q)s)*)%(q)s[ \\t]*(?=%(d)s|\\n|$)|([^%(d)s\\n]*)" % {"q": re.escape(Q), "d": re.escape(D)})


def parse(text):
    rows, at = [], 0
    while at < len(text):
        if text[at] == "\\n":
            at += 1
            continue
        if text[at] == C:
            end = text.find("\\n", at)
            at = len(text) if end < 0 else end + 1
            continue
        row = []
        while True:
            found = FIELD.match(text, at)
            row.append(found[1].replace(Q + Q, Q) if found[1] is not None else found[2].strip())
            at = found.end()
            if text[at : at + 1] != D:
                break
            at += 1
        at += 1
        rows.append(row)
    return rows
""")
END
