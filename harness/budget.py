"""The money ledger: reserve before a call, settle after it. Pure; the gateway owns one.

Only reservation holds under concurrency: with any number of calls in flight, what is spent plus what is reserved never
passes a cap by more than what one call used beyond its own estimate.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from harness.errors import LimitReached
from harness.records import Role, Usage

RUN_BUDGET = "run_budget"


@dataclass
class Budget:
    """Caps of a run in dollars and tokens, and what each role has used. None is no cap. Not thread-safe: one event loop."""

    usd: float | None = None
    tokens: int | None = None
    spent: dict[Role, Usage] = field(default_factory=lambda: {"worker": Usage(), "proposer": Usage()})
    _reserved_usd: float = 0.0
    _reserved_tokens: int = 0

    @property
    def total(self) -> Usage:
        return self.spent["worker"] + self.spent["proposer"]

    def reserve(self, usd: float | None, tokens: int) -> None:
        """Hold an estimate. Raises LimitReached("run_budget") when it does not fit; an unpriced call holds tokens only."""
        used = self.total
        if self.tokens is not None and used.tokens + self._reserved_tokens + tokens > self.tokens:
            raise LimitReached(RUN_BUDGET, f"the run's token budget of {self.tokens:,} does not hold another call")
        if self.usd is not None and (used.usd or 0.0) + self._reserved_usd + (usd or 0.0) > self.usd:
            raise LimitReached(RUN_BUDGET, f"the run's budget of ${self.usd:.2f} does not hold another call")
        self._reserved_tokens += tokens
        self._reserved_usd += usd or 0.0

    def settle(self, role: Role, usd: float | None, tokens: int, usage: Usage) -> None:
        """Give back the estimate and book what was used (an empty usage for a call that never reached a model)."""
        self._reserved_tokens -= tokens
        self._reserved_usd -= usd or 0.0
        self.spent[role] = self.spent[role] + usage

    def book(self, role: Role, usage: Usage) -> None:
        """What an earlier launch of this run has spent already."""
        self.spent[role] = self.spent[role] + usage
