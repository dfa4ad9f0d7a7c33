"""Verdicts and claims."""

from __future__ import annotations

from typing import Literal

from harness.records.base import Breach, Record, Verdict

Reason = Literal[
    "upper", "lower", "last_look", "smoke", "audit", "identical", "coverage", "infra", "refused", "budget", "score"
]


class Look(Record):
    """One look of a gate at the data: pairs so far, mean difference, and the boundaries that it was held against."""

    n: int
    mean: float
    lower: float
    upper: float


class Decision(Record):
    """Keep or revert, with everything needed to recompute it. Differences are in score units (0..1), not points.

    `delta` and its bounds are the gate's posterior mean and central 95 % posterior interval; they are selected
    (the data that stopped the gate are the data that are shown) and never a claim.
    """

    round: int
    candidate: str
    parent: str
    verdict: Verdict
    reason: Reason
    breach: Breach | None = None
    detail: str = ""
    gate: str = ""
    pairs: int = 0
    trials: int = 0
    mean: float | None = None
    delta: float | None = None
    lower: float | None = None
    upper: float | None = None
    p_better: float | None = None
    score: float | None = None
    """Mean score of the candidate's trials of this decision."""
    parent_score: float | None = None
    fixed: tuple[str, ...] = ()
    """Units whose mean rose from below to above one half, parent to candidate."""
    broken: tuple[str, ...] = ()
    coverage: float = 1.0
    looks: tuple[Look, ...] = ()
    settings: tuple[tuple[str, float], ...] = ()
    """What the boundaries were computed from (lambda, sigma2, shadow price, block ...), by name."""
    variance: tuple[float, float] | None = None
    """The run's pooled variance state (V, n) after this decision; None leaves it as it was."""
    predictions: tuple[tuple[str, float], ...] = ()
    """Scores of the manifest's predictions by name: fix_precision, fix_recall, chance ..."""


class Claim(Record):
    """What a reviewer is told: best against seed on the sealed split, fresh trials. Differences in score units.

    The interval is clustered by family (selection.md section 5); e_value is a betting e-value against "no better".
    """

    best: str
    baseline: str
    split: Literal["test"] = "test"
    tasks: int
    units: int
    families: int
    passes: int
    score_best: float
    score_baseline: float
    delta: float
    lower: float | None
    upper: float | None
    e_value: float
    p_value: float
    coverage: float
    cost_ratio: float | None
    """Mean cost (or tokens, when unpriced or free) of the best over the baseline."""
    best_of_n: float | None
    """Score of the baseline with the best of n attempts, n chosen to match the spend of the best."""
    best_of_n_attempts: int | None = None
    opened: int = 1
    """How often this seal has been opened, this time included."""
    families_needed: int
    """About how many sealed families a +12 point claim needs."""
    can_claim: bool
    """Whether the sealed split is large enough to carry any claim (8 families for an e-value of 20)."""
    statement: str
    """The claim in one or two plain sentences, null results and too-small splits included."""
