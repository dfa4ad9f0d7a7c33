#!/bin/bash
set -e
python3 - <<'END'
import json, pathlib, re, zipfile
from lxml import etree
W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
values = json.loads(pathlib.Path("values.json").read_text())
def fill(data):
    root = etree.fromstring(data)
    for p in list(root.iter(W + "p")):
        texts = list(p.iter(W + "t"))
        chars = [(t, ch) for t in texts for ch in (t.text or "")]
        whole = "".join(ch for _, ch in chars)
        new = {t: "" for t in texts}
        at, drop = 0, False
        for m in re.finditer(r"\{\{(\w+)\}\}", whole):
            drop = drop or values[m[1]] is None
            for t, ch in chars[at : m.start()]:
                new[t] += ch
            new[chars[m.start()][0]] += values[m[1]] or ""
            at = m.end()
        for t, ch in chars[at:]:
            new[t] += ch
        if drop:
            p.getparent().remove(p)
        else:
            for t, text in new.items():
                t.text = text
                t.set("{http://www.w3.org/XML/1998/namespace}space", "preserve")
    return etree.tostring(root, xml_declaration=True, encoding="UTF-8", standalone=True)
with zipfile.ZipFile("template.docx") as source, zipfile.ZipFile("letter.docx", "w", zipfile.ZIP_DEFLATED) as target:
    for name in source.namelist():
        data = source.read(name)
        target.writestr(name, fill(data) if re.fullmatch(r"word/(document|footer\d*|header\d*)\.xml", name) else data)
END
