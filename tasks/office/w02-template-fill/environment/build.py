"""Instances of w02: a letter template whose placeholders are split over runs, in a table and in the footer."""

import argparse
import io
import json
import pathlib
import random
import re
import zipfile

import docx

CLIENTS = ["Alder & Sons", "Brook Ltd", "Cole Works", "Dane GmbH", "Ebner OHG", "Frost SARL"]
CITIES = ["Bonn", "Lyon", "Graz", "Turku", "Leeds"]
PEOPLE = ["Ida Holm", "Jonas Reil", "Mara Quint", "Tom Vale", "Nora Beck"]

NOTES = """# How our templates are filled

values.json holds one value per placeholder; the name stands between double braces in the template.

- A value takes on the formatting of the first character of its placeholder. Text around it keeps its own.
- A placeholder whose value is null goes, together with the whole paragraph that it stands in.
- Placeholders stand in the text, in tables, and in the header or footer. When a letter leaves the house there is none left.
- Nothing else in the document changes.
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


def runs(paragraph, *pieces):
    """Add runs: (text, bold, italic)."""
    for text, bold, italic in pieces:
        run = paragraph.add_run(text)
        run.bold, run.italic = bold or None, italic or None


def build(seed):
    rng = random.Random(f"w02:{seed}")
    values = {"client": rng.choice(CLIENTS), "city": rng.choice(CITIES), "amount": f"{rng.randrange(100, 9000)}.{rng.randrange(100):02d}",
              "due": f"2026-{rng.randrange(1, 13):02d}-{rng.randrange(1, 28):02d}", "contact": rng.choice(PEOPLE),
              "order": f"{rng.choice('ABCD')}-{rng.randrange(1000, 9999)}"}
    optional = ["discount", "remark", "delivery"]
    rng.shuffle(optional)
    gone, kept = optional[: rng.randrange(1, 3)], optional
    for name in optional:
        values[name] = None if name in gone else f"{rng.randrange(2, 30)} {rng.choice(['percent', 'days', 'pieces'])}"
    book = docx.Document()
    book.add_heading("Your order {{order}}", level=1)
    p = book.add_paragraph()
    runs(p, ("Dear ", False, False), ("{{cli", True, False), ("ent}}", True, False), (" in ", False, True), ("{", False, False),
         ("{city}", False, False), ("}, thank you.", False, False))
    p = book.add_paragraph()
    runs(p, ("Please pay ", False, False), ("{{amount", True, True), ("}}", False, False), (" by ", False, False), ("{{due}}", False, False),
         (" and not later; until {{due}} we hold the goods.", False, False))
    for name in kept:
        p = book.add_paragraph(style="List Bullet")
        runs(p, (f"{name}: ", True, False), ("{{" + name[:3], False, True), (name[3:] + "}}", False, False))
    table = book.add_table(rows=2, cols=2)
    table.cell(0, 0).text, table.cell(0, 1).text = "order", "sum"
    table.cell(1, 0).text = "{{order}}"
    runs(table.cell(1, 1).paragraphs[0], ("{{", False, False), ("amount}}", False, False), (" EUR", True, False))
    book.add_paragraph("Prices like {this} or in [[double]] brackets are examples and stay.")
    footer = book.sections[0].footer.paragraphs[0]
    runs(footer, ("Questions? ", False, False), ("{{con", False, True), ("tact}}", False, True))
    buffer = io.BytesIO()
    book.save(buffer)
    raw = steady(buffer.getvalue())
    files = {"template.docx": raw, "values.json": (json.dumps(values, indent=2) + "\n").encode(), "NOTES.md": NOTES.encode()}
    return files, {"values.json": files["values.json"], "pristine.docx": raw}


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
