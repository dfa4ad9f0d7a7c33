"""The money ledger: reserve before a call, settle after it. Pure; the gateway owns one.

Only reservation holds under concurrency. A reply may be longer than its reservation (a call without max_tokens): that is
its tail. A call is let through only when everything else in flight would fit with its tail too, so a cap is never
exceeded by more than the tail of one call, with any number in flight. Near the cap calls go one after the other.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Literal

from harness.errors import LimitReached
from harness.records import Role, Usage

RUN_BUDGET = "run_budget"


class Admission(Enum):
    """Whether a call may go now, when others have settled, or not at all."""

    NOW = "now"
    LATER = "later"


@dataclass(frozen=True)
class Reservation:
    """What one call may cost: what it is expected to use, and by how much it might go beyond. `usd` None is unpriced."""

    tokens: int
    usd: float | None = None
    tail_tokens: int = 0
    tail_usd: float = 0.0


@dataclass
class Budget:
    """Caps of a run in dollars and tokens, and what each role has used. None is no cap. Not thread-safe: one event loop."""

    usd: float | None = None
    tokens: int | None = None
    spent: dict[Role, Usage] = field(default_factory=lambda: {"worker": Usage(), "proposer": Usage()})
    _usd_spent: float = 0.0
    """Of priced calls alone: one unpriced reply must not hide what the others cost."""
    refused: Literal["", "usd", "tokens"] = ""
    """The cap that has refused a call."""
    _in_flight: list[Reservation] = field(default_factory=list)

    @property
    def total(self) -> Usage:
        return self.spent["worker"] + self.spent["proposer"]

    def reserve(self, wanted: Reservation) -> Admission:
        """Hold a reservation (NOW), or say that it may fit when others have settled (LATER).

        Raises LimitReached("run_budget") when it does not fit beside what is spent; an unpriced call holds tokens only.
        """
        held = self._in_flight
        tokens, usd = self.total.tokens + wanted.tokens, self._usd_spent + (wanted.usd or 0.0)
        if self.tokens is not None and tokens > self.tokens:
            self._refuse("tokens", f"the run's token budget of {self.tokens:,} does not hold another call")
        if self.usd is not None and usd > self.usd:
            self._refuse("usd", f"the run's budget of ${self.usd:.2f} does not hold another call")
        worst_tokens = tokens + sum(each.tokens + each.tail_tokens for each in held)
        worst_usd = usd + sum((each.usd or 0.0) + each.tail_usd for each in held)
        if (self.tokens is not None and worst_tokens > self.tokens) or (self.usd is not None and worst_usd > self.usd):
            return Admission.LATER
        held.append(wanted)
        return Admission.NOW

    def _refuse(self, cap: Literal["usd", "tokens"], why: str) -> None:
        self.refused = cap
        raise LimitReached(RUN_BUDGET, why)

    def settle(self, role: Role, held: Reservation, usage: Usage) -> None:
        """Give back a reservation and book what was used (an empty usage for a call that never reached a model)."""
        self._in_flight.remove(held)
        self.book(role, usage)

    def book(self, role: Role, usage: Usage) -> None:
        """What was used, in this launch or an earlier one of the run."""
        self.spent[role] = self.spent[role] + usage
        self._usd_spent += usage.usd or 0.0
