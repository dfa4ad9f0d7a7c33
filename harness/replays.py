"""Replays of runs: a new run with the experiment of another, its models answered from what that one recorded.

Agents, sandboxes, verifiers, gate and proposer work as ever; nothing is sent and nothing is spent. replay.jsonl in the new
run's folder names the run that is replayed, and then each divergence, so that a replay can be resumed as any run.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from harness.archive import Archive
from harness.config import to_experiment
from harness.errors import MachineError, UsageError
from harness.models.replayed import Divergence, Recordings
from harness.paths import RunPaths
from harness.records import Experiment, Trial
from harness.runs import open_run, write_atomic

CAPS = ("usd", "tokens", "hours")
"""Reasons of an end that cuts off calls or trials."""
SHOWN = 5
"""Divergences that are shown; the rest are counted."""


@dataclass(frozen=True)
class Replay:
    """What a replay answers from, and the last round that its recording holds whole."""

    source: RunPaths
    recordings: Recordings
    last_round: int


@dataclass(frozen=True)
class Report:
    """How a replay went, against the run that it replayed."""

    source: str
    equal: int
    differing: tuple[str, ...]
    """Trials with another score or outcome than then, not diverged: "key: 1.00 scored then, 0.00 scored now"."""
    unreached: int
    """Trials of the source that the replay did not get to."""
    divergences: tuple[Divergence, ...]
    changed: tuple[str, ...]
    """What was not as it was when the run began: tasks, suite, scaffold, sandbox."""

    @property
    def same(self) -> bool:
        return not (self.differing or self.unreached or self.divergences)


def mark(target: RunPaths, source: RunPaths) -> None:
    """Write down that a new run replays another."""
    write_atomic(target.replay, json.dumps({"run": os.path.relpath(source.root, target.root)}).encode() + b"\n")


def check_replayable(source: RunPaths, experiment: Experiment) -> None:
    """Raise UsageError for a run that is a replay, or that called models that are not embedded and recorded no call."""
    if source.replay.exists():
        raise UsageError(f"--replay {source.name}: is a replay itself; replay {source_of(source).name}")
    live = [choice.name for choice in experiment.models.values() if not choice.name.startswith("simulated/")]
    if live and not source.calls.is_dir():
        raise UsageError(f"--replay {source.name}: {source.calls} is not there: no call to {live[0]} was recorded\n"
                         "a run records its calls by itself; this folder was not kept, or the run made none")  # fmt: skip


def replayed_experiment(
    locked: Experiment, where: str, overrides: Sequence[str] = (), model: str | None = None
) -> Experiment:
    """The experiment of a replay: that of the run, grade B being enough, and what the command line sets."""
    data = locked.model_dump(mode="json", exclude_none=True)
    data["sandbox"].setdefault("min_grade", "B")
    return to_experiment(data, where, overrides, model)


def replay_of(paths: RunPaths) -> Replay | None:
    """What a run replays; None when it is none. Raises UsageError when the source is gone."""
    if not paths.replay.exists():
        return None
    source = source_of(paths)
    archive = open_run(source)
    trials = {trial.spec.key: trial for trial in archive.all_trials}
    capped = archive.ended is not None and archive.ended.reason in CAPS
    recordings = Recordings(source.calls, trials, lambda found: _note(paths.replay, found), capped)
    return Replay(source, recordings, sum(state.memo is not None for state in archive.rounds.values()))


def report(paths: RunPaths, archive: Archive, changed: Sequence[str] = ()) -> Report:
    """Compare a replay with its source, trial by trial. A claim that only one of them made is left out."""
    source = source_of(paths)
    before = open_run(source)
    then, now = (
        {t.spec.key: t for t in _compared(one, other)} for one, other in ((before, archive), (archive, before))
    )
    both = [key for key in then if key in now]
    diverged = [key for key in both if "diverged" in now[key].flags]
    differing = [key for key in both if key not in diverged and _result(then[key]) != _result(now[key])]
    order = {key: number for number, key in enumerate(then)}
    found = {divergence.trial: divergence for divergence in reversed(_divergences(paths.replay))}
    return Report(
        source=source.name, equal=len(both) - len(diverged) - len(differing), unreached=len(then) - len(both),
        differing=tuple(f"{key}: {_result(then[key])} then, {_result(now[key])} now" for key in differing),
        divergences=tuple(sorted(found.values(), key=lambda d: order.get(d.trial, len(order)))), changed=tuple(changed),
    )  # fmt: skip


def report_text(found: Report) -> str:
    """The end of a replay, for people."""
    diverged = len(found.divergences)
    lines = [f"replay of {found.source}: calls sent 0; trials with the same score {found.equal}, with another {len(found.differing)}, "
             f"not reached {found.unreached}; diverged {diverged}"]  # fmt: skip
    if found.changed:
        lines.append(f"changed since that run began: {', '.join(found.changed)}")
    lines += [f"  {divergence.trial}: {divergence.text}" for divergence in found.divergences[:SHOWN]]
    lines += [f"  {text}" for text in found.differing[:SHOWN]]
    hidden = max(0, diverged - SHOWN) + max(0, len(found.differing) - SHOWN)
    return "\n".join([*lines, *([f"  ... and {hidden} more"] if hidden else [])])


def _compared(archive: Archive, other: Archive) -> list[Trial]:
    claims = bool(archive.claims) and bool(other.claims)
    return [trial for trial in archive.all_trials if claims or trial.spec.split != "test"]


def _result(trial: Trial) -> str:
    return trial.outcome if trial.score is None else f"{trial.score:.4g} {trial.outcome}"


def source_of(paths: RunPaths) -> RunPaths:
    """The run that a replay replays. Raises UsageError when it is gone."""
    try:
        name = json.loads(paths.replay.read_bytes().splitlines()[0])["run"]
    except (OSError, ValueError, KeyError, IndexError):
        raise UsageError(f"{paths.replay}: cannot be read; make the replay anew with --replay") from None
    root = Path(os.path.normpath(paths.root / name))
    if not (root / "journal.jsonl").is_file():
        raise UsageError(f"{paths.name} replays {root.name}, which is gone from {root.parent}")
    return RunPaths(root)


def _note(path: Path, found: Divergence) -> None:
    try:
        with path.open("ab") as file:
            file.write(found.model_dump_json().encode() + b"\n")
    except OSError as error:
        raise MachineError(f"{path}: {error.strerror}") from None


def _divergences(path: Path) -> list[Divergence]:
    found = []
    for line in path.read_bytes().splitlines()[1:]:
        try:
            found.append(Divergence.model_validate_json(line))
        except ValidationError:  # a line that was being written when the replay was killed
            continue
    return found
