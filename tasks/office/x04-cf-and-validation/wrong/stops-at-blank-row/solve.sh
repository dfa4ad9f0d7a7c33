#!/bin/bash
set -e
python3 - <<'END'
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
on = {'ALL': False, 'KEEP': True, 'SPARE': True, 'EQUAL': True}
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
END
