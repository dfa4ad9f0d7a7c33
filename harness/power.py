"""Whether a second measurement of the same units is worse, and which drop would have been found. Pure.

The question of a baseline comparison is whether the drop is beyond the noise of measuring the same units again; whether it
would show on other tasks too is what the interval by family says. If nothing changed, the attempts of a unit could have
fallen to either arm: Fisher's randomisation test within units, with three tasks as with a hundred, and with more attempts in
one arm than in the other. With one attempt in each arm it is the sign-flip test. Passes come in few steps, and an exact test
of them says worse half as often as it may; so the mid-p-value is taken (Lancaster 1961; for pairs Fagerland, Lydersen and
Laake 2013): half of the chance of what was observed counts.

A formula from the observed spread is wrong for the power: scores that hardly vary make any drop look detectable, while the
drop itself brings the spread that hides it. So the comparison is played with the units and attempts that it has: pass rates
from both arms, one arm as it is, the other with every rate lowered by one share.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from harness.records import Trial, Unit

LEVEL = 0.025
"""One-sided: how often an unchanged scaffold may be called worse."""
SPLITS = 5000
"""Ways to deal the attempts of one unit; beyond, so many are drawn at random."""
GRID = 5040
"""Steps of one score point at most: differences of 1 to 10 attempts fall on it exactly."""
PLAYS = 500
STEPS = 7
PRIOR = 2.0
"""Attempts' worth of the mean pass rate that each unit's own is drawn to: two passes of two are no certainty."""
Scores = Sequence[float]


def randomisation_p(now: Iterable[Trial], before: Iterable[Trial]) -> float:
    """mid-p-value of "not worse": the chance of a sum of differences below the observed one, and half of that of the same,
    when the attempts of each unit are dealt to the two arms at random. 1 without a unit that both have."""
    first, second = _scores(now), _scores(before)
    arms = [(first[unit], second[unit]) for unit in sorted(first.keys() & second.keys(), key=str)]
    grid = _grid(arms)
    null, low = np.ones(1), 0
    for one, other in arms:
        dealt = _dealt(one, other, grid)
        null, low = _added(null, dealt), low + min(dealt)
    if not arms:
        return 1.0
    observed = sum(round(grid * _difference(one, other)) for one, other in arms) - low
    return float(null[:observed].sum() + null[observed] / 2)


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
    played = _Played(rates, int(tried[:, 0].min()), int(tried[:, 1].min()), seed)
    low, high = 0.0, 1.0
    if played.found(high) < power:
        return None
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if played.found(middle) >= power else (middle, high)
    return float(high * rates.mean())


class _Played:
    """Comparisons of made-up measurements, `first` and `second` attempts of each unit, every one passed or failed."""

    def __init__(self, rates: Any, first: int, second: int, seed: int) -> None:
        self._rates, self._first, self._second, self._seed = rates, first, second, seed
        size = first + second
        chances = [[_hypergeometric(k, size, total, first) for k in range(first + 1)] for total in range(size + 1)]
        # The sum over units of what falls to the first arm has the product of the units' transforms.
        spectra = np.fft.fft(np.array(chances), n=first * len(rates) + 1, axis=1)
        self._logs = np.log(np.where(np.abs(spectra) < 1e-300, 1e-300, spectra))

    def found(self, share: float) -> float:
        """How often worse is said when every pass rate of the first arm is lowered by `share`."""
        draw = np.random.default_rng(self._seed)
        size = (PLAYS, len(self._rates))
        mine = draw.binomial(self._first, self._rates * (1.0 - share), size)
        totals = mine + draw.binomial(self._second, self._rates, size)
        return float((self._p_values(mine.sum(axis=1), totals) <= LEVEL).mean())

    def _p_values(self, mine: Any, totals: Any) -> Any:
        """`mine` (plays,): passes of the first arm; `totals` (plays, units): of both. At given totals the difference of the
        arms grows with the first arm's passes alone."""
        counts = np.stack([(totals == total).sum(axis=1) for total in range(len(self._logs))], axis=1)
        null = np.fft.ifft(np.exp(counts @ self._logs), axis=1).real
        return np.take_along_axis(np.cumsum(null, axis=1) - null / 2, mine[:, None], axis=1)[:, 0]


def _grid(arms: Sequence[tuple[Scores, Scores]]) -> int:
    """Steps of one score point, so that the differences of passed and failed attempts are whole numbers of steps."""
    return min(GRID, math.lcm(*(len(one) * len(other) for one, other in arms))) if arms and _binary(arms) else GRID


def _binary(arms: Sequence[tuple[Scores, Scores]]) -> bool:
    return all(score in (0.0, 1.0) for arm in arms for scores in arm for score in scores)


def _dealt(one: Scores, other: Scores, grid: int) -> dict[int, float]:
    """Chances of the unit's difference, in steps, over all ways to deal its attempts."""
    pool, first = (*one, *other), len(one)
    if _binary([(one, other)]):
        total = round(sum(pool))
        return {round(grid * (k / first - (total - k) / len(other))): _hypergeometric(k, len(pool), total, first)
                for k in range(max(0, total - len(other)), min(first, total) + 1)}  # fmt: skip
    ways = math.comb(len(pool), first)
    if ways <= SPLITS:
        chosen: Iterable[tuple[int, ...]] = combinations(range(len(pool)), first)
    else:
        draw = np.random.default_rng(ways)
        chosen = [tuple(draw.permutation(len(pool))[:first]) for _ in range(SPLITS - 1)]
        chosen = [tuple(range(first)), *chosen]  # what was observed is one of the ways
    found: Counter[int] = Counter()
    for mine in chosen:
        part = sum(pool[i] for i in mine)
        found[round(grid * (part / first - (sum(pool) - part) / len(other)))] += 1
    return {step: count / min(ways, SPLITS) for step, count in found.items()}


def _added(null: Any, dealt: dict[int, float]) -> Any:
    """The distribution with one more unit: `null` (steps,) from its lowest step on."""
    low, high = min(dealt), max(dealt)
    made = np.zeros(len(null) + high - low)
    for step, chance in dealt.items():
        made[step - low : step - low + len(null)] += chance * null
    return made


def _difference(one: Scores, other: Scores) -> float:
    return sum(one) / len(one) - sum(other) / len(other)


def _hypergeometric(k: int, size: int, good: int, drawn: int) -> float:
    """Chance of k good ones among `drawn` out of `size` with `good`."""
    return math.comb(good, k) * math.comb(size - good, drawn - k) / math.comb(size, drawn) if k <= drawn else 0.0


def _scores(trials: Iterable[Trial]) -> dict[Unit, list[float]]:
    found: dict[Unit, list[float]] = {}
    for trial in trials:
        if trial.counts and trial.score is not None:
            found.setdefault(trial.spec.unit, []).append(trial.score)
    return found
