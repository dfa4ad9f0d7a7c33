"""Instances of x04: a workbook with rules of its own, and a request for two more."""

import argparse
import io
import json
import pathlib
import random
import re
import zipfile

import datetime

from openpyxl import Workbook
from openpyxl.comments import Comment
from openpyxl.formatting.rule import CellIsRule
from openpyxl.styles import Font, PatternFill
from openpyxl.worksheet.datavalidation import DataValidation

STATES = ["open", "paid", "late", "void", "asked", "split"]
NAMES = ["Alder", "Brook", "Cole", "Dane", "Ebner", "Frost", "Gray", "Hale", "Irwin", "Joss"]

REQUEST = """Hello,

two things for the workbook {file}, sheet {sheet}:

1. The column status (D) shall offer a dropdown with exactly the states on the sheet Lists, in the rows of the data and in
   the {spare} rows below the last one, where people add more. The heading is no data. Nothing else may be typed there.
2. An amount (C) of {limit} {bound} shall stand out: fill the cell with the colour FFC7CE, in the rows of the data, and it
   must follow when an amount is changed later. The data go on below the blank row.

There are rules in the sheet already; they stay, and so does everything else.

Thank you
"""

def steady(data):
    """The same zip with fixed times: equal bytes on every run."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as target:
        for name in sorted(source.namelist()):
            content = source.read(name)
            if name == "docProps/core.xml":
                content = re.sub(rb"(<dcterms:(created|modified)[^>]*>)[^<]*", rb"\g<1>2026-01-01T00:00:00Z", content)
            target.writestr(zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0)), content)
    return out.getvalue()


def build(seed):
    rng = random.Random(f"x04:{seed}")
    states = rng.sample(STATES, rng.randrange(3, 6))
    sheet, limit = rng.choice(["Data", "Ledger", "Items"]), rng.randrange(20, 90) * 10
    bound = rng.choice(["or more", "or less"])
    spare, rows = rng.randrange(20, 60), rng.randrange(24, 40)
    blank = rng.randrange(10, 18)
    book = Workbook()
    data = book.active
    data.title = sheet
    data.append(["id", "name", "amount", "status", "due"])
    for row in range(2, rows + 1):
        if row == blank:
            continue
        amount = limit if row in (5, blank + 3) else rng.randrange(1, 120) * 10 - (200 if rng.random() < 0.1 else 0)
        values = [1000 + row, rng.choice(NAMES), amount, rng.choice(states), datetime.date(2026, rng.randrange(1, 13), 15)]
        for column, value in enumerate(values, start=1):
            data.cell(row, column, value)
    for cell in data[1]:
        cell.font = Font(bold=True)
    data["B3"].comment = Comment("ask before you call", "office")
    data.freeze_panes = "A2"
    data.conditional_formatting.add(f"C2:C{rows}", CellIsRule(operator="lessThan", formula=["0"], font=Font(color="FF0000")))
    dates = DataValidation(type="date", operator="greaterThan", formula1="45000", allow_blank=True)
    dates.add(f"E2:E{rows}")
    data.add_data_validation(dates)
    lists = book.create_sheet("Lists")
    lists.append(["states"])
    for state in states:
        lists.append([state])
    summary = book.create_sheet("Summary")
    summary["A1"], summary["B1"] = "total", f"=SUM({sheet}!C2:C{rows})"
    summary["A1"].fill = PatternFill("solid", start_color="DDEBF7")
    buffer = io.BytesIO()
    book.save(buffer)
    file = rng.choice(["report", "overview", "register"]) + ".xlsx"
    raw = steady(buffer.getvalue())
    request = REQUEST.format(file=file, sheet=sheet, spare=spare, limit=limit, bound=bound)
    facts = {"file": file, "sheet": sheet, "states": states, "limit": limit, "more": bound == "or more", "spare": spare,
             "rows": rows, "blank": blank}
    return {file: raw, "REQUEST.md": request.encode()}, {"expected.json": (json.dumps(facts) + "\n").encode(), "pristine.xlsx": raw}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    arguments = parser.parse_args()
    for folder, made in zip(("files", "instance"), build(arguments.seed)):
        for name, data in made.items():
            target = arguments.out / folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)


if __name__ == "__main__":
    main()
