"""The skill library: one module per kind of task, each with a SKILL. It never looks at tasks/ or evals/."""

from __future__ import annotations

import importlib
import pkgutil
from functools import lru_cache

from harness.models.simulated.skill import Skill


@lru_cache(maxsize=1)
def all_skills() -> tuple[Skill, ...]:
    """Every skill, by module name."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return tuple(importlib.import_module(f"{__name__}.{name}").SKILL for name in names)


@lru_cache(maxsize=256)
def find_skill(text: str) -> Skill | None:
    """The skill whose words all occur in the task's text; the one with the most words when several do."""
    lowered = text.lower()
    fitting = [skill for skill in all_skills() if all(word in lowered for word in skill.words)]
    return max(fitting, key=lambda skill: len(skill.words), default=None)
