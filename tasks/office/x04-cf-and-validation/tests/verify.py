"""x04: the effect of the rules cell by cell, and that all else is as it was."""

import json
import re
import sys
import zipfile

sys.path.insert(0, "/tests")

import grading

from openpyxl import load_workbook

expected = json.loads((grading.INSTANCE / "expected.json").read_text())
report = grading.Report()


def fills(rules, value, row):
    """Whether one of the rules fills a cell that holds `value`: cellIs with numbers, or a comparison as an expression."""
    for cells, rule in rules:
        operator, number = rule.operator, (rule.formula or [""])[0]
        if rule.type == "expression":
            found = re.fullmatch(r"\$?C\$?(\d+)\s*(>=|<=|>|<)\s*(-?[\d.]+)", number.replace("AND(ISNUMBER($C2),", "").strip("() "))
            if not found or int(found[1]) != min(r.min_row for r in cells.sqref.ranges):
                continue
            operator = {">=": "greaterThanOrEqual", "<=": "lessThanOrEqual", ">": "greaterThan", "<": "lessThan"}[found[2]]
            number = found[3]
        colour = rule.dxf and rule.dxf.fill and (rule.dxf.fill.bgColor.rgb or rule.dxf.fill.fgColor.rgb)
        if not colour or not str(colour).endswith("FFC7CE") or not any(r.min_row <= row <= r.max_row and r.min_col <= 3 <= r.max_col for r in cells.sqref.ranges):
            continue
        try:
            limit = float(number)
        except ValueError:
            continue
        tests = {"greaterThanOrEqual": value >= limit, "lessThanOrEqual": value <= limit, "greaterThan": value > limit, "lessThan": value < limit}
        if tests.get(operator):
            return True
    return False


def allowed(book, formula):
    """The values of a list validation: written out, or a range of a sheet."""
    found = re.fullmatch(r"=?'?(\w+)'?!\$?([A-Z]+)\$?(\d+):\$?([A-Z]+)\$?(\d+)", formula or "")
    if found:
        return [str(c.value) for row in book[found[1]][f"{found[2]}{found[3]}:{found[4]}{found[5]}"] for c in row]
    return (formula or "").strip('"').split(",")


def cells(book):
    return {(s.title, c.coordinate): (c.value, c.number_format, c.font.b, c.fill.start_color.rgb if c.fill.fill_type else None,
                                      c.comment.text if c.comment else None)
            for s in book for row in s.iter_rows() for c in row if c.value is not None or c.comment}


book = None
with report.guard("opens"):
    path = grading.APP / "checked.xlsx"
    grading.read_text(path, 4 << 20) if path.is_symlink() or not path.is_file() else None
    with zipfile.ZipFile(path) as package:
        if sum(i.file_size for i in package.infolist()) > 20 << 20:
            raise ValueError("too large")
    book = load_workbook(path)
before = load_workbook(grading.INSTANCE / "pristine.xlsx")
if book is not None and expected["sheet"] in book.sheetnames:
    sheet, last = book[expected["sheet"]], expected["rows"]
    lists = [v for v in sheet.data_validations.dataValidation if v.type == "list"]
    with report.guard("dropdown"):
        rows = range(2, last + expected["spare"] + 1)
        fitting = [v for v in lists if allowed(book, v.formula1) == expected["states"] and v.showErrorMessage is not False]
        covered = [any(f"D{row}" in v.sqref for v in fitting) for row in rows]
        report.check("dropdown-data", all(covered[: last - 1]), "rows of data without the dropdown")
        report.check("dropdown-spare", all(covered[last - 1 :]), "rows below without the dropdown")
        report.check("dropdown-only-there", not any("D1" in v.sqref for v in lists) and len(fitting) == len(lists))
    with report.guard("highlight"):
        rules = [(area, rule) for area in sheet.conditional_formatting for rule in area.rules]
        numbers = [(row, sheet.cell(row, 3).value) for row in range(2, last + 1) if row != expected["blank"]]
        wanted = {row: (v >= expected["limit"]) if expected["more"] else (v <= expected["limit"]) for row, v in numbers}
        got = {row: fills(rules, v, row) for row, v in numbers}
        top = [r for r in got if r < expected["blank"] and r != 5]
        report.check("highlight", all(got[r] == wanted[r] for r in top), "cells above the blank row")
        report.check("highlight-boundary", got[5] == wanted[5], "an amount that is the limit")
        report.check("highlight-all-rows", all(got[r] == wanted[r] for r in got if r > expected["blank"]), "cells below the blank row")
        direct = [c for row in sheet.iter_rows(min_row=2, min_col=3, max_col=3) for c in row if c.fill.fill_type]
        report.check("highlight-live", not direct, "cells were filled directly")
    with report.guard("kept"):
        old = [(str(a.sqref), r.type, r.operator, r.formula) for a in before[expected["sheet"]].conditional_formatting for r in a.rules]
        now = [(str(a.sqref), r.type, r.operator, r.formula) for a in sheet.conditional_formatting for r in a.rules]
        report.check("old-rules-kept", all(rule in now for rule in old), f"{now}")
        report.check("old-validation-kept", any(v.type == "date" for v in sheet.data_validations.dataValidation))
        report.check("cells-kept", cells(book) == cells(before) and book.sheetnames == before.sheetnames, "cells differ")
        report.check("view-kept", sheet.freeze_panes == "A2")
else:
    report.check("opens", False, "no workbook, or the sheet is gone")
report.finish()
