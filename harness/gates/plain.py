"""Comparison gates: what peers do, and a coin. They exist to be compared with `pool`. Pure."""

from __future__ import annotations

import math

from harness.draws import draw
from harness.gates.blocks import differences, missing, plan
from harness.gates.boundaries import belief, quantised
from harness.gates.verdicts import decision
from harness.records import Decision, TrialSpec
from harness.seams import Duel


class StrictGate:
    """Keep when the score went up: one pass, against the parent's one measurement per unit (autoresearch, GEPA ...)."""

    name = "strict"

    def next_block(self, duel: Duel) -> tuple[TrialSpec, ...]:
        return missing(duel, plan(duel, passes=1, parent_max=1))

    def decide(self, duel: Duel) -> Decision:
        pairs = plan(duel, passes=1, parent_max=1)
        found = differences(duel, pairs)
        total = sum(d for _, d in found)
        complete = not missing(duel, pairs)
        return decision(duel, self.name, "keep" if complete and total > 0 else "revert",
                        "score" if complete else "budget", pairs=pairs, found=found,
                        belief=belief(total, len(found), quantised(duel.variance[0] / duel.variance[1])))  # fmt: skip


class PairedGate:
    """Keep when a one-sided paired z test at 5 % says better: fixed n, two passes, the parent measured beside it."""

    name = "paired"
    passes = 2
    threshold = 1.645

    def next_block(self, duel: Duel) -> tuple[TrialSpec, ...]:
        return missing(duel, plan(duel, self.passes, self._parent_max(duel)))

    def decide(self, duel: Duel) -> Decision:
        pairs = plan(duel, self.passes, self._parent_max(duel))
        found = differences(duel, pairs)
        n, total = len(found), sum(d for _, d in found)
        spread = sum(d * d for _, d in found) - total**2 / n if n else 0.0
        error = max(math.sqrt(spread / (n - 1) / n) if n > 1 else 1.0, 0.05 / math.sqrt(max(n, 1)))
        complete = not missing(duel, pairs)
        keep = complete and n > 1 and total / n > self.threshold * error
        return decision(duel, self.name, "keep" if keep else "revert", "score" if complete else "budget", pairs=pairs,
                        found=found, belief=belief(total, n, quantised(duel.variance[0] / duel.variance[1])),
                        settings={"z": total / n / error if n else 0.0})  # fmt: skip

    def _parent_max(self, duel: Duel) -> int:
        return self.passes + len(duel.parent_trials)


class RandomGate:
    """Keep on a coin, measuring one pass so that the outcome is known: the control for every gate."""

    name = "random"

    def next_block(self, duel: Duel) -> tuple[TrialSpec, ...]:
        return missing(duel, plan(duel, passes=1, parent_max=1))

    def decide(self, duel: Duel) -> Decision:
        pairs = plan(duel, passes=1, parent_max=1)
        found = differences(duel, pairs)
        keep = draw(duel.run_seed, duel.round, "coin") < 0.5
        return decision(duel, self.name, "keep" if keep else "revert", "score", pairs=pairs, found=found,
                        belief=belief(sum(d for _, d in found), len(found),
                                      quantised(duel.variance[0] / duel.variance[1])),
                        detail="a coin decided")  # fmt: skip
