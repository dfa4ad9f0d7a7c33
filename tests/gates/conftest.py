"""A tiny world for gates: true pass rates per arm, trials drawn from them by key."""

import pytest

from harness.draws import draw
from harness.records import Trial, Unit
from harness.seams import Duel


class World:
    """Plays a duel through a gate; scores are a function of the trial's key, so order cannot matter."""

    def __init__(self, rate_candidate, rate_parent, tasks=8, seeds=3, seed=1, **duel):
        self.units = tuple(Unit(task=f"t{i}", seed=s) for i in range(tasks) for s in range(seeds))
        self.rates = {"c0001": rate_candidate, "c0000": rate_parent}
        self.seed = seed
        self.extra = {"trials_left": 1000, "rounds_left": 7, **duel}

    def trial(self, spec):
        score = float(draw(self.seed, spec.key) < self.rates[spec.candidate])
        return Trial(spec=spec, outcome="scored", score=score)

    def duel(self, done=()):
        mine = tuple(t for t in done if t.spec.candidate == "c0001")
        theirs = tuple(t for t in done if t.spec.candidate == "c0000")
        left = self.extra["trials_left"] - len(done) if self.extra["trials_left"] is not None else None
        return Duel(run_seed=self.seed, round=1, candidate="c0001", parent="c0000", units=self.units,
                    candidate_trials=mine, parent_now=theirs, **{**self.extra, "trials_left": left})  # fmt: skip

    def play(self, gate, reorder=lambda specs: specs, trial=None):
        done = []
        while specs := gate.next_block(self.duel(done)):
            done += [(trial or self.trial)(spec) for spec in reorder(list(specs))]
        return gate.decide(self.duel(done)), done


@pytest.fixture
def world():
    return World
