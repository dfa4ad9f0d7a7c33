"""Paired differences, clustered intervals, betting e-values. Pure; scipy for the t quantile only.

Formulas: selection.md section 5; paired differences and clustered errors after Miller, "Adding Error Bars to Evals"
(arXiv 2411.00640); the e-value after Waudby-Smith and Ramdas (betting).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from harness.records import Trial, Unit

BETS = (0.03, 0.06, 0.12, 0.2, 0.3, 0.45, 0.6, 0.8)
"""Fractions that the betting e-value mixes, equally."""

ERROR_FLOOR = 0.05
"""With no discordant pair the standard error is at least this over sqrt(n): never "certain"."""


@dataclass(frozen=True)
class Paired:
    """Differences by unit, first arm minus second, in score units."""

    differences: tuple[tuple[Unit, float], ...]
    first: float
    """Mean score of the first arm over the paired units."""
    second: float

    @property
    def pairs(self) -> int:
        return len(self.differences)

    @property
    def mean(self) -> float:
        return fmean(d for _, d in self.differences) if self.differences else 0.0

    @property
    def error(self) -> float:
        """Standard error of the mean over units, floored."""
        n = self.pairs
        if n < 2:
            return 1.0
        spread = math.sqrt(sum((d - self.mean) ** 2 for _, d in self.differences) / (n - 1))
        return max(spread, ERROR_FLOOR) / math.sqrt(n)

    @property
    def fixed(self) -> tuple[str, ...]:
        """Units that rose by more than one half."""
        return tuple(str(unit) for unit, d in self.differences if d > 0.5)

    @property
    def broken(self) -> tuple[str, ...]:
        return tuple(str(unit) for unit, d in self.differences if d < -0.5)


def unit_means(trials: Iterable[Trial]) -> dict[Unit, float]:
    """Mean score per unit over its trials that count, in order of first appearance."""
    scores: dict[Unit, list[float]] = {}
    for trial in trials:
        if trial.counts and trial.score is not None:
            scores.setdefault(trial.spec.unit, []).append(trial.score)
    return {unit: fmean(values) for unit, values in scores.items()}


def paired(first: Iterable[Trial], second: Iterable[Trial]) -> Paired:
    """The two arms on the units that both have, by task and seed. Empty arms give no pairs."""
    a, b = unit_means(first), unit_means(second)
    units = sorted(a.keys() & b.keys(), key=lambda unit: (unit.task, unit.seed))
    return Paired(
        differences=tuple((unit, a[unit] - b[unit]) for unit in units),
        first=fmean(a[unit] for unit in units) if units else 0.0,
        second=fmean(b[unit] for unit in units) if units else 0.0,
    )


def by_family(differences: Iterable[tuple[Unit, float]], family: Mapping[str, str]) -> dict[str, list[float]]:
    """Differences grouped by the family of their task (the task itself when it is not in the map)."""
    groups: dict[str, list[float]] = {}
    for unit, difference in differences:
        groups.setdefault(family.get(unit.task, unit.task), []).append(difference)
    return groups


def clustered_interval(groups: Mapping[str, Sequence[float]], level: float = 0.95) -> tuple[float, float] | None:
    """Interval of the mean difference, clustered by family, Student t with G - 1 degrees of freedom.

    SE = sqrt(sum over families of (sum of residuals)^2) / n * sqrt(G / (G - 1)). None with fewer than two families.
    """
    from scipy.stats import t as student  # slow to import, and only claims and reports need it

    values = [d for group in groups.values() for d in group]
    n, families = len(values), len(groups)
    if families < 2:
        return None
    mean = fmean(values)
    error = math.sqrt(sum(sum(d - mean for d in group) ** 2 for group in groups.values())) / n
    error = max(error * math.sqrt(families / (families - 1)), ERROR_FLOOR / math.sqrt(n))
    half = float(student.ppf(0.5 + level / 2, families - 1)) * error
    return max(-1.0, mean - half), min(1.0, mean + half)


def e_value(family_means: Sequence[float]) -> float:
    """Betting e-value against "mean difference <= 0": mean over the bets of the product over families of 1 + l * d.

    Each family's mean difference in [-1, 1] is one factor; valid under any stopping by Ville's inequality when families
    are exchangeable draws and the champion was chosen without them.
    """
    return fmean(math.prod(1 + bet * d for d in family_means) for bet in BETS)


def coverage(trials: Sequence[Trial], planned: int) -> float:
    """Share of planned trials that count; 1 when nothing was planned."""
    return sum(trial.counts for trial in trials) / planned if planned else 1.0


def pass_at_k(n: int, c: int, k: int) -> float:
    """Chance that at least one of k attempts passes, from c passes in n: 1 - C(n-c, k) / C(n, k) (arXiv 2107.03374)."""
    return 1.0 - math.comb(n - c, k) / math.comb(n, k)


def pass_hat_k(n: int, c: int, k: int) -> float:
    """Chance that all of k attempts pass, from c passes in n: C(c, k) / C(n, k) (arXiv 2406.12045)."""
    return math.comb(c, k) / math.comb(n, k)
