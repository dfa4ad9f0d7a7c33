"""The `pool` gate: paired differences against a pooled, freshly measured parent, optimal stopping, budget pacing.

selection.md section 5 specifies it and says what it was simulated in. Units: differences and lambda in score units,
costs in trials.
"""

from __future__ import annotations

from dataclasses import dataclass

from harness.gates.blocks import Pair, differences, missing, parent_means, plan
from harness.gates.boundaries import Belief, Table, belief, paced, quantised
from harness.gates.verdicts import decision
from harness.records import Decision, Look, TrialSpec
from harness.records.decisions import Reason
from harness.seams import Duel

PASSES = 2
LOOKS = 16
PARENT_MAX = 3
FALSE_KEEP = {"explore": 0.01, "default": 0.02, "cautious": 0.05}
"""Lambda by preset: .02 says that one false keep costs what 2 points of score are worth. Under 40 units `explore` gains more."""


@dataclass(frozen=True)
class _State:
    """Where a duel stands after its last complete look."""

    looks: tuple[Look, ...]
    outcome: Reason | None
    keep: bool
    total: float
    squares: float
    n: int
    pairs: tuple[Pair, ...]
    wanted: tuple[TrialSpec, ...]


class PoolGate:
    """Advance or not, by the price of a trial and the price of a false keep."""

    name = "pool"

    def next_block(self, duel: Duel) -> tuple[TrialSpec, ...]:
        """The trials of the next look that are not there yet; empty once a boundary is crossed or the plan is done."""
        state = self._walk(duel)
        return () if state.outcome else state.wanted

    def decide(self, duel: Duel) -> Decision:
        """Keep or revert on the looks that are complete. A duel cut short by the budget reverts, reason `budget`."""
        state = self._walk(duel)
        table, sigma2, lam, block = self._table(duel)
        found = differences(duel, state.pairs)
        settings = {"lambda": lam, "sigma2": sigma2, "block": float(block), "price": table.price, "rho": table.rho,
                    "passes": float(PASSES)}  # fmt: skip
        spread = state.squares - state.total**2 / state.n if state.n else 0.0
        variance = (duel.variance[0] + spread, duel.variance[1] + state.n)
        posterior: Belief | None = belief(state.total, state.n, sigma2) if state.n else None
        return decision(
            duel, self.name, "keep" if state.keep else "revert", state.outcome or "budget",
            pairs=state.pairs, found=found, belief=posterior, looks=state.looks, settings=settings, variance=variance,
        )  # fmt: skip

    def _table(self, duel: Duel) -> tuple[Table, float, float, int]:
        n_max = PASSES * len(duel.units)
        block = min(n_max, max(3, n_max // LOOKS))
        sigma2 = quantised(duel.variance[0] / duel.variance[1])
        lam = FALSE_KEEP[duel.preset]
        per_proposal = None
        if duel.trials_left is not None and duel.rounds_left is not None:
            here = len(duel.candidate_trials) + len(duel.parent_now)
            per_proposal = (duel.trials_left + here) / max(1, duel.rounds_left + 1) + duel.proposal_trials
        return paced(sigma2, n_max, block, lam, duel.proposal_trials, per_proposal), sigma2, lam, block

    def _walk(self, duel: Duel) -> _State:
        """Look by look until a boundary is crossed, a trial is missing, or the plan ends."""
        table, _, _, _ = self._table(duel)
        pairs = plan(duel, PASSES, PARENT_MAX)
        looks: list[Look] = []
        state = _State((), None, False, 0.0, 0.0, 0, (), ())
        for index, n in enumerate(table.n):
            seen = pairs[:n]
            if owed := missing(duel, seen):
                return _State(tuple(looks), None, False, state.total, state.squares, state.n, state.pairs, owed)
            found = differences(duel, seen)
            total, squares = sum(d for _, d in found), sum(d * d for _, d in found)
            lower, upper = table.lower[index], table.upper[index]
            count = len(found)
            looks.append(Look(n=count, mean=total / count if count else 0.0, lower=max(lower / n, -9.0),
                              upper=min(upper / n, 9.0)))  # fmt: skip
            outcome, keep = self._judge(duel, index, table, total, seen)
            state = _State(tuple(looks), outcome, keep, total, squares, count, seen, ())
            if outcome:
                break
        return state

    def _judge(
        self, duel: Duel, look: int, table: Table, total: float, seen: tuple[Pair, ...]
    ) -> tuple[Reason | None, bool]:
        last = look == len(table.n) - 1
        if total > 0 and total >= table.upper[look]:
            return ("last_look" if last else "upper"), True
        if look == 0 and self._smoke(duel, seen):
            return "smoke", False
        if last:
            return "last_look", False
        if total <= table.lower[look]:
            return "lower", False
        return None, False

    @staticmethod
    def _smoke(duel: Duel, seen: tuple[Pair, ...]) -> bool:
        """The first block all 0 where the parent's mean is at least one half."""
        scores = [trial.score for trial in duel.candidate_trials if trial.counts]
        parents = parent_means([*duel.parent_trials, *duel.parent_now])
        known = [parents[str(pair.unit)] for pair in seen if str(pair.unit) in parents]
        return bool(scores and known) and not any(scores) and sum(known) / len(known) >= 0.5
