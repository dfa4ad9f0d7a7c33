"""The verdict of a baseline comparison: it cries wolf as seldom as it says, and finds the drop that it says it finds."""

import itertools
import random

import pytest

from harness.baselines import Baseline, compare
from harness.power import detectable_drop, randomisation_p
from harness.records import Trial, TrialSpec

RESAMPLES = 400
WORLDS = {
    "three tasks, mixed": (3, 3, 1, (0.2, 0.95)),
    "three tasks, sure": (3, 3, 1, (0.97, 1.0)),
    "eight tasks, mixed": (8, 3, 1, (0.1, 0.95)),
    "eight tasks, two attempts": (8, 3, 2, (0.3, 1.0)),
    "twenty tasks": (20, 2, 1, (0.0, 1.0)),
}


def world(name):
    tasks, seeds, attempts, (low, high) = WORLDS[name]
    draw = random.Random(name)
    centre = {f"t{n}": draw.uniform(low, high) for n in range(tasks)}
    rates = {
        (task, seed): min(1.0, max(0.0, rate + draw.uniform(-0.1, 0.1)))
        for task, rate in centre.items()
        for seed in range(seeds)
    }
    return rates, attempts


def sample(rates, attempts, draw, share=0.0):
    return tuple(Trial(spec=TrialSpec(candidate="eval", task=task, seed=seed, attempt=n), outcome="scored",
                       score=float(draw.random() < rate * (1 - share)))
                 for (task, seed), rate in rates.items() for n in range(attempts))  # fmt: skip


def worse(now, before):
    return compare({}, now, Baseline({}, before), {}).worse


@pytest.mark.parametrize("name", WORLDS)
def test_the_same_scaffold_is_seldom_called_worse(name, monkeypatch):
    monkeypatch.setattr("harness.baselines.detectable_drop", lambda *_: None)
    rates, attempts = world(name)
    draw = random.Random(1)
    alarms = sum(worse(sample(rates, attempts, draw), sample(rates, attempts, draw)) for _ in range(RESAMPLES))
    assert alarms / RESAMPLES <= 0.025 + 2.6 * (0.025 * 0.975 / RESAMPLES) ** 0.5


@pytest.mark.parametrize("name", WORLDS)
def test_the_drop_that_is_claimed_to_be_found_is_found(name, monkeypatch):
    rates, attempts = world(name)
    draw = random.Random(2)
    mean = sum(rates.values()) / len(rates)
    claims = [detectable_drop(sample(rates, attempts, draw), sample(rates, attempts, draw)) for _ in range(20)]
    known = [claim for claim in claims if claim is not None]
    if len(known) < 15:  # it says that it cannot find anything, and so claims nothing
        assert WORLDS[name][0] == 3
        return
    share = min(1.0, sum(known) / len(known) / mean)
    monkeypatch.setattr("harness.baselines.detectable_drop", lambda *_: None)
    found = sum(worse(sample(rates, attempts, draw, share), sample(rates, attempts, draw)) for _ in range(RESAMPLES))
    assert found / RESAMPLES >= 0.8 - 2.6 * (0.8 * 0.2 / RESAMPLES) ** 0.5


def test_scores_that_never_vary_do_not_make_every_drop_detectable():
    rates, _ = world("eight tasks, mixed")
    sure = sample(dict.fromkeys(rates, 1.0), 1, random.Random(3))
    assert detectable_drop(sure, sure) > 0.1


def test_two_units_or_no_trial_find_nothing():
    assert detectable_drop((), ()) is None
    one = sample({("a", 0): 1.0, ("a", 1): 1.0}, 1, random.Random(4))
    assert detectable_drop(one, one) is None


def arm(*units):
    """One arm: a row of scores per unit."""
    return tuple(Trial(spec=TrialSpec(candidate="eval", task=f"t{n}", seed=0, attempt=k), outcome="scored", score=float(score))
                 for n, scores in enumerate(units) for k, score in enumerate(scores))  # fmt: skip


def p(now, before):
    return randomisation_p(arm(*now), arm(*before))


def test_with_one_attempt_it_is_the_sign_flip_test():
    assert p([], []) == 1.0
    assert p([[1], [0]], [[1], [0]]) == 0.5
    assert p([[0]] * 6, [[1]] * 6) == pytest.approx(1 / 128)
    assert p([[0]] * 5 + [[1]], [[1]] * 5 + [[0]]) == pytest.approx((1 + 6 / 2) / 64)
    assert p([[1]] * 6, [[0]] * 6) == pytest.approx(1 - 1 / 128)
    assert p([[0]] * 30, [[1]] * 30) == pytest.approx(2.0**-31)
    assert p([[0.25], [0.5]], [[0.75], [0.75]]) == pytest.approx(1 / 8)


def test_attempts_are_dealt_within_their_unit():
    assert p([[0] * 4], [[1] * 4]) == pytest.approx(1 / 140)
    assert p([[0] * 4] * 2, [[1] * 4] * 2) == pytest.approx(1 / 9800)
    assert p([[0, 0, 0, 1]], [[1] * 4]) == pytest.approx(
        5 / 140
    )  # dealt: all of the three failures, and one pass of five
    assert p([[0] * 2], [[1] * 5]) == pytest.approx(1 / 42)  # arms of different size
    assert p([[0, 0], [1, 1, 1]], [[1, 1, 1], [1]]) == pytest.approx(1 / 20)  # a unit that never varies says nothing
    assert p([[0.1, 0.2]], [[0.9, 0.8]]) == pytest.approx(1 / 12)


def brute(now, before):
    """All ways to deal, one by one."""
    sums = [0.0]
    for one, other in zip(now, before, strict=True):
        pool = [*one, *other]
        ways = [sum(pool[i] for i in chosen) / len(one) - sum(pool[i] for i in range(len(pool)) if i not in chosen) / len(other)
                for chosen in itertools.combinations(range(len(pool)), len(one))]  # fmt: skip
        sums = [total + way for total in sums for way in ways]
    seen = sum(sum(one) / len(one) - sum(other) / len(other) for one, other in zip(now, before, strict=True))
    return (sum(total < seen - 1e-9 for total in sums) + sum(abs(total - seen) <= 1e-9 for total in sums) / 2) / len(
        sums
    )


@pytest.mark.parametrize("seed", range(12))
def test_it_counts_as_trying_every_way_does(seed):
    draw = random.Random(seed)
    values = (0.0, 1.0) if seed % 2 else (0.0, 0.25, 0.5, 1.0)
    sizes = [(draw.randint(1, 3), draw.randint(1, 3)) for _ in range(3)]
    now, before = ([[draw.choice(values) for _ in range(size[side])] for size in sizes] for side in (0, 1))
    assert p(now, before) == pytest.approx(brute(now, before), abs=2e-3 if seed % 2 == 0 else 1e-9)


def test_many_attempts_of_partial_scores_are_dealt_by_lot():
    draw = random.Random(1)
    low, high = ([[draw.uniform(0, 0.5) + up for _ in range(20)] for _ in range(5)] for up in (0.0, 0.4))
    assert p(low, high) < 0.01
    assert p(high, low) > 0.99
    assert p(low, high) == p(low, high)
