"""What was spent, and what may be spent."""

from __future__ import annotations

from harness.records.base import Record


class Usage(Record):
    """Model calls, tokens by class, and dollars. `usd` None means unpriced: it is contagious and never 0."""

    calls: int = 0
    tokens_in: int = 0
    """Prompt tokens, cached ones included."""
    tokens_out: int = 0
    tokens_cached: int = 0
    tokens_reasoning: int = 0
    usd: float | None = 0.0

    def __add__(self, other: Usage) -> Usage:
        usd = None if self.usd is None or other.usd is None else self.usd + other.usd
        return Usage(
            calls=self.calls + other.calls,
            tokens_in=self.tokens_in + other.tokens_in,
            tokens_out=self.tokens_out + other.tokens_out,
            tokens_cached=self.tokens_cached + other.tokens_cached,
            tokens_reasoning=self.tokens_reasoning + other.tokens_reasoning,
            usd=usd,
        )

    @property
    def tokens(self) -> int:
        """Tokens in and out together: what a token limit counts."""
        return self.tokens_in + self.tokens_out


class Limits(Record):
    """Per trial. Names as in Inspect; None is no limit. Seconds, messages, tokens, dollars.

    `time_limit` passed is the outcome `time_up`, score 0. The others end the agent; what it left is scored and flagged.
    """

    time_limit: float = 300.0
    working_limit: float | None = None
    message_limit: int | None = 60
    token_limit: int | None = 400_000
    cost_limit: float | None = None
