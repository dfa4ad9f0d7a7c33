"""Our price table: dollars per million tokens by class. An unknown price is None ("unpriced"), never 0.

A few list prices, written down from memory of the providers' pages and verified nowhere since: for a paper or a tight
budget give your own, an experiment's [models.x] usd_per_mtok_* win.
"""

from __future__ import annotations

from dataclasses import dataclass

from harness.records import Usage
from harness.records.experiment import ModelChoice


@dataclass(frozen=True)
class Price:
    """Dollars per million tokens: prompt, completion, cached prompt."""

    tokens_in: float
    tokens_out: float
    cached: float

    def of(self, usage: Usage) -> float:
        """What a usage costs. Cached tokens are part of the prompt tokens and are billed at their own rate."""
        fresh = usage.tokens_in - usage.tokens_cached
        return (fresh * self.tokens_in + usage.tokens_cached * self.cached + usage.tokens_out * self.tokens_out) / 1e6


FREE = Price(0.0, 0.0, 0.0)
TABLE = {
    "minimax/MiniMax-M2": Price(0.30, 1.20, 0.03),
    "minimax/MiniMax-M2.1": Price(0.30, 1.20, 0.03),
    "openai/gpt-4o": Price(2.50, 10.00, 1.25),
    "openai/gpt-4o-mini": Price(0.15, 0.60, 0.075),
    "openai/gpt-4.1": Price(2.00, 8.00, 0.50),
    "openai/gpt-4.1-mini": Price(0.40, 1.60, 0.10),
    "anthropic/claude-3-5-haiku-latest": Price(0.80, 4.00, 0.08),
}
LOCAL = ("simulated/", "ollama_chat/", "ollama/", "hosted_vllm/", "lm_studio/")


def price_of(choice: ModelChoice) -> Price | None:
    """The price of a model: the experiment's, free for simulated and local ones, our table's, else None."""
    given = (choice.usd_per_mtok_in, choice.usd_per_mtok_out)
    if given[0] is not None and given[1] is not None:
        cached = choice.usd_per_mtok_cached
        return Price(given[0], given[1], given[0] if cached is None else cached)
    if choice.name.startswith(LOCAL):
        return FREE
    return TABLE.get(choice.name)
