"""Executors run many trials. This one is asyncio on one machine: bounded, in order of arrival, cancellable, with a breaker."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence

from harness.errors import InfraError
from harness.records import Trial, TrialSpec
from harness.seams import RunTrial

BREAKER = 5
"""So many infrastructure faults of one kind in a row stop the run: the next trials would only burn money."""


class LocalExecutor:
    """At most `concurrency` trials at once. Implements seams.Executor."""

    def __init__(self, concurrency: int) -> None:
        self._concurrency = max(1, concurrency)

    async def run(self, specs: Sequence[TrialSpec], run_trial: RunTrial) -> AsyncIterator[Trial]:
        """Yield trials as they end. Leaving the loop early cancels the rest and waits until it is gone.

        Raises InfraError when the breaker opens; what was yielded before stays.
        """
        waiting = list(reversed(specs))
        running: set[asyncio.Task[Trial]] = set()
        faults: Counter[str] = Counter()
        try:
            while waiting or running:
                while waiting and len(running) < self._concurrency:
                    running.add(asyncio.ensure_future(run_trial(waiting.pop())))
                done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    trial = task.result()
                    yield trial
                    self._watch(trial, faults)
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    @staticmethod
    def _watch(trial: Trial, faults: Counter[str]) -> None:
        if trial.outcome != "infra_error":
            faults.clear()
            return
        signature = " ".join(trial.detail.split()[:6])
        faults[signature] += 1
        if faults[signature] >= BREAKER:
            raise InfraError(f"{BREAKER} trials in a row failed on infrastructure: {trial.detail}\n"
                             "the run stopped; mend it, then go on with --resume")  # fmt: skip
