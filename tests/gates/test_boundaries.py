"""Boundaries against the golden values of selection.md section 5, and what a posterior must satisfy."""

import pytest

from harness.gates.boundaries import belief, boundaries, paced, quantised

GOLDEN = [  # price, lambda, accept when mean(D) exceeds at n = 12, 24, 48, 96, 192, expected trials, rho
    (40, 0.01, (0.222, 0.111, 0.061, 0.036, 0.024), 42, 0.54e-4),
    (40, 0.02, (0.356, 0.178, 0.100, 0.061, 0.033), 53, 0.44e-4),
    (5, 0.02, (0.267, 0.144, 0.083, 0.050, 0.033), 33, 0.77e-4),
]


@pytest.mark.parametrize(("price", "lam", "means", "trials", "rho"), GOLDEN)
def test_golden_values(price, lam, means, trials, rho):
    table = boundaries(0.125, 200, 12, lam, price)
    found = [round(u / n, 3) for n, u in zip(table.n, table.upper, strict=True) if n in (12, 24, 48, 96, 192)]
    assert found == pytest.approx(means, abs=0.0011)
    assert round(table.trials) == trials
    assert table.rho == pytest.approx(rho, rel=0.02)


def test_boundaries_meet_at_the_last_look_and_never_cross():
    table = boundaries(0.25, 30, 3, 0.02, 40)
    assert table.lower[-1] == table.upper[-1]
    assert all(low <= high for low, high in zip(table.lower, table.upper, strict=True))


def test_a_dearer_false_keep_raises_the_bar():
    explore, cautious = boundaries(0.125, 60, 6, 0.01, 40), boundaries(0.125, 60, 6, 0.05, 40)
    assert all(a <= b for a, b in zip(explore.upper, cautious.upper, strict=True))


def test_pacing_spends_more_when_there_is_more():
    poor, rich = paced(0.125, 80, 5, 0.02, 5, 20), paced(0.125, 80, 5, 0.02, 5, 400)
    assert rich.price > poor.price
    assert rich.trials > poor.trials


def test_belief_is_symmetric_and_shrinks():
    better, worse = belief(4.0, 20, 0.2), belief(-4.0, 20, 0.2)
    assert better.mean == pytest.approx(-worse.mean)
    assert 0 < better.mean < 4.0 / 20
    assert better.lower < better.mean < better.upper
    assert belief(0.0, 0, 0.2).mean == pytest.approx(0.0)


def test_quantised_stays_in_bounds():
    assert quantised(0.0) == 0.03
    assert quantised(9.0) == 0.5
    assert quantised(0.25) == 0.25
