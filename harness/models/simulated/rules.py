"""General working rules that a scaffold may state, recognised by what they say; and how salient each is.

A rule counts wherever the system prompt carries it: prompt, memory, a loaded skill. Salience falls with the length of
the prompt, in its middle, with many rules, and against a contradicting one.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

_NEAR = r"[^.\n]{0,90}"
PATTERNS = {
    "read": rf"\bread\b{_NEAR}\b(specs?|specifications?|documents?|manuals?|docs?|notes?|readme|files?|sources?|instructions?)\b{_NEAR}"
            rf"\b(in full|whole|fully|completely|entire|entirely|to the end|before|first)\b",
    "verify": rf"\b(check|verify|test|validate)\b{_NEAR}\b(result|results|work|output|answer|edit|change|it)\b{_NEAR}"
              rf"|\bbefore (you )?(finish|finishing|answer|answering|submit|submitting)\b{_NEAR}\b(check|verify|test|run)\b",
    "page": rf"\b(cut off|truncated|left out|too long|long output)\b{_NEAR}\b(rest|page|pages|remaining|remainder|tail|pieces|sed)\b"
            rf"|\bpage through\b",
    "norepeat": rf"\b(never|do not|don't|not)\b{_NEAR}\b(repeat|again|twice)\b{_NEAR}\b(command|call|check|action)\b"
                rf"|\b(never|do not|don't) repeat\b",
    "preserve": r"\b(change|edit|touch|modify) only\b|\b(keep|leave) (everything|all) else\b|\bminimal (edit|change)s?\b",
    "siblings": rf"\bsame (bug|defect|mistake|pattern|error)\b{_NEAR}\b(elsewhere|other|sibling|siblings|places)\b",
    "inventory": rf"\b(list|find|inventory|enumerate)\b{_NEAR}\b(every|all|hidden|compressed|archived?)\b{_NEAR}"
                 rf"\b(files?|inputs?|sources?|archives?)\b",
    "units": r"\b(units?|time ?zones?|utc offsets?|number formats?|locales?|encodings?)\b",
    "plan": rf"\b(write|make|state|draw up)\b{_NEAR}\bplan\b{_NEAR}|\bplan (each|every) step\b",
    "hurry": r"\b(as (quickly|fast) as (you can|possible)|in as few steps|waste no steps?|without checking|answer at once)\b",
    "restart": r"\b(start over|from scratch|throw (it|your work) away)\b",
}  # fmt: skip
"""What each rule looks like. `plan` only costs; `hurry` and `restart` hurt."""

_COMPILED = {name: re.compile(pattern, re.IGNORECASE) for name, pattern in PATTERNS.items()}
COMFORTABLE_WORDS = 220
"""Up to so many words a system prompt is taken in whole."""
COMFORTABLE_RULES = 7


@dataclass(frozen=True)
class Rules:
    """Salience, 0..1, of each rule that a system prompt states."""

    salience: dict[str, float]

    def of(self, name: str) -> float:
        """0 when the rule is not stated."""
        return self.salience.get(name, 0.0)


def read_rules(system: str) -> Rules:
    """The rules of a system prompt."""
    words = len(system.split())
    length = 1.0 if words <= COMFORTABLE_WORDS else 1.0 / (1.0 + (words - COMFORTABLE_WORDS) / 260.0)
    found = {name: match.start() for name, pattern in _COMPILED.items() if (match := pattern.search(system))}
    crowd = min(1.0, COMFORTABLE_RULES / max(1, len(found)))
    salience = {}
    for name, start in found.items():
        middle = 1.0 - 0.12 * math.sin(math.pi * start / max(1, len(system)))
        salience[name] = length * crowd * middle
    if "hurry" in salience:
        for name in ("read", "verify", "page", "inventory"):
            if name in salience:
                salience[name] *= 0.45
    return Rules(salience)
