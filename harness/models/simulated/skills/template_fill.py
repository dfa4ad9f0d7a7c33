"""Filling a document template: a placeholder is seldom one run, and seldom only in the body."""

from __future__ import annotations

from harness.models.simulated.skill import Fact, Skill

_DRAFT = r"""python3 - <<'END'
import json, pathlib, re
import docx
values = json.loads(pathlib.Path("values.json").read_text())
on = @FLAGS@
book = docx.Document("template.docx")
def fill(paragraph):
    text = "".join(run.text for run in paragraph.runs)
    for match in reversed(list(re.finditer(r"\{\{(\w+)\}\}", text))):
        value = values[match[1]]
        if value is None:
            if on["OPTIONAL"]:
                paragraph._p.getparent().remove(paragraph._p)
                return
            value = ""
        if not on["SPLIT"]:
            for run in paragraph.runs:
                run.text = run.text.replace(match[0], value)
            continue
        at, first = 0, True
        for run in paragraph.runs:
            begin, end = at, at + len(run.text)
            at = end
            low, high = max(begin, match.start()), min(end, match.end())
            if low < high:
                piece = value if first else ""
                run.text = run.text[: low - begin] + piece + run.text[high - begin :]
                first = False
places = list(book.paragraphs)
places += [p for table in book.tables for row in table.rows for cell in row.cells for p in cell.paragraphs]
if on["FOOTER"]:
    places += [p for section in book.sections for part in (section.header, section.footer) for p in part.paragraphs]
for paragraph in places:
    fill(paragraph)
book.save("letter.docx")
END"""

_CHECK = r"""python3 - <<'END'
import docx, json, pathlib
book = docx.Document("letter.docx")
values = json.loads(pathlib.Path("values.json").read_text())
body = [p.text for p in book.paragraphs]
cells = [c.text for t in book.tables for r in t.rows for c in r.cells]
foot = [p.text for s in book.sections for p in s.footer.paragraphs]
found = ["placeholder left in the text (split over runs?): " + t for t in body + cells if "{{" in t]
found += ["placeholder left in the footer: " + t for t in foot if "{{" in t]
found += ["a paragraph without a value is still there: " + t for t in body for n, v in values.items() if v is None and t.startswith(n + ":")]
print("\n".join(found) or "all good")
END"""


def draft(known: frozenset[str]) -> str:
    """The letter, honouring the known facts."""
    flags = {"SPLIT": "split", "OPTIONAL": "optional", "FOOTER": "footer"}
    return _DRAFT.replace("@FLAGS@", repr({flag: fact in known for flag, fact in flags.items()}))


SKILL = Skill(
    name="template filling",
    words=("template", "letter"),
    look="ls; cat values.json",
    sources=("cat NOTES.md",),
    facts=(
        Fact("values", obvious=True),
        Fact("split", sign=r"split over runs"),
        Fact("footer", sign=r"in the header or footer|left in the footer"),
        Fact("optional", sign=r"together with the whole paragraph|without a value is still there"),
    ),
    draft=draft,
    check=_CHECK,
)
