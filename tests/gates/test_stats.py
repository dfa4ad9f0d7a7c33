"""Intervals and e-values against independent computations, and their error rates by simulation."""

import math
import random
from statistics import fmean

import pytest

from harness.records import Trial, TrialSpec
from harness.stats import clustered_interval, e_value, paired


def trial(candidate, task, seed, score, outcome="scored"):
    return Trial(spec=TrialSpec(candidate=candidate, task=task, seed=seed, attempt=0), outcome=outcome, score=score)


def test_paired_uses_only_units_that_both_arms_have():
    a = [trial("a", "t", 0, 1.0), trial("a", "t", 1, 0.0), trial("a", "u", 0, 1.0)]
    b = [trial("b", "t", 0, 0.0), trial("b", "t", 1, None, "infra_error"), trial("b", "u", 0, 1.0)]
    compared = paired(a, b)
    assert compared.pairs == 2
    assert compared.mean == 0.5
    assert compared.fixed == ("t/0",)
    assert paired(b, a).mean == -0.5


def test_no_discordant_pair_is_never_certain():
    same = [trial("a", "t", s, 1.0) for s in range(4)]
    assert paired(same, same).error == pytest.approx(0.05 / 2)


def test_clustered_interval_against_the_textbook_formula():
    groups = {"a": [1.0, 1.0, 0.0], "b": [0.0, 0.0, 1.0], "c": [1.0, 0.0, 0.0], "d": [0.0, 0.0, 0.0]}
    values = [d for g in groups.values() for d in g]
    mean, n, families = fmean(values), len(values), len(groups)
    error = (
        math.sqrt(sum(sum(d - mean for d in g) ** 2 for g in groups.values()))
        / n
        * math.sqrt(families / (families - 1))
    )
    t_quantile = 3.182446305284263  # 0.975 at 3 degrees of freedom, from tables
    assert clustered_interval(groups) == pytest.approx((mean - t_quantile * error, mean + t_quantile * error))
    assert clustered_interval({"a": [1.0]}) is None


def test_null_rate_of_the_e_value_is_bounded():
    draws = random.Random(4)
    false = sum(e_value([draws.choice([-1, 0, 0, 1]) for _ in range(40)]) >= 20 for _ in range(2000))
    assert false / 2000 <= 0.05


def test_three_families_cannot_reach_twenty_and_eight_can():
    assert e_value([1.0] * 3) < 20
    assert e_value([1.0] * 8) >= 20


def test_coverage_of_the_clustered_interval_with_correlated_families():
    draws = random.Random(9)
    hits = 0
    for _ in range(400):
        groups = {}
        for family in range(12):
            shift = draws.gauss(0.1, 0.3)
            groups[str(family)] = [max(-1.0, min(1.0, shift + draws.gauss(0, 0.2))) for _ in range(4)]
        low, high = clustered_interval(groups)
        hits += low <= 0.1 <= high
    assert hits / 400 >= 0.90
