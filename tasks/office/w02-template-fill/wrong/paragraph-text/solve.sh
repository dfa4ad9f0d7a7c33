#!/bin/bash
set -e
python3 - <<'END'
import json, pathlib, re
import docx
values = json.loads(pathlib.Path("values.json").read_text())
on = {'SPLIT': True, 'OPTIONAL': True, 'FOOTER': True}
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
        paragraph.text = re.sub(re.escape(match[0]), lambda m: value, paragraph.text)
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
END
