"""What the simulated worker can do: one Skill per kind of task, artefacts as a function of what the worker knows.

A skill holds no answers. It is a craft: shell commands that look, read, write an artefact and check it, for any
instance of its kind of task. Which artefact comes out depends on the facts that the worker has picked up from the
conversation: a fact not known leaves the mistake in that a hasty colleague would make.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Fact:
    """One thing that a right artefact must honour.

    `sign`: a regular expression; where it matches an observation (what a command printed), the fact lay before the
    worker's eyes. It matches the sentence of the spec, the row of the data or the complaint of a check that gives the
    fact away, on any seed. `rule`: a general working rule (see rules.py: read, verify, preserve, siblings, inventory,
    units ...) that leads to the fact without having seen a sign, when the scaffold states that rule and the worker heeds it.
    `obvious`: known to every worker from the instruction alone.
    """

    name: str
    sign: str = ""
    rule: str = ""
    obvious: bool = False


@dataclass(frozen=True)
class Skill:
    """The craft for one kind of task.

    `words`: all of them occur in the task's text (lower case), and no other skill's words all do.
    `look`: the command that anybody runs first (ls and a glance; it must not print whole files).
    `sources`: commands that read, each whole, what a careful worker reads before the first edit.
    `draft(known)`: a shell command that writes the artefact, honouring exactly the facts in `known`. It must be
    rerunnable: a second draft replaces the first. Where a fact depends on data (a date format, a threshold written in a
    file), the command derives the value when it runs, from the files, never from this module.
    `check`: a command with which a careful worker tests what it wrote; it prints a line per shortcoming from which the
    missing fact is plain (it matches that fact's sign), and "all good" otherwise. Shortcomings that no reasonable
    self-check shows (because only the spec tells) stay silent.
    """

    name: str
    words: tuple[str, ...]
    look: str
    sources: tuple[str, ...]
    facts: tuple[Fact, ...]
    draft: Callable[[frozenset[str]], str]
    check: str
