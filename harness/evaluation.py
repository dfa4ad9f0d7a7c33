"""Score one scaffold on one suite: what `harness eval` does, for Python.

>>> found = harness.evaluate("plain", "smoke", seeds=1)
>>> found.score, found.interval, found.coverage
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from harness.config import to_experiment
from harness.executor import LocalExecutor
from harness.paths import resolve
from harness.records import Experiment, Split, Suite, Task, Trial, TrialSpec
from harness.scaffold import read_scaffold
from harness.stats import by_family, clustered_interval, coverage, unit_means
from harness.suites import load_suite
from harness.trial import TrialEngine, TrialSettings
from harness.wiring import check_placement, is_simulated, open_machine


@dataclass(frozen=True)
class Evaluation:
    """The trials of one scaffold on one suite, and what they come to."""

    scaffold: str
    suite: str
    planned: int
    trials: tuple[Trial, ...]
    families: Mapping[str, str]

    @property
    def coverage(self) -> float:
        return coverage(self.trials, self.planned)

    @property
    def score(self) -> float | None:
        """Mean over units of the mean over attempts, of trials that count."""
        means = unit_means(self.trials)
        return fmean(means.values()) if means else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """Of the score, 95 %, clustered by family, within 0..1; None with fewer than two families."""
        found = clustered_interval(by_family(list(unit_means(self.trials).items()), self.families))
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
    on_trial: Callable[[Trial], None] = lambda trial: None,
) -> Evaluation:
    """Run every unit of the splits `attempts` times. `folder` keeps trajectories; `at_most` trials. Raises UsageError, MachineError, InfraError."""
    chosen = read_scaffold(resolve(scaffold, "scaffolds", "", "scaffold"))
    check_placement(experiment, chosen)
    loaded, tasks = load_suite(suite)
    specs = plan(loaded, experiment.suite.seeds, splits, attempts)[:at_most]
    machine = await open_machine(experiment)
    try:
        settings = TrialSettings(
            run_seed=experiment.seed, limits=experiment.limits, models=tuple(experiment.models),
            model_name=experiment.models["main"].name, isolation=machine.capabilities.grade,
            folder=(lambda key: folder / key) if folder is not None else None,
            default_origin="simulated" if is_simulated(experiment) else "live",
            names={alias: choice.name for alias, choice in experiment.models.items()},
        )  # fmt: skip
        engine = TrialEngine(machine.sandboxes, machine.gateway, machine.instances, settings)

        async def run_trial(spec: TrialSpec) -> Trial:
            return await engine.run(spec, tasks[spec.task], chosen)

        done: list[Trial] = []
        async for trial in LocalExecutor(experiment.sandbox.concurrency).run(specs, run_trial):
            done.append(trial)
            on_trial(trial)
    finally:
        await machine.close()
    ordered = tuple(sorted(done, key=lambda t: (t.spec.task, t.spec.seed, t.spec.attempt)))
    return Evaluation(scaffold, suite, len(specs), ordered, _families(tasks))


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
    on_trial: Callable[[Trial], None] = lambda trial: None,
) -> Evaluation:
    """Score `scaffold` on `suite` (folders, files or shipped names) and wait for it; not from within a running event loop.

    `experiment` settles everything else (sandbox, limits, models); without one, `model` with the defaults. `folder`
    keeps trajectories. Raises UsageError for what is wrong in the input, MachineError for what this machine lacks,
    InfraError when infrastructure faults stop it.
    """
    if experiment is None:
        experiment = to_experiment({"name": "evaluate", "models": {"main": {"name": model}}, "budget": {"trials": 10**6},
                                    "suite": {"name": str(suite), "seeds": seeds}}, "harness.evaluate", [])  # fmt: skip
    return asyncio.run(measure(str(scaffold), str(suite), experiment, splits=splits, attempts=attempts, folder=folder,
                               at_most=at_most, on_trial=on_trial))  # fmt: skip


def plan(suite: Suite, seeds: int, splits: Sequence[Split], attempts: int) -> list[TrialSpec]:
    """Attempts of every unit of the splits, attempt by attempt."""
    return [TrialSpec(candidate="eval", task=unit.task, seed=unit.seed, attempt=attempt, split=split)
            for attempt in range(attempts) for split in splits for unit in suite.units(split, seeds)]  # fmt: skip


def _families(tasks: Mapping[str, Task]) -> dict[str, str]:
    return {name: task.family for name, task in tasks.items()}
