"""Which trials a duel needs, in which order: one task order per parent, passes over it, blocks, missing trials. Pure.

Everything is a function of the duel, so that a killed run asks for exactly the trials that it still lacks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from harness.draws import generator
from harness.records import Trial, TrialSpec, Unit
from harness.seams import Duel


@dataclass(frozen=True)
class Pair:
    """One position of the plan: a unit in a pass, the candidate's trial, and the parent's if one more is wanted."""

    unit: Unit
    candidate: TrialSpec
    parent: TrialSpec | None


def task_order(duel: Duel, passes: int) -> tuple[tuple[Unit, int], ...]:
    """Units by pass, shuffled once per parent and pass, families dealt out evenly (stratified)."""
    order: list[tuple[Unit, int]] = []
    for number in range(passes):
        shuffler = generator(duel.run_seed, duel.parent, "order", number)
        families: dict[str, list[Unit]] = {}
        for unit in duel.units:
            families.setdefault(unit.task, []).append(unit)
        for members in families.values():
            shuffler.shuffle(members)
        names = list(families)
        while any(families.values()):
            shuffler.shuffle(names)
            order += [(families[name].pop(), number) for name in names if families[name]]
    return tuple(order)


def plan(duel: Duel, passes: int, parent_max: int) -> tuple[Pair, ...]:
    """The plan of a duel. The parent runs on a unit only while it has fewer than `parent_max` fresh trials."""
    first = dict(duel.first_attempt)
    fresh = Counter(str(trial.spec.unit) for trial in duel.parent_trials)
    asked: Counter[str] = Counter()
    pairs = []
    for unit, number in task_order(duel, passes):
        mine = first.get(f"{duel.candidate}/{unit}", 0) + number
        parent = None
        if fresh[str(unit)] + asked[str(unit)] < parent_max:
            parent = _spec(duel.parent, unit, first.get(f"{duel.parent}/{unit}", 0) + asked[str(unit)])
            asked[str(unit)] += 1
        pairs.append(Pair(unit, _spec(duel.candidate, unit, mine), parent))
    return tuple(pairs)


def _spec(candidate: str, unit: Unit, attempt: int) -> TrialSpec:
    return TrialSpec(candidate=candidate, task=unit.task, seed=unit.seed, attempt=attempt)


def missing(duel: Duel, pairs: Sequence[Pair]) -> tuple[TrialSpec, ...]:
    """Trials of these pairs that are not there yet, candidate and parent interleaved in an order drawn per unit."""
    done = {trial.spec.key for trial in (*duel.candidate_trials, *duel.parent_now)}
    owed: list[TrialSpec] = []
    for pair in pairs:
        both = [pair.candidate, *([pair.parent] if pair.parent else [])]
        generator(duel.run_seed, duel.round, str(pair.unit), "arms").shuffle(both)
        owed += [spec for spec in both if spec.key not in done]
    return tuple(owed)


def differences(duel: Duel, pairs: Sequence[Pair]) -> tuple[tuple[Unit, float], ...]:
    """Candidate's score less the parent's mean on that unit, per pair where both count."""
    scores = {trial.spec.key: trial.score for trial in duel.candidate_trials if trial.counts}
    now = {trial.spec.key: trial for trial in duel.parent_now}
    pool = [*duel.parent_trials, *(now[p.parent.key] for p in pairs if p.parent and p.parent.key in now)]
    parent = parent_means(pool)
    found = []
    for pair in pairs:
        score, mean = scores.get(pair.candidate.key), parent.get(str(pair.unit))
        if score is not None and mean is not None:
            found.append((pair.unit, score - mean))
    return tuple(found)


def parent_means(trials: Sequence[Trial]) -> dict[str, float]:
    """Mean score of each unit over trials that count."""
    scores: dict[str, list[float]] = {}
    for trial in trials:
        if trial.counts and trial.score is not None:
            scores.setdefault(str(trial.spec.unit), []).append(trial.score)
    return {unit: fmean(values) for unit, values in scores.items()}


def lost(duel: Duel) -> tuple[int, int, float]:
    """Trials of this duel without a score: the candidate's, the parent's, and the coverage of both together."""
    mine = sum(not trial.counts for trial in duel.candidate_trials)
    theirs = sum(not trial.counts for trial in duel.parent_now)
    total = len(duel.candidate_trials) + len(duel.parent_now)
    return mine, theirs, 1.0 - (mine + theirs) / total if total else 1.0
