"""Money: exact decimals are habit by now; when and how to round is what the accounting rules say.

No self-check shows it: only the rules tell. A worker that has not taken them in rounds as its last employer did, which is
never as this one does.
"""

from __future__ import annotations

from harness.models.simulated.skill import Fact, Skill

_DRAFT = r"""python3 - <<'END'
import pathlib
rules = pathlib.Path("docs/ACCOUNTING.md").read_text()
by_line, even = "Each line is rounded" in rules, "even cent" in rules
by_line, even = by_line if SCOPE else not by_line, even if MODE else not even
pathlib.Path("invoice.py").write_text('''
from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal


def cents(value):
    return value.quantize(Decimal("0.01"), rounding=%s)


def total(lines, tax):
    amounts = [Decimal(q) * Decimal(p) for q, p in lines]
    if %r:
        base = sum(map(cents, amounts), Decimal(0))
        return str(base + cents(base * Decimal(tax) / 100))
    return str(cents(sum(amounts, Decimal(0)) * (1 + Decimal(tax) / 100)))
''' % ("ROUND_HALF_EVEN" if even else "ROUND_HALF_UP", by_line))
END
python3 test_invoice.py"""

_CHECK = r"""python3 - <<'END'
import sys
sys.path.insert(0, ".")
from invoice import total
odd = [case for case in ([["1", "0.10"], ["2", "0.20"]], [["3", "1.10"]]) if total(case, "0") not in ("0.50", "3.30")]
print("\n".join("%s comes to something odd" % case for case in odd) or "all good")
END"""


def draft(known: frozenset[str]) -> str:
    """The module, honouring the known facts."""
    return _DRAFT.replace("if SCOPE", f"if {'scope' in known}").replace("if MODE", f"if {'mode' in known}")


SKILL = Skill(
    name="money rounding",
    words=("invoice", "cent"),
    look="ls; cat invoice.py test_invoice.py",
    sources=("cat README.md", "cat docs/*.md"),
    facts=(
        Fact("decimal", obvious=True),
        Fact("scope", sign=r"each line is rounded to cents|rounded once"),
        Fact("mode", sign=r"half cent is rounded"),
    ),
    draft=draft,
    check=_CHECK,
)
