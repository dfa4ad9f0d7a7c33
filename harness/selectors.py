"""Selectors choose the next parent from the archive. Pure; draws come from outside."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist, fmean

from harness.archive import Archive
from harness.seams import Selector
from harness.stats import unit_means


class Ratchet:
    """The reigning champion, always."""

    def choose(self, archive: Archive, draw: Callable[[str], float]) -> str:
        return archive.best


class Pareto:
    """One of the kept candidates that are best on some unit, in proportion to how many they lead (GEPA's idea)."""

    def choose(self, archive: Archive, draw: Callable[[str], float]) -> str:
        means = {name: unit_means(archive.trials.get(name, ())) for name in _kept(archive)}
        leads = dict.fromkeys(means, 0.0)
        for unit in sorted({unit for scores in means.values() for unit in scores}, key=str):
            best = max(scores[unit] for scores in means.values() if unit in scores)
            leaders = [name for name, scores in means.items() if scores.get(unit, -1.0) >= best > 0]
            for name in leaders:
                leads[name] += 1 / len(leaders)
        return _weighted(leads, draw("pareto")) or archive.best


class Thompson:
    """One draw from each kept candidate's posterior of its score; the highest is the parent."""

    def choose(self, archive: Archive, draw: Callable[[str], float]) -> str:
        best, best_value = archive.best, -math.inf
        for name in _kept(archive):
            scores = [t.score for t in archive.trials.get(name, ()) if t.score is not None]
            n = len(scores)
            mean = (sum(scores) + 1) / (n + 2)
            spread = math.sqrt(mean * (1 - mean) / (n + 3))
            value = NormalDist(mean, spread).inv_cdf(min(max(draw(f"thompson {name}"), 1e-9), 1 - 1e-9))
            if value > best_value:
                best, best_value = name, value
        return best


def _kept(archive: Archive) -> list[str]:
    """The seed and every candidate that was kept, in order."""
    kept = {d.candidate for d in archive.decisions if d.verdict == "keep"}
    return [name for name in archive.candidates if name == archive.seed or name in kept]


def _weighted(weights: dict[str, float], point: float) -> str | None:
    total = sum(weights.values())
    running = 0.0
    for name, weight in weights.items():
        running += weight
        if total and point * total < running:
            return name
    return None


def mean_score(archive: Archive, candidate: str) -> float | None:
    """Mean train score of a candidate over its gate trials that count."""
    scores = [t.score for t in archive.trials.get(candidate, ()) if t.score is not None]
    return fmean(scores) if scores else None


def build_selector(kind: str) -> Selector:
    """The selector of an experiment's [selector] kind."""
    kinds: dict[str, type[Ratchet] | type[Pareto] | type[Thompson]] = {
        "ratchet": Ratchet, "pareto": Pareto, "thompson": Thompson,
    }  # fmt: skip
    return kinds[kind]()
