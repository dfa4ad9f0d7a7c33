"""Whether a second measurement of the same units is worse, and which drop would have been found. Pure.

The question of a baseline comparison is whether the drop is beyond the noise of measuring the same units again; whether it
would show on other tasks too is what the interval by family says. If nothing changed, either arm could have been the other,
unit by unit: the sign-flip test (Fisher's randomisation test for pairs) is exact for that, with three tasks as with a hundred.

A formula from the observed spread is wrong for the power: scores that hardly vary make any drop look detectable, while the
drop itself brings the spread that hides it. So the comparison is played with the units and attempts that it has: pass rates
from both arms, one arm as it is, the other with every rate lowered by one share.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from harness.records import Trial, Unit

LEVEL = 0.025
"""One-sided: how often an unchanged scaffold may be called worse."""
EXACT_UNITS = 12
"""Up to so many units every sign is tried; beyond, FLIPS of them drawn at random."""
FLIPS = 4000
PLAYS = 500
STEPS = 7
PRIOR = 2.0
"""Attempts' worth of the mean pass rate that each unit's own is drawn to: two passes of two are no certainty."""
_TIE = 1e-9


def sign_flip_p(differences: Sequence[float]) -> float:
    """p-value of "not worse": the share of sign patterns whose sum is at most the observed one. 1 without a difference."""
    values = np.asarray([d for d in differences if d != 0.0], dtype=float)
    return float(_p_values(values[None, :])[0]) if len(values) else 1.0


def detectable_drop(
    now: Iterable[Trial], before: Iterable[Trial], *, power: float = 0.8, seed: int = 0
) -> float | None:
    """The smallest drop, in score units and spread evenly over the units, that is called worse with `power`; None when not
    even a drop to zero is."""
    first, second = _scores(now), _scores(before)
    units = sorted(first.keys() & second.keys(), key=str)
    if not units:
        return None
    tried = np.array([[len(first[unit]), len(second[unit])] for unit in units])
    passed = np.array([sum(first[unit]) + sum(second[unit]) for unit in units])
    mean = passed.sum() / tried.sum()
    rates = np.clip((passed + PRIOR * mean) / (tried.sum(axis=1) + PRIOR), 0.0, 1.0)
    low, high = 0.0, 1.0
    if _found(rates, high, tried, seed) < power:
        return None
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if _found(rates, middle, tried, seed) >= power else (middle, high)
    return float(high * rates.mean())


def _found(rates: Any, share: float, tried: Any, seed: int) -> float:
    """How often worse is said when every pass rate of one arm is lowered by `share`. `rates` (units,), `tried` (units, 2)."""
    draw = np.random.default_rng(seed)
    size = (PLAYS, len(rates))
    lowered = draw.binomial(tried[:, 0], rates * (1.0 - share), size) / tried[:, 0]
    differences = lowered - draw.binomial(tried[:, 1], rates, size) / tried[:, 1]
    return float((_p_values(differences) <= LEVEL).mean())


def _p_values(differences: Any) -> Any:
    """Lower-tail p-values of rows of differences (comparisons, units); the observed signs are one of the patterns."""
    units = differences.shape[1]
    if units <= EXACT_UNITS:
        signs = 1.0 - 2.0 * ((np.arange(2**units)[:, None] >> np.arange(units)) & 1)
        return ((differences @ signs.T) <= differences.sum(axis=1)[:, None] + _TIE).mean(axis=1)
    signs = np.random.default_rng(units).choice((-1.0, 1.0), (FLIPS, units))
    hits = ((differences @ signs.T) <= differences.sum(axis=1)[:, None] + _TIE).sum(axis=1)
    return (hits + 1) / (FLIPS + 1)


def _scores(trials: Iterable[Trial]) -> dict[Unit, list[float]]:
    found: dict[Unit, list[float]] = {}
    for trial in trials:
        if trial.counts and trial.score is not None:
            found.setdefault(trial.spec.unit, []).append(trial.score)
    return found
