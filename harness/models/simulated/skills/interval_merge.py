"""Mending a function that merges time spans: what a gap is and what counts as empty stand in the specification."""

from __future__ import annotations

from harness.models.simulated.skill import Fact, Skill

_DRAFT = r"""module=$(ls *.py | grep -v '^test_' | head -1); python3 - "$module" <<'END'
import pathlib, re, sys
spec = pathlib.Path("SPEC.md").read_text()
gap = re.search(r"at most (\d+) minutes", spec)
join = "start < merged[-1][1]"
if GAP and gap:
    join = "start - merged[-1][1] <= " + gap.group(1)
source = "(s, e) for s, e in spans if e > s" if EMPTY else "spans"
pathlib.Path(sys.argv[1]).write_text(
    "# Merging of spans; see SPEC.md.\n\n\ndef merge(spans):\n    merged = []\n"
    "    for start, end in sorted(" + source + "):\n        if merged and " + join + ":\n"
    "            merged[-1] = (merged[-1][0], max(merged[-1][1], end))\n        else:\n"
    "            merged.append((start, end))\n    return merged\n")
END
python3 test_$module"""

_CHECK = r"""python3 - <<'END'
import importlib, pathlib, re, sys
sys.path.insert(0, ".")
name = [p.stem for p in pathlib.Path(".").glob("*.py") if not p.stem.startswith("test_")][0]
merge = importlib.import_module(name).merge
spec = pathlib.Path("SPEC.md").read_text()
gap = int((re.search(r"at most (\d+) minutes", spec) or [0, 0])[1])
found = []
if merge([(0, 10), (10 + gap, 50)]) != [(0, 50)]:
    found.append("not joined although the gap between them is at most %d minutes" % gap)
if "no length" in spec and merge([(5, 5)]) != []:
    found.append("a span of no length is kept")
print("\n".join(found) or "all good")
END"""


def draft(known: frozenset[str]) -> str:
    """The module rewritten, honouring the known facts."""
    return _DRAFT.replace("GAP and", f"{'gap' in known} and").replace("if EMPTY", f"if {'empty' in known}")


SKILL = Skill(
    name="interval merging",
    words=("merge", "span", "spec.md"),
    look="ls; head -5 *.py",
    sources=("cat SPEC.md", "cat *.py"),
    facts=(
        Fact("nested", obvious=True),
        Fact("gap", sign=r"gap between them is at most"),
        Fact("empty", sign=r"of no length is (dropped|kept)"),
    ),
    draft=draft,
    check=_CHECK,
)
