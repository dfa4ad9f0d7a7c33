"""Proposers write proposals from evidence: editor (a scaffold at work), command (a program at work), oneshot (one call), and two controls."""

from __future__ import annotations

from harness.broker import Gateway
from harness.errors import UsageError
from harness.paths import RunPaths
from harness.proposers.controls import PlaceboProposer, RandomProposer
from harness.proposers.editor import EditorProposer
from harness.proposers.oneshot import OneshotProposer
from harness.records import Limits
from harness.records.experiment import ProposerChoice
from harness.scaffold import Scaffold
from harness.seams import Proposer, Sandboxes


def build_proposer(
    choice: ProposerChoice,
    sandboxes: Sandboxes,
    gateway: Gateway,
    paths: RunPaths,
    scaffold: Scaffold | None,
    limits: Limits,
) -> Proposer:
    """The proposer of an experiment. `scaffold` None: the parent edits itself; `command` is a program that edits
    the folder, behind the model port. Raises UsageError.
    """
    if choice.kind == "command" and (scaffold is None or scaffold.settings.program is None):
        raise UsageError(
            f'proposer.kind = "command": proposer.scaffold = "{choice.scaffold}" is no program\n'
            "name a folder whose scaffold.toml has a [program] table (docs/programs.md)"
        )
    if choice.kind in ("editor", "command"):
        return EditorProposer(sandboxes, gateway, paths, scaffold=scaffold, alias=choice.model, limits=limits)
    if choice.kind == "oneshot":
        return OneshotProposer(gateway, choice.model)
    if choice.kind == "placebo":
        return PlaceboProposer()
    if choice.kind == "random":
        return RandomProposer()
    raise UsageError(f'proposer.kind = "{choice.kind}": unknown')
