"""An evaluation: one scaffold on one suite, its trials, and what they come to. Pure.

Everything that `harness eval` prints, writes for a CI or compares is computed here, from the plan and the trials alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from harness.records import Record, Split, Suite, Task, Trial, TrialSpec, Unit, Usage
from harness.stats import by_family, clustered_interval, coverage, pass_at_k, pass_hat_k, unit_means

EVALUATED = "eval"
"""What stands for the candidate in the trials of an evaluation."""
COVERED = 0.95
"""The share of planned trials with a score below which nothing is concluded."""
RERUNS = 3
"""Fresh trials of a must_pass unit that failed; red when all of them fail too."""


class EvalPlan(Record):
    """What an evaluation set out to measure; lock.json of its folder holds it."""

    scaffold: str
    suite: str
    splits: tuple[Split, ...]
    attempts: int
    shard: tuple[int, int] = (1, 1)
    planned: int
    """Trials of this shard that decide: those of tasks in quarantine are not counted."""
    families: dict[str, str]
    """Task -> family."""
    identity: dict[str, Any]
    """On what it was measured; equal identities make scores comparable."""
    quarantine: tuple[str, ...] = ()
    """Tasks whose trials are shown and decide nothing."""


@dataclass(frozen=True)
class Evaluation:
    """The trials of one scaffold on one suite, and what they come to."""

    plan: EvalPlan
    trials: tuple[Trial, ...]
    reruns: tuple[Trial, ...] = ()
    """Of units of must_pass tasks that failed: RERUNS fresh trials each."""
    stopped: str = ""
    """Why infrastructure faults ended it early; '' when they did not."""

    @property
    def scaffold(self) -> str:
        return self.plan.scaffold

    @property
    def suite(self) -> str:
        return self.plan.suite

    @property
    def quarantine(self) -> tuple[str, ...]:
        return self.plan.quarantine

    @property
    def deciding(self) -> tuple[Trial, ...]:
        """The trials that scores are made of."""
        return tuple(trial for trial in self.trials if trial.spec.task not in self.quarantine)

    @property
    def rerun(self) -> dict[Unit, int]:
        """Units of must_pass tasks that failed, and how many of their fresh re-runs passed; 0 of RERUNS is red."""
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
    def unfinished(self) -> int:
        """Planned trials that were not measured to an outcome: a budget, a fault or a signal ended it before."""
        return self.plan.planned - sum(trial.outcome != "cancelled" for trial in self.deciding)

    @property
    def coverage(self) -> float:
        return coverage(self.deciding, self.plan.planned)

    @property
    def score(self) -> float | None:
        """Mean over units of the mean over attempts, of trials that count."""
        means = unit_means(self.deciding)
        return fmean(means.values()) if means else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """Of the score, 95 %, clustered by family, within 0..1; None with fewer than two families."""
        found = clustered_interval(by_family(list(unit_means(self.deciding).items()), self.plan.families))
        return (max(0.0, found[0]), min(1.0, found[1])) if found else None


def plan_of(
    scaffold: str,
    suite: Suite,
    tasks: Mapping[str, Task],
    specs: Iterable[TrialSpec],
    identity: Mapping[str, Any],
    *,
    name: str,
    shard: tuple[int, int] = (1, 1),
) -> EvalPlan:
    """The plan of these trials. `name` is how the suite was asked for; splits and attempts are those of the identity."""
    return EvalPlan(
        scaffold=scaffold, suite=name, splits=tuple(identity["splits"]), attempts=int(identity["attempts"]), shard=shard,
        planned=sum(spec.task not in suite.quarantine for spec in specs), identity=dict(identity),
        families={task: each.family for task, each in tasks.items()}, quarantine=suite.quarantine,
    )  # fmt: skip


def evaluation_of(plan: EvalPlan, trials: Iterable[Trial], stopped: str = "") -> Evaluation:
    """The evaluation that these trials make. Of a trial that was measured again after a fault, the last counts."""
    last = {trial.spec.key: trial for trial in trials}
    ordered = sorted(last.values(), key=lambda t: (t.spec.task, t.spec.seed, t.spec.attempt))
    first, again = ([t for t in ordered if (t.spec.attempt >= plan.attempts) is late] for late in (False, True))
    return Evaluation(plan, tuple(first), tuple(again), stopped)


def specs_of(suite: Suite, seeds: int, splits: Sequence[Split], attempts: int) -> list[TrialSpec]:
    """Attempts of every unit of the splits, attempt by attempt."""
    return [TrialSpec(candidate=EVALUATED, task=unit.task, seed=unit.seed, attempt=attempt, split=split)
            for attempt in range(attempts) for split in splits for unit in suite.units(split, seeds)]  # fmt: skip


def rerun_specs(suite: Suite, done: Sequence[Trial], attempts: int) -> list[TrialSpec]:
    """Fresh trials for units of must_pass tasks of which no attempt passed."""
    tried = {trial.spec.unit: trial.spec.split for trial in done if trial.counts and trial.spec.task in suite.must_pass}
    passed = {trial.spec.unit for trial in done if trial.passed}
    return [TrialSpec(candidate=EVALUATED, task=unit.task, seed=unit.seed, attempt=attempts + number, split=split)
            for unit, split in sorted(tried.items(), key=lambda item: str(item[0])) if unit not in passed
            for number in range(RERUNS)]  # fmt: skip
