"""The claim: best against seed on the sealed split, fresh trials, an interval clustered by family. Pure.

selection.md section 5. What it may say is bounded by how many sealed families there are, and it says so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from harness.archive import Archive
from harness.draws import generator
from harness.records import Claim, Trial, TrialSpec, Unit
from harness.stats import by_family, clustered_interval, coverage, e_value, paired

E_TO_CLAIM = 20.0
FAMILIES_FOR_E = 8
"""With fewer families even a full sweep cannot bring the mixture of bets to 20."""
FAMILY_SPREAD = 0.48
"""Typical standard deviation of a family's difference: a few of ten tasks flip."""
MIN_COVERAGE = 0.95


@dataclass(frozen=True)
class ClaimPlan:
    """What a claim measures: both candidates on every sealed unit, `passes` times; `opened` counts openings."""

    best: str
    baseline: str
    units: tuple[Unit, ...]
    passes: int
    opened: int
    run_seed: int
    families: Mapping[str, str] = field(default_factory=dict)

    def attempts(self, count: int) -> range:
        """Attempt ordinals of this opening: never used by an earlier one."""
        first = (self.opened - 1) * 100
        return range(first, first + count)


def families_needed(gain: float = 0.12, power_z: float = 0.84, alpha_z: float = 1.645) -> int:
    """About how many sealed families show `gain` at 80 % power, one-sided 5 %."""
    return math.ceil(((power_z + alpha_z) * FAMILY_SPREAD / gain) ** 2)


def claim_specs(plan: ClaimPlan) -> tuple[TrialSpec, ...]:
    """Both arms on the same units and attempts, interleaved in a drawn order."""
    specs: list[TrialSpec] = []
    for attempt in plan.attempts(plan.passes):
        for unit in plan.units:
            arms = list(dict.fromkeys([plan.best, plan.baseline]))
            generator(plan.run_seed, "claim", attempt, str(unit)).shuffle(arms)
            specs += [_spec(who, unit, attempt) for who in arms]
    return tuple(specs)


def matched_specs(plan: ClaimPlan, archive: Archive) -> tuple[TrialSpec, ...]:
    """More attempts of the baseline, where the matched budget buys more than the passes gave."""
    n = matched_attempts(plan, archive)
    return tuple(
        _spec(plan.baseline, unit, attempt) for attempt in plan.attempts(n)[plan.passes :] for unit in plan.units
    )


def matched_attempts(plan: ClaimPlan, archive: Archive) -> int:
    """How many baseline attempts the best's spend per trial buys: at least 2, at most 10; 1 when best is baseline."""
    if plan.best == plan.baseline:
        return 1
    ratio = _cost_ratio(_arm(plan, archive, plan.best), _arm(plan, archive, plan.baseline))
    return min(10, max(2, math.ceil((ratio or 1.0) - 1e-9)))


def make_claim(plan: ClaimPlan, archive: Archive) -> Claim:
    """The claim from the journalled trials of this opening."""
    best, baseline = _arm(plan, archive, plan.best), _arm(plan, archive, plan.baseline)
    compared = paired(best, baseline)
    groups = by_family(compared.differences, plan.families)
    means = [fmean(group) for group in groups.values()]
    generator(plan.run_seed, "families", plan.opened).shuffle(means)
    interval = clustered_interval(groups) if plan.best != plan.baseline else None
    evidence = e_value(means) if means else 1.0
    planned = len(plan.units) * plan.passes * (1 if plan.best == plan.baseline else 2)
    covered = coverage(best if plan.best == plan.baseline else (*best, *baseline), planned)
    n = matched_attempts(plan, archive)
    claim = Claim(
        best=plan.best, baseline=plan.baseline, tasks=len({unit.task for unit in plan.units}),
        units=len(plan.units), families=len(groups), passes=plan.passes,
        score_best=compared.first, score_baseline=compared.second, delta=compared.mean,
        lower=interval[0] if interval else None, upper=interval[1] if interval else None,
        e_value=evidence, p_value=min(1.0, 1.0 / evidence) if evidence > 0 else 1.0, coverage=covered,
        cost_ratio=_cost_ratio(best, baseline),
        best_of_n=_best_of(plan, archive, n) if n > 1 else None, best_of_n_attempts=n if n > 1 else None,
        opened=plan.opened, families_needed=families_needed(),
        can_claim=len(groups) >= FAMILIES_FOR_E and covered >= MIN_COVERAGE, statement="",
    )  # fmt: skip
    return claim.model_copy(update={"statement": statement(claim)})


