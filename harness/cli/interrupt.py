"""Signals: the first SIGINT or SIGTERM stops cleanly, a second one ends the process at once."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Coroutine
from typing import Any, TypeVar

from harness.errors import Interrupted

T = TypeVar("T")


def interruptible(work: Coroutine[Any, Any, T], hint: str) -> T:
    """What `work` gives. Raises Interrupted, with `hint` (how to go on), when a signal stopped it."""
    received: list[int] = []

    async def main() -> T:
        task = asyncio.ensure_future(work)
        loop = asyncio.get_running_loop()

        def stop(number: int) -> None:
            if received:
                os._exit(128 + number)
            received.append(number)
            print("\nstopping; what is finished is kept (again: stop at once)", file=sys.stderr, flush=True)
            task.cancel()

        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop, number)
        return await task

    try:
        return asyncio.run(main())
    except asyncio.CancelledError:
        number = received[0] if received else signal.SIGINT
        raise Interrupted(number, f"interrupted; {hint}") from None
