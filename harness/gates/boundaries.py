"""Bayes optimal stopping boundaries for paired differences, by backward induction. Pure; numpy.

The model (selection.md section 5): a candidate's true gain Delta has the prior one half at 0 plus one half
Normal(0, .05), on a grid -.16..+.16; the sum of n differences is Normal(n Delta, n sigma2). Accepting pays
E[Delta | S] - lambda P(Delta <= 0 | S), rejecting 0; an observation costs 1.5 trials and a round costs `price` trials.
The reward per trial is maximised (Dinkelbach's iteration on rho).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

GAINS: Array = np.linspace(-0.16, 0.16, 65)
OBSERVATION = 1.5
"""Trials per paired observation: 2 before the parent's trials are pooled, 1 after."""


def prior() -> Array:
    """P(Delta) on GAINS: a spike at 0 and a wide slab."""
    slab = np.exp(-0.5 * (GAINS / 0.05) ** 2)
    weights: Array = 0.5 * (np.abs(GAINS) < 1e-9) + 0.5 * slab / slab.sum()
    return weights


@dataclass(frozen=True)
class Table:
    """Boundaries on the sum of differences after n = block, 2 block, ...: accept at or above, reject at or below."""

    n: tuple[int, ...]
    lower: tuple[float, ...]
    upper: tuple[float, ...]
    rho: float
    """Expected gain per trial."""
    trials: float
    """Expected trials per proposal, the price of the proposal left out."""
    price: float


@dataclass(frozen=True)
class _Grid:
    sums: Array
    accept_gain: tuple[Array, ...]
    accept_false: tuple[Array, ...]
    onward: tuple[Array, ...]
    first: Array


@lru_cache(maxsize=64)
def _grid(sigma2: float, n_max: int, block: int) -> _Grid:
    looks = n_max // block
    reach = max(4 * np.sqrt(sigma2 * n_max), 0.16 * n_max)
    sums = np.linspace(-reach, reach, 241)
    weights = prior()
    step = np.exp(-0.5 * ((sums[None, :] - sums[:, None])[:, :, None] - block * GAINS) ** 2 / (block * sigma2))
    step /= step.sum(1, keepdims=True) + 1e-300
    posts = [posterior(sums, n, sigma2) for n in range(block, looks * block + 1, block)]
    return _Grid(
        sums=sums,
        accept_gain=tuple(post @ GAINS for post in posts),
        accept_false=tuple(post[:, GAINS <= 1e-9].sum(1) for post in posts),
        onward=tuple(np.einsum("sd,std->st", post, step, optimize=True) for post in posts[:-1]),
        first=np.einsum("d,td->t", weights, step[len(sums) // 2]),
    )


def posterior(sums: Array, n: int, sigma2: float) -> Array:
    """P(Delta | S) for each sum: one row per sum, one column per gain."""
    likelihood = -0.5 * (sums[:, None] - n * GAINS[None, :]) ** 2 / (n * sigma2) + np.log(prior() + 1e-300)
    likelihood -= likelihood.max(1, keepdims=True)
    weights = np.exp(likelihood)
    normalised: Array = weights / weights.sum(1, keepdims=True)
    return normalised


@lru_cache(maxsize=512)
def boundaries(sigma2: float, n_max: int, block: int, lam: float, price: float) -> Table:
    """The table for a variance, suite, price of a false keep and of a round. Raises ValueError for n_max < block."""
    if n_max < block:
        raise ValueError("n_max must hold at least one block")
    grid = _grid(sigma2, n_max, block)
    accept = [gain - lam * false for gain, false in zip(grid.accept_gain, grid.accept_false, strict=True)]
    rho = 0.0
    for _ in range(40):
        lower, upper, reward, cost = _backward(grid, accept, rho, block)
        expected = float(grid.first @ cost) + block * OBSERVATION
        better = float(grid.first @ reward) / (expected + price)
        if abs(better - rho) < 1e-9:
            break
        rho = better
    return Table(
        tuple(range(block, n_max // block * block + 1, block)), tuple(lower), tuple(upper), rho, expected, price
    )


def _backward(
    grid: _Grid, accept: list[Array], rho: float, block: int
) -> tuple[list[float], list[float], Array, Array]:
    last = len(accept) - 1
    value = np.maximum(accept[last], 0.0)
    reward, cost = value.copy(), np.zeros_like(value)
    edge = _first_above(grid.sums, accept[last] > 0)
    lower, upper = [edge], [edge]
    for look in range(last - 1, -1, -1):
        go_on = grid.onward[look] @ value - rho * block * OBSERVATION
        stop = np.maximum(accept[look], 0.0)
        goes = go_on > stop
        reward = np.where(goes, grid.onward[look] @ reward, stop)
        cost = np.where(goes, grid.onward[look] @ cost + block * OBSERVATION, 0.0)
        value = np.where(goes, go_on, stop)
        accepted, rejected = ~goes & (accept[look] > 0), ~goes & (accept[look] <= 0)
        upper.insert(0, float(grid.sums[accepted].min()) if accepted.any() else float("inf"))
        lower.insert(0, float(grid.sums[rejected].max()) if rejected.any() else float("-inf"))
    return lower, upper, reward, cost


def _first_above(sums: Array, where: NDArray[np.bool_]) -> float:
    return float(sums[np.argmax(where)]) if where.any() else float(sums[-1])


def paced(sigma2: float, n_max: int, block: int, lam: float, proposal: float, per_proposal: float | None) -> Table:
    """Pacing: the highest shadow price of a round whose expected spend still fits what is left per proposal.

    `per_proposal` is the budget left over the proposals left, in trials; None means there is no such budget.
    """
    best = boundaries(sigma2, n_max, block, lam, proposal)
    for price in (15.0, 40.0, 100.0, 250.0, 600.0):
        if price <= proposal:
            continue
        table = boundaries(sigma2, n_max, block, lam, price)
        if per_proposal is not None and table.trials + proposal > 1.05 * per_proposal:
            break
        best = table
        if per_proposal is None and price >= 40.0:
            break
    return best


def quantised(variance: float) -> float:
    """Clip to .03...5 and round to a power of sqrt(2), so that tables are few."""
    return float(np.clip(2.0 ** (np.round(np.log2(max(variance, 0.02)) * 2) / 2), 0.03, 0.5))


@dataclass(frozen=True)
class Belief:
    """The posterior of the gain, in score units."""

    mean: float
    lower: float
    upper: float
    p_better: float


def belief(total: float, n: int, sigma2: float) -> Belief:
    """What is believed of the gain after n differences that sum to `total`: mean, central 95 %, P(gain > 0)."""
    weights = posterior(np.array([total]), n, sigma2)[0] if n else prior()
    cumulative = np.cumsum(weights)
    low, high = np.searchsorted(cumulative, [0.025, 0.975])
    return Belief(
        mean=float(weights @ GAINS),
        lower=float(GAINS[min(int(low), len(GAINS) - 1)]),
        upper=float(GAINS[min(int(high), len(GAINS) - 1)]),
        p_better=float(weights[GAINS > 1e-9].sum()),
    )