def statement(claim: Claim) -> str:
    """What the numbers allow to be said, in plain sentences."""
    if claim.best == claim.baseline:
        return (f"No edit was kept, so best is the seed: {claim.score_baseline:.2f} on {claim.tasks} sealed tasks. "
                "A null result is a result.")  # fmt: skip
    if claim.coverage < MIN_COVERAGE:
        return f"Only {claim.coverage:.0%} of the sealed trials have a score; below 95 % no difference is reported."
    interval = "no interval (one family)"
    if claim.lower is not None and claim.upper is not None:
        interval = f"95 % interval [{100 * claim.lower:+.1f}, {100 * claim.upper:+.1f}]"
    said = (
        f"{claim.best} scores {claim.score_best:.2f}, the seed {claim.score_baseline:.2f} on {claim.tasks} sealed tasks "
        f"({claim.units} units, {claim.passes} passes): {100 * claim.delta:+.1f} points, {interval}, "
        f"e-value {claim.e_value:.2g}."
    )
    if not claim.can_claim:
        return f"{said} {too_few(claim.families, claim.families_needed)}"
    if claim.e_value >= E_TO_CLAIM:
        return f"{said} This carries the claim that {claim.best} is better than the seed."
    return f"{said} This does not carry a claim; a null result is a result."


def too_few(families: int, needed: int) -> str:
    """What a sealed split of so many families cannot do."""
    return (f"{families} sealed task{'s' * (families != 1)} cannot carry a claim: an e-value of {E_TO_CLAIM:.0f} needs at least {FAMILIES_FOR_E}, "
            f"a +12 point claim about {needed}.")  # fmt: skip


def _spec(candidate: str, unit: Unit, attempt: int) -> TrialSpec:
    return TrialSpec(candidate=candidate, task=unit.task, seed=unit.seed, attempt=attempt, split="test")


def _arm(plan: ClaimPlan, archive: Archive, candidate: str) -> tuple[Trial, ...]:
    """The trials of the paired passes; the matched-budget extras are not among them."""
    attempts = plan.attempts(plan.passes)
    return tuple(t for t in archive.other_trials.get("claim", ())
                 if t.spec.candidate == candidate and t.spec.attempt in attempts)  # fmt: skip


def _cost_ratio(best: Sequence[Trial], baseline: Sequence[Trial]) -> float | None:
    """Mean cost of a trial, best over baseline: dollars where both arms are priced and cost something, else tokens."""
    if not best or not baseline:
        return None
    dollars = [[t.usage.usd for t in arm] for arm in (best, baseline)]
    if all(d is not None and d > 0 for arm in dollars for d in arm):
        return fmean(d or 0.0 for d in dollars[0]) / fmean(d or 0.0 for d in dollars[1])
    tokens = [fmean(t.usage.tokens for t in arm) for arm in (best, baseline)]
    return tokens[0] / tokens[1] if tokens[1] else None


def _best_of(plan: ClaimPlan, archive: Archive, n: int) -> float | None:
    """Mean over units of the baseline's best score in n attempts: what picking the best of n could at most give."""
    attempts = plan.attempts(n)
    scores: dict[Unit, list[float]] = {}
    for trial in archive.other_trials.get("claim", ()):
        if trial.spec.candidate == plan.baseline and trial.spec.attempt in attempts and trial.score is not None:
            scores.setdefault(trial.spec.unit, []).append(trial.score)
    return fmean(max(values) for values in scores.values()) if scores else None
