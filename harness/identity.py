"""On what scores were measured, besides the scaffold: evaluations of equal identity can be compared."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.archive import Archive
from harness.baselines import Baseline
from harness.digest import digest_folder
from harness.duels import fresh_trials
from harness.errors import UsageError
from harness.evalfolder import is_evaluation, read_evaluation
from harness.evaluation import COVERED
from harness.locks import locked_experiment
from harness.paths import RunPaths
from harness.records import Experiment, Split, Trial
from harness.runs import open_run
from harness.trialcache import model_identity

_SIMULATED = Path(__file__).resolve().parent / "models" / "simulated"


def identity_of(
    experiment: Experiment,
    suite: str,
    tasks: Mapping[str, str],
    *,
    origin: str,
    grade: str,
    splits: Sequence[Split],
    attempts: int,
) -> dict[str, Any]:
    """What decides scores. `suite` and `tasks` are digests; a simulated model is part of what is measured on."""
    return {
        "suite": suite, "tasks": dict(sorted(tasks.items())),
        "models": {alias: model_identity(choice) for alias, choice in sorted(experiment.models.items())},
        "origin": origin, "simulated": digest_folder(_SIMULATED) if origin == "simulated" else None,
        "isolation": grade, "seed": experiment.seed, "seeds": experiment.suite.seeds, "splits": list(splits),
        "attempts": attempts, "limits": experiment.limits.model_dump(mode="json"),
    }  # fmt: skip


def baseline_of(paths: RunPaths, attempts: int) -> Baseline:
    """What was measured in the folder of an evaluation, or the best of a run on its train units, `attempts` of each.

    Of a run only trials count that were made after the candidate was chosen: those that chose it flatter it, and a baseline
    of them would call an equal scaffold worse. Raises UsageError when there are none, or too few have a score.
    """
    if is_evaluation(paths):
        found = read_evaluation(paths)
        if found.coverage < COVERED:
            raise UsageError(f"{paths.root}: only {found.coverage:.0%} of its trials have a score\ngo on with it first")
        return Baseline(found.plan.identity, found.trials, found.reruns)
    archive = open_run(paths)
    trials = _first(fresh_trials(archive, archive.best, max(archive.rounds, default=0) + 1), attempts)
    if not trials:
        raise UsageError(f"{paths.name}: {archive.best} was not measured again after it was chosen, and the trials that chose it flatter it\n"
                         f"measure it: harness eval {paths.best} SUITE --update-baseline FILE")  # fmt: skip
    return Baseline(_identity_of_run(paths, archive, attempts), trials)


def _first(trials: Sequence[Trial], attempts: int) -> tuple[Trial, ...]:
    """The first attempts of each unit that count."""
    by_unit: dict[Any, list[Trial]] = {}
    for trial in sorted((t for t in trials if t.counts), key=lambda t: t.spec.attempt):
        by_unit.setdefault(trial.spec.unit, []).append(trial)
    return tuple(trial for unit in sorted(by_unit, key=str) for trial in by_unit[unit][:attempts])


def _identity_of_run(paths: RunPaths, archive: Archive, attempts: int) -> dict[str, Any]:
    lock = json.loads(paths.lock.read_text("utf-8"))
    origins = {trial.origin for trial in archive.all_trials}
    return identity_of(
        locked_experiment(paths), lock["suite"]["digest"], {name: task["digest"] for name, task in lock["tasks"].items()},
        origin=origins.pop() if len(origins) == 1 else "mixed", grade=lock["sandbox"]["grade"], splits=("train",),
        attempts=attempts,
    )  # fmt: skip
