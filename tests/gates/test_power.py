"""The verdict of a baseline comparison: it cries wolf as seldom as it says, and finds the drop that it says it finds."""

import random

import pytest

from harness.baselines import Baseline, compare
from harness.power import detectable_drop, sign_flip_p
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


def test_the_sign_flip_test_is_exact():
    assert sign_flip_p([]) == 1.0
    assert sign_flip_p([0.0, 0.0]) == 1.0
    assert sign_flip_p([-1.0] * 6) == 1 / 64
    assert sign_flip_p([-1.0] * 5 + [1.0]) == 7 / 64
    assert sign_flip_p([1.0] * 6) == 1.0
    assert sign_flip_p([-0.5, -0.25]) == 0.25
    assert sign_flip_p([-1.0] * 30) == pytest.approx(1 / 4001)
    assert 0.3 < sign_flip_p([-1.0, 1.0] * 20) < 0.7
