"""Rules in a workbook: adding them is quick, covering every row and keeping the ones that are there takes care."""

from __future__ import annotations

from harness.models.simulated.skill import Fact, Skill

_DRAFT = r"""python3 - <<'END'
import json, pathlib, re
from openpyxl import load_workbook
from openpyxl.formatting.formatting import ConditionalFormattingList
from openpyxl.formatting.rule import CellIsRule
from openpyxl.styles import PatternFill
from openpyxl.worksheet.datavalidation import DataValidation
text = pathlib.Path("REQUEST.md").read_text()
file, sheet = re.search(r"workbook (\S+), sheet (\w+):", text).groups()
spare = int(re.search(r"the (\d+) rows below", text)[1])
limit, bound = re.search(r"of (\d+) (or more|or less)", text).groups()
on = @FLAGS@
book = load_workbook(file)
ws = book[sheet]
last = ws.max_row if on["ALL"] else next(r for r in range(2, 999) if ws.cell(r, 1).value is None) - 1
if not on["KEEP"]:
    ws.conditional_formatting = ConditionalFormattingList()
states = book["Lists"].max_row
dropdown = DataValidation(type="list", formula1="=Lists!$A$2:$A$%d" % states, allow_blank=True, showErrorMessage=True)
dropdown.add("D2:D%d" % (last + (spare if on["SPARE"] else 0)))
ws.add_data_validation(dropdown)
operator = {"or more": "greaterThan", "or less": "lessThan"}[bound] + ("OrEqual" if on["EQUAL"] else "")
red = PatternFill(start_color="FFC7CE", end_color="FFC7CE", fill_type="solid")
ws.conditional_formatting.add("C2:C%d" % last, CellIsRule(operator=operator, formula=[limit], fill=red))
book.save("checked.xlsx")
END"""

_CHECK = r"""python3 - <<'END'
import glob
from openpyxl import load_workbook
old = [p for p in glob.glob("*.xlsx") if p != "checked.xlsx"][0]
before, now = load_workbook(old), load_workbook("checked.xlsx")
name = before.sheetnames[0]
a, b = before[name], now[name]
found = []
count = lambda sheet: sum(len(area.rules) for area in sheet.conditional_formatting)
if count(b) < count(a) + 1:
    found.append("a rule that was there is gone")
news = [area for area in b.conditional_formatting for rule in area.rules if rule.dxf and rule.dxf.fill]
if not any("C%d" % a.max_row in area.sqref for area in news):
    found.append("the data go on below the blank row, the new rule does not")
print("\n".join(found) or "all good")
END"""


def draft(known: frozenset[str]) -> str:
    """The workbook with its new rules, honouring the known facts."""
    flags = {"ALL": "range", "KEEP": "keep", "SPARE": "spare", "EQUAL": "bound"}
    return _DRAFT.replace("@FLAGS@", repr({flag: fact in known for flag, fact in flags.items()}))


SKILL = Skill(
    name="sheet rules",
    words=("workbook", "conditional formatting"),
    look="ls; head -4 REQUEST.md",
    sources=("cat REQUEST.md",),
    facts=(
        Fact("bound", obvious=True),
        Fact("spare", obvious=True),
        Fact("range", sign=r"data go on below the blank row"),
        Fact("keep", sign=r"they stay, and so does everything else|a rule that was there is gone", rule="preserve"),
    ),
    draft=draft,
    check=_CHECK,
)
