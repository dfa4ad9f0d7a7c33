"""w02: text and formatting of the letter, run by run, against the template filled by the rules."""

import json
import re
import sys
import zipfile
from xml.etree import ElementTree

sys.path.insert(0, "/tests")

import grading

W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
values = json.loads((grading.INSTANCE / "values.json").read_text())
report = grading.Report()


def parts_of(path):
    """XML parts of a document by name; refuses what is too large or has a document type."""
    with zipfile.ZipFile(path) as package:
        if sum(i.file_size for i in package.infolist()) > 20 << 20:
            raise ValueError("too large")
        parts = {name: package.read(name) for name in package.namelist()}
    if any(b"<!DOCTYPE" in data for name, data in parts.items() if name.endswith(".xml")):
        raise ValueError("a document type")
    return parts


def paragraphs(data):
    """Each paragraph as (style, [(character, bold, italic)])."""
    found = []
    for p in ElementTree.fromstring(data).iter(W + "p"):
        style = p.find(f"{W}pPr/{W}pStyle")
        characters = []
        for run in p.iter(W + "r"):
            look = tuple(run.find(f"{W}rPr/{W}{tag}") is not None for tag in "bi")
            characters += [(ch, *look) for t in run.iter(W + "t") for ch in (t.text or "")]
        found.append((style.get(W + "val") if style is not None else "", characters))
    return found


def filled(paragraph):
    """The paragraph by the rules, or None when it goes."""
    style, characters = paragraph
    text = "".join(ch for ch, _, _ in characters)
    out, at = [], 0
    for match in re.finditer(r"\{\{(\w+)\}\}", text):
        value = values[match[1]]
        if value is None:
            return None
        out += characters[at : match.start()]
        out += [(ch, *characters[match.start()][1:]) for ch in value]
        at = match.end()
    return style, out + characters[at:]


def text(found):
    return ["".join(ch for ch, _, _ in characters) for _, characters in found]


before = parts_of(grading.INSTANCE / "pristine.docx")
after = {}
with report.guard("opens"):
    path = grading.APP / "letter.docx"
    if path.is_symlink() or not path.is_file():
        raise FileNotFoundError(str(path))
    after = parts_of(path)
checks = {"word/document.xml": ("text", "formatting"), "footer": ("footer", "footer-formatting")}
for name, data in before.items():
    kind = "footer" if re.fullmatch(r"word/footer\d*\.xml", name) else name
    if kind not in checks or name not in after:
        continue
    wording, look = checks[kind]
    with report.guard(wording):
        wanted = [p for p in map(filled, paragraphs(data)) if p is not None]
        got = paragraphs(after[name])
        joined = "\n".join(text(got))
        report.check("no-placeholder-left", not re.search(r"\{\{\w+\}\}", joined), joined[:300])
        report.check("optional-gone", not any(f"{n}: " in joined for n, v in values.items() if v is None), joined[:300])
        report.check(wording, text(got) == text(wanted), joined[:400])
        report.check(look, got == wanted)
report.check("opens", "word/document.xml" in after)
for name in ("word/styles.xml", "word/numbering.xml"):
    if after:
        with report.guard("styles-kept"):
            same = ElementTree.canonicalize(after.get(name, b"<x/>")) == ElementTree.canonicalize(before[name])
            report.check("styles-kept", same, name)
report.finish()
