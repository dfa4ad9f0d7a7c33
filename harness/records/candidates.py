"""Scaffold versions and the proposals that they come from."""

from __future__ import annotations

from typing import Literal

from harness.records.base import Breach, Record
from harness.records.usage import Usage


class Candidate(Record):
    """One scaffold version: id c0007, a commit with one parent. `digest` is over its files."""

    id: str
    parent: str | None
    commit: str
    digest: str
    title: str
    round: int
    components: tuple[str, ...] = ()
    """Files that differ from the parent."""


class Change(Record):
    """One edited file of a proposal: its new text, or None when it is removed."""

    path: str
    text: str | None


class Manifest(Record):
    """What a proposer says of its edit. One mechanism per candidate; predictions are scored later."""

    title: str
    mechanism: str = ""
    hypothesis: str = ""
    root_cause: str = ""
    evidence: tuple[str, ...] = ()
    components: tuple[str, ...] = ()
    predicted_fixes: tuple[str, ...] = ()
    """Train tasks that it expects to flip to passing."""
    predicted_risks: tuple[str, ...] = ()
    """Train tasks that it expects to be in danger."""
    cost_effect: Literal["cheaper", "same", "dearer", ""] = ""
    contract_test: str = ""
    """A command that fails on the parent and passes on the candidate; empty when there is none."""


class Proposal(Record):
    """What a proposer hands in: changes relative to the parent, the manifest, and what it cost."""

    manifest: Manifest
    changes: tuple[Change, ...]
    usage: Usage = Usage()
    wall_s: float = 0.0
    kind: str = "editor"
    trajectory: str = ""
    """Path below the run folder, when there is one."""


class Rejection(Record):
    """Why a proposal was refused before it was measured."""

    breach: Breach
    reason: str
    where: str = ""
