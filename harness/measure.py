"""Score one scaffold on one suite: what `harness eval` does, for Python.

>>> found = harness.evaluate("plain", "smoke", seeds=1)
>>> found.score, found.interval, found.coverage
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path

from harness.config import to_experiment
from harness.errors import InfraError
from harness.evalfolder import EvalLog, ended, open_log
from harness.evaluation import EvalPlan, Evaluation, plan_of, rerun_specs, specs_of
from harness.executor import LocalExecutor
from harness.identity import identity_of
from harness.locks import make_lock
from harness.paths import RunPaths, resolve
from harness.records import Experiment, Split, Suite, Task, Trial, TrialSpec
from harness.scaffold import Scaffold, read_scaffold
from harness.seams import Executor, RunTrial, Tracker
from harness.suites import load_suite
from harness.wiring import Machine, check_placement, open_machine, trial_cache, trial_engine


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
    listeners: Sequence[Tracker] = (),
    on_plan: Callable[[EvalPlan], None] = lambda plan: None,
) -> Evaluation:
    """Run every unit of the splits `attempts` times.

    `folder` keeps journal and trajectories, and goes on with what is there; `at_most` trials; `shard` (i, n) takes every
    n-th unit; `fresh` takes nothing out of the trial cache; `on_plan` may raise before anything is spent. A broken machine
    ends it early, and `stopped` says why. Raises UsageError, MachineError.
    """
    begun = time.monotonic()
    chosen = read_scaffold(resolve(scaffold, "scaffolds", "", "scaffold"))
    loaded, tasks = load_suite(suite, live=experiment.sandbox.live)
    check_placement(experiment, chosen, tasks)
    specs = _of_shard(specs_of(loaded, experiment.suite.seeds, splits, attempts), shard)[:at_most]
    machine = await open_machine(experiment)
    try:
        identity = identity_of(
            experiment, loaded.digest, {name: task.digest for name, task in tasks.items()}, origin=machine.origin,
            grade=machine.capabilities.grade, splits=splits, attempts=attempts,
        )  # fmt: skip
        plan = plan_of(scaffold, loaded, tasks, specs, identity, name=suite, shard=shard)
        on_plan(plan)
        lock = make_lock(experiment, loaded, tasks, chosen, machine.locked)
        paths = RunPaths(folder) if folder is not None else None
        run_trial = _runner(experiment, machine, chosen, tasks, paths, attempts, fresh, begun)
        executor = LocalExecutor(experiment.sandbox.concurrency, machine.gateway.capacity)
        with open_log(paths, plan, lock, specs, listeners) as log:
            found = await _all(log, specs, loaded, attempts, experiment.budget.trials, executor, run_trial)
            ended(log, found)
            return found
    finally:
        await machine.close()


async def _all(
    log: EvalLog,
    specs: list[TrialSpec],
    suite: Suite,
    attempts: int,
    cap: int | None,
    executor: Executor,
    run_trial: RunTrial,
) -> Evaluation:
    """The planned trials, then the re-runs that they make necessary; together no more than `cap`."""
    done = 0
    try:
        for again in (False, True):
            wanted = rerun_specs(suite, log.evaluation().trials, attempts) if again else specs
            owed = log.owed(wanted)
            asked = owed if cap is None else owed[: max(0, cap - done)]
            async with aclosing(executor.run(asked, run_trial)) as trials:  # nothing runs on when this breaks
                async for trial in trials:
                    log.take(trial)
                    done += 1
    except InfraError as broken:
        return log.evaluation(str(broken).splitlines()[0])
    return log.evaluation()


def _runner(
    experiment: Experiment,
    machine: Machine,
    scaffold: Scaffold,
    tasks: Mapping[str, Task],
    paths: RunPaths | None,
    attempts: int,
    fresh: bool,
    begun: float,
) -> RunTrial:
    """What measures one trial: out of the trial cache where that is allowed, never a re-run, nothing once a cap is spent."""
    engine = trial_engine(experiment, machine, paths.trial if paths is not None else None)
    measuring = trial_cache(experiment, machine, engine, serve=not fresh) or engine
    hours = experiment.budget.hours
    deadline = begun + hours * 3600 if hours is not None else math.inf

    async def run_trial(spec: TrialSpec) -> Trial:
        spent = "hours" if time.monotonic() >= deadline else "tokens or dollars" if machine.gateway.exhausted else ""
        if spent:
            return Trial(spec=spec, outcome="cancelled", score=None, detail=f"the budget's {spent} ended")
        runner = engine if spec.attempt >= attempts else measuring
        return await runner.run(spec, tasks[spec.task], scaffold)

    return run_trial


def _of_shard(specs: list[TrialSpec], shard: tuple[int, int]) -> list[TrialSpec]:
    """All attempts of every n-th unit."""
    units = list(dict.fromkeys(spec.unit for spec in specs))[shard[0] - 1 :: shard[1]]
    mine = set(units)
    return [spec for spec in specs if spec.unit in mine]


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
) -> Evaluation:
    """Score `scaffold` on `suite` (folders, files or shipped names) and wait for it; not from within a running event loop.

    `experiment` settles everything else (sandbox, limits, models); without one, `model` with the defaults. The rest is as
    for `measure`. Raises UsageError for what is wrong in the input, MachineError for what this machine lacks.
    """
    if experiment is None:
        experiment = to_experiment({"name": "evaluate", "models": {"main": {"name": model}}, "budget": {"trials": 10**6},
                                    "suite": {"name": str(suite), "seeds": seeds}}, "harness.evaluate", [])  # fmt: skip
    return asyncio.run(measure(str(scaffold), str(suite), experiment, splits=splits, attempts=attempts, folder=folder,
                               at_most=at_most, shard=shard, fresh=fresh))  # fmt: skip
