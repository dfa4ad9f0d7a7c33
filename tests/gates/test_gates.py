"""What every gate must do, and what `pool` does beyond."""

import random

import pytest

from harness.gates import build_gate
from harness.records import Trial

KINDS = ["pool", "strict", "paired", "random"]


@pytest.mark.parametrize("kind", KINDS)
def test_same_duel_same_decision_in_any_order_of_arrival(kind, world):
    first, _ = world(0.6, 0.4).play(build_gate(kind))
    shuffled, _ = world(0.6, 0.4).play(
        build_gate(kind), reorder=lambda specs: random.Random(3).sample(specs, len(specs))
    )
    assert first == shuffled


@pytest.mark.parametrize("kind", KINDS)
def test_a_killed_duel_asks_exactly_for_what_is_missing(kind, world):
    gate, here = build_gate(kind), world(0.6, 0.4)
    decision, done = here.play(gate)
    for cut in range(len(done)):
        kept = done[:cut]
        rest = list(kept)
        while specs := gate.next_block(here.duel(rest)):
            assert not {s.key for s in specs} & {t.spec.key for t in rest}
            rest += [here.trial(spec) for spec in specs]
        assert {t.spec.key for t in rest} == {t.spec.key for t in done}
        assert gate.decide(here.duel(rest)) == decision


@pytest.mark.parametrize("kind", ["pool", "strict", "paired"])
def test_clearly_better_is_kept_and_clearly_worse_is_not(kind, world):
    assert world(0.95, 0.2).play(build_gate(kind))[0].verdict == "keep"
    assert world(0.1, 0.8).play(build_gate(kind))[0].verdict == "revert"


def test_pool_stops_early_on_a_disaster(world):
    decision, done = world(0.0, 0.9).play(build_gate("pool"))
    assert decision.reason in ("smoke", "lower")
    assert len(done) < 20


def test_pool_keeps_fewer_nulls_than_greedy_at_the_highest_variance_there_is(world):
    keeps = sum(world(0.5, 0.5, seed=s).play(build_gate("pool"))[0].verdict == "keep" for s in range(60))
    greedy = sum(world(0.5, 0.5, seed=s).play(build_gate("strict"))[0].verdict == "keep" for s in range(60))
    assert keeps < greedy
    assert keeps <= 18


def test_equal_arms_are_never_kept_by_strict(world):
    def same(spec):
        return Trial(spec=spec, outcome="scored", score=1.0)

    assert world(1, 1).play(build_gate("strict"), trial=same)[0].verdict == "revert"
    assert world(1, 1).play(build_gate("pool"), trial=same)[0].verdict == "revert"


def test_infrastructure_faults_make_it_indecisive_not_worse(world):
    here = world(0.9, 0.2)

    def flaky(spec):
        if spec.candidate == "c0001" and spec.seed == 0:
            return Trial(spec=spec, outcome="infra_error", score=None)
        return here.trial(spec)

    decision, _ = here.play(build_gate("pool"), trial=flaky)
    assert decision.verdict == "indecisive"
    assert decision.delta is None
    assert decision.coverage < 0.95


def test_fresh_parent_trials_are_pooled_up_to_three(world):
    here = world(0.5, 0.5)
    _, done = here.play(build_gate("paired"))
    parents = tuple(t for t in done if t.spec.candidate == "c0000")
    duel = here.duel().model_copy(update={"parent_trials": parents + parents,
                                          "first_attempt": tuple((f"c0000/{u}", 4) for u in here.units)})  # fmt: skip
    specs = build_gate("pool").next_block(duel)
    assert specs
    assert all(spec.candidate == "c0001" for spec in specs)


def test_swapping_the_arms_negates_the_difference(world):
    here = world(0.7, 0.4)
    decision, done = here.play(build_gate("paired"))
    swapped = []
    for t in done:
        other = "c0000" if t.spec.candidate == "c0001" else "c0001"
        swapped.append(t.model_copy(update={"spec": t.spec.model_copy(update={"candidate": other})}))
    mirrored = build_gate("paired").decide(here.duel(swapped))
    assert mirrored.mean == pytest.approx(-decision.mean)
    assert mirrored.fixed == decision.broken
