"""Score one scaffold on one suite: what `harness eval` does, for Python.

>>> found = harness.evaluate("plain", "smoke", seeds=1)
>>> found.score, found.interval, found.coverage
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from harness.config import to_experiment
from harness.executor import LocalExecutor
from harness.gateways import is_simulated
from harness.paths import resolve
from harness.records import Experiment, Split, Suite, Task, Trial, TrialSpec, Unit, Usage
from harness.scaffold import read_scaffold
from harness.stats import by_family, clustered_interval, coverage, pass_at_k, pass_hat_k, unit_means
from harness.suites import load_suite
from harness.wiring import check_placement, open_machine, trial_cache, trial_engine

RERUNS = 3
"""Fresh trials of a must_pass unit that failed; red when all of them fail too."""


@dataclass(frozen=True)
class Evaluation:
    """The trials of one scaffold on one suite, and what they come to."""

    scaffold: str
    suite: str
    planned: int
    trials: tuple[Trial, ...]
    families: Mapping[str, str]
    identity: Mapping[str, Any] = field(default_factory=dict)
    """On what it was measured; equal identities make scores comparable."""
    reruns: tuple[Trial, ...] = ()
    """Of units of must_pass tasks that failed: RERUNS fresh trials each."""
    quarantine: tuple[str, ...] = ()
    """Tasks whose trials are shown and decide nothing."""

    @property
    def deciding(self) -> tuple[Trial, ...]:
        """The trials that scores are made of."""
        return tuple(trial for trial in self.trials if trial.spec.task not in self.quarantine)

    @property
    def rerun(self) -> dict[Unit, int]:
        """Units of must_pass tasks that failed, and how many of their fresh re-runs passed; 0 is red."""
        found: dict[Unit, int] = {}
        for trial in self.reruns:
            found[trial.spec.unit] = found.get(trial.spec.unit, 0) + trial.passed
        return found

    @property
    def spent(self) -> Usage:
        """What this evaluation cost: trials out of the cache cost nothing now."""
        return sum((trial.usage for trial in (*self.trials, *self.reruns) if not trial.cached), Usage())

    def passes(self, k: int) -> tuple[float, float] | None:
        """pass@k and pass^k over units with at least k attempts that count; None when there is none."""
        counts: dict[object, list[bool]] = {}
        for trial in self.deciding:
            if trial.counts:
                counts.setdefault(trial.spec.unit, []).append(trial.passed)
        enough = [(len(passed), sum(passed)) for passed in counts.values() if len(passed) >= k]
        if not enough:
            return None
        return fmean(pass_at_k(n, c, k) for n, c in enough), fmean(pass_hat_k(n, c, k) for n, c in enough)

    @property
    def coverage(self) -> float:
        return coverage(self.deciding, self.planned)

    @property
    def score(self) -> float | None:
        """Mean over units of the mean over attempts, of trials that count."""
        means = unit_means(self.deciding)
        return fmean(means.values()) if means else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """Of the score, 95 %, clustered by family, within 0..1; None with fewer than two families."""
        found = clustered_interval(by_family(list(unit_means(self.deciding).items()), self.families))
        return (max(0.0, found[0]), min(1.0, found[1])) if found else None


async def measure(
    scaffold: str,
    suite: str,
    experiment: Experiment,
    *,
    splits: Sequence[Split] = ("train",),
    attempts: int = 1,
    folder: Path | None = None,
    at_most: int | None = None,
    shard: tuple[int, int] = (1, 1),
    fresh: bool = False,
    on_trial: Callable[[Trial], None] = lambda trial: None,
) -> Evaluation:
    """Run every unit of the splits `attempts` times. `folder` keeps trajectories; `at_most` trials;
    `fresh` ones only, none out of the trial cache. Raises UsageError, MachineError, InfraError."""
    chosen = read_scaffold(resolve(scaffold, "scaffolds", "", "scaffold"))
    loaded, tasks = load_suite(suite)
    check_placement(experiment, chosen, tasks)
    specs = plan(loaded, experiment.suite.seeds, splits, attempts)[shard[0] - 1 :: shard[1]][:at_most]
    budget = experiment.budget
    deadline = time.monotonic() + budget.hours * 3600 if budget.hours is not None else math.inf
    machine = await open_machine(experiment)
    try:
        engine = trial_engine(experiment, machine, (lambda key: folder / key) if folder is not None else None)
        measuring = trial_cache(experiment, machine, engine, serve=not fresh) or engine

        async def run_trial(spec: TrialSpec) -> Trial:
            if time.monotonic() >= deadline:
                return Trial(spec=spec, outcome="cancelled", score=None, detail="the budget's hours ended")
            runner = engine if spec.attempt >= attempts else measuring
            return await runner.run(spec, tasks[spec.task], chosen)

        executor = LocalExecutor(experiment.sandbox.concurrency, machine.gateway.capacity)
        done, reruns = list[Trial](), list[Trial]()
        async for trial in executor.run(specs[: budget.trials], run_trial):
            done.append(trial)
            on_trial(trial)
        async for trial in executor.run(_again(loaded, done, attempts), run_trial):
            reruns.append(trial)
            on_trial(trial)
    finally:
        await machine.close()
    ordered, again = (
        tuple(sorted(found, key=lambda t: (t.spec.task, t.spec.seed, t.spec.attempt))) for found in (done, reruns)
    )
    planned = sum(spec.task not in loaded.quarantine for spec in specs)
    identity = identity_of(experiment, loaded, tasks, machine.capabilities.grade, splits, attempts)
    return Evaluation(scaffold, suite, planned, ordered, _families(tasks), identity, again, loaded.quarantine)


def _again(suite: Suite, done: Sequence[Trial], attempts: int) -> list[TrialSpec]:
    """Fresh trials for units of must_pass tasks of which no attempt passed."""
    tried = {trial.spec.unit for trial in done if trial.counts and trial.spec.task in suite.must_pass}
    failed = sorted(tried - {trial.spec.unit for trial in done if trial.passed}, key=str)
    return [TrialSpec(candidate="eval", task=unit.task, seed=unit.seed, attempt=attempts + number)
            for unit in failed for number in range(RERUNS)]  # fmt: skip


def identity_of(
    experiment: Experiment, suite: Suite, tasks: Mapping[str, Task], grade: str, splits: Sequence[Split], attempts: int
) -> dict[str, Any]:
    """What decides scores besides the scaffold."""
    return {
        "suite": suite.digest, "tasks": {name: task.digest for name, task in sorted(tasks.items())},
        "models": {alias: choice.name for alias, choice in sorted(experiment.models.items())},
        "origin": "simulated" if is_simulated(experiment) else "live", "isolation": grade, "seed": experiment.seed,
        "seeds": experiment.suite.seeds, "splits": list(splits), "attempts": attempts,
        "limits": experiment.limits.model_dump(mode="json"),
    }  # fmt: skip


def evaluate(
    scaffold: str | Path,
    suite: str | Path,
    experiment: Experiment | None = None,
    *,
    model: str = "simulated/medium",
    seeds: int = 3,
    attempts: int = 1,
    splits: Sequence[Split] = ("train",),
    folder: Path | None = None,
    at_most: int | None = None,
    shard: tuple[int, int] = (1, 1),
    fresh: bool = False,
    on_trial: Callable[[Trial], None] = lambda trial: None,
) -> Evaluation:
    """Score `scaffold` on `suite` (folders, files or shipped names) and wait for it; not from within a running event loop.

    `experiment` settles everything else (sandbox, limits, models); without one, `model` with the defaults. `folder`
    keeps trajectories; `shard` (i, n) measures the i-th of n parts; `fresh` takes nothing out of the trial cache. Raises UsageError for what is wrong in the input, MachineError for what this machine lacks,
    InfraError when infrastructure faults stop it.
    """
    if experiment is None:
        experiment = to_experiment({"name": "evaluate", "models": {"main": {"name": model}}, "budget": {"trials": 10**6},
                                    "suite": {"name": str(suite), "seeds": seeds}}, "harness.evaluate", [])  # fmt: skip
    return asyncio.run(measure(str(scaffold), str(suite), experiment, splits=splits, attempts=attempts, folder=folder,
                               at_most=at_most, shard=shard, fresh=fresh, on_trial=on_trial))  # fmt: skip


def plan(suite: Suite, seeds: int, splits: Sequence[Split], attempts: int) -> list[TrialSpec]:
    """Attempts of every unit of the splits, attempt by attempt."""
    return [TrialSpec(candidate="eval", task=unit.task, seed=unit.seed, attempt=attempt, split=split)
            for attempt in range(attempts) for split in splits for unit in suite.units(split, seeds)]  # fmt: skip


def _families(tasks: Mapping[str, Task]) -> dict[str, str]:
    return {name: task.family for name, task in tasks.items()}
