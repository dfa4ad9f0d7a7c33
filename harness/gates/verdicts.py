"""A decision from a duel: what all gates record alike. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from harness.gates.blocks import Pair, lost, parent_means
from harness.gates.boundaries import Belief
from harness.records import Decision, Look, Unit, Verdict
from harness.records.decisions import Reason
from harness.seams import Duel

MIN_COVERAGE = 0.95


def decision(
    duel: Duel,
    gate: str,
    verdict: Verdict,
    reason: Reason,
    *,
    pairs: Sequence[Pair] = (),
    found: Sequence[tuple[Unit, float]] = (),
    belief: Belief | None = None,
    looks: Sequence[Look] = (),
    settings: dict[str, float] | None = None,
    variance: tuple[float, float] | None = None,
    detail: str = "",
) -> Decision:
    """The record of one verdict. Below 95 % coverage the verdict is `indecisive` and no delta is given."""
    mine, theirs, coverage = lost(duel)
    if coverage < MIN_COVERAGE and verdict in ("keep", "revert"):
        verdict, reason, belief = "indecisive", "coverage", None
        detail = f"{mine} trials of the candidate and {theirs} of the parent have no score"
    scores = [trial.score for trial in duel.candidate_trials if trial.score is not None]
    parents = parent_means([*duel.parent_trials, *duel.parent_now])
    used = sorted({str(pair.unit) for pair in pairs})
    known = [parents[unit] for unit in used if unit in parents]
    means = _means(found)
    return Decision(
        round=duel.round,
        candidate=duel.candidate,
        parent=duel.parent,
        verdict=verdict,
        reason=reason,
        detail=detail,
        gate=gate,
        pairs=len(found),
        trials=len(duel.candidate_trials) + len(duel.parent_now),
        mean=fmean(d for _, d in found) if found else None,
        delta=belief.mean if belief else None,
        lower=belief.lower if belief else None,
        upper=belief.upper if belief else None,
        p_better=belief.p_better if belief else None,
        score=fmean(scores) if scores else None,
        parent_score=fmean(known) if known else None,
        fixed=tuple(unit for unit, d in means if d > 0.5),
        broken=tuple(unit for unit, d in means if d < -0.5),
        coverage=coverage,
        looks=tuple(looks),
        settings=tuple(sorted((settings or {}).items())),
        variance=variance,
    )


def _means(found: Sequence[tuple[Unit, float]]) -> list[tuple[str, float]]:
    groups: dict[str, list[float]] = {}
    for unit, difference in found:
        groups.setdefault(str(unit), []).append(difference)
    return [(unit, fmean(values)) for unit, values in sorted(groups.items())]
