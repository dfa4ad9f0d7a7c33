"""How many calls to one route may be in flight: grows while it goes well, shrinks on each rate-limit episode (AIMD)."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable

EPISODE = 1.0
"""Seconds for which further refusals are those of calls that were in flight when the limit shrank; beyond it they shrink it again."""


class Limiter:
    """Slots for one route. A Retry-After holds back new calls; it is waited for outside the slot."""

    def __init__(self, start: float = 20.0, low: float = 1.0, high: float = 100.0,
                 clock: Callable[[], float] = time.monotonic) -> None:  # fmt: skip
        self._limit, self._low, self._high = start, low, high
        self._clock = clock
        self._in_flight = 0
        self._since_growth = 0
        self._hold_until = 0.0
        self._cooldown_until = 0.0
        self._freed = asyncio.Event()
        """Set when a slot is given back; then another takes its place. Not a Condition: a waiter that is cancelled as it is
        woken would take the wake-up with it."""

    @property
    def limit(self) -> float:
        """Calls that may be in flight now."""
        return self._limit

    @property
    def held(self) -> float:
        """Seconds until the server wants to be asked again."""
        return max(0.0, self._hold_until - self._clock())

    @contextlib.asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Wait for a slot and hold it."""
        while (held := self.held) > 0:  # noqa: ASYNC110 - it may be put off meanwhile
            await asyncio.sleep(held)
        while self._in_flight >= max(1, int(self._limit)):
            await self._freed.wait()
        self._in_flight += 1
        try:
            yield
        finally:
            self._in_flight -= 1
            self._freed.set()
            self._freed = asyncio.Event()

    def succeeded(self) -> None:
        """The call that holds a slot went through: grow by 5 % per round of calls, when the slots are in use."""
        self._since_growth += 1
        if self._since_growth >= self._limit and self._in_flight >= 0.8 * max(1, int(self._limit)):
            self._since_growth = 0
            self._limit = min(self._high, self._limit * 1.05 + 0.1)

    def limited(self, retry_after: float | None) -> None:
        """The server said 429: shrink once per episode, and hold new calls back."""
        now = self._clock()
        if now >= self._cooldown_until:
            self._limit = max(self._low, self._limit * 0.8)
            self._cooldown_until = now + EPISODE
        if retry_after:
            self._cooldown_until = max(self._cooldown_until, now + retry_after)
            self._hold_until = max(self._hold_until, now + retry_after)
