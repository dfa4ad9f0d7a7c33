"""Writing a settings loader: the order is on the first page, the exceptions are not."""

from __future__ import annotations

from harness.models.simulated.skill import Fact, Skill

_DRAFT = r"""python3 - <<'END'
import pathlib, re
text = pathlib.Path("SETTINGS.md").read_text()
prefix = re.search(r"after `([A-Z]+_)`", text)[1]
pinned = re.search(r"area `([a-z]+)` are pinned", text)
rule = " and not name.startswith(%r)" % (pinned[1] + "_") if PINNED and pinned else ""
value = "value" if EMPTY else "value is not None"
pathlib.Path("settings.py").write_text(
    "def load(defaults, file_values, environ):\n    merged = {**defaults, **file_values}\n    for name in list(merged):\n"
    "        value = environ.get(%r + name.upper())\n        if %s%s:\n            merged[name] = value\n    return merged\n"
    % (prefix, value, rule))
END"""

_CHECK = r"""python3 - <<'END'
import pathlib, re, sys
sys.path.insert(0, ".")
from settings import load
prefix = re.search(r"after `([A-Z]+_)`", pathlib.Path("SETTINGS.md").read_text())[1]
found = []
if load({"a_b": "1"}, {"a_b": "2"}, {prefix + "A_B": "3"}) != {"a_b": "3"}:
    found.append("the environment does not override the file")
if load({"a_b": "1"}, {}, {prefix + "A_B": ""}) != {"a_b": "1"}:
    found.append("a variable that is set but empty overrides: is that meant?")
print("\n".join(found) or "all good")
END"""


def draft(known: frozenset[str]) -> str:
    """The loader, honouring the known facts."""
    return _DRAFT.replace("if PINNED", f"if {'pinned' in known}").replace("if EMPTY", f"if {'empty' in known}")


SKILL = Skill(
    name="settings loader",
    words=("settings", "`load`"),
    look="ls; head -20 SETTINGS.md; cat settings.py",
    sources=("cat SETTINGS.md",),
    facts=(
        Fact("order", obvious=True),
        Fact("pinned", sign=r"are pinned: the environment"),
        Fact("empty", sign=r"set but empty"),
    ),
    draft=draft,
    check=_CHECK,
)
