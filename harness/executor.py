"""Executors run many trials. This one is asyncio on one machine: bounded, adaptive, longest first, cancellable, with a breaker."""

from __future__ import annotations

import asyncio
import sys
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Sequence

from harness.errors import InfraError
from harness.records import Trial, TrialSpec
from harness.seams import RunTrial

BREAKER = 5
"""So many infrastructure faults of one kind in a row stop the run: the next trials would only burn money."""
RECOVERY = 0.5
"""Lanes that a finished trial gives back after a fault of a sandbox took half of them."""


class LocalExecutor:
    """At most `concurrency` trials at once, and no more than `ceiling()` says at the moment. Implements seams.Executor.

    The ceiling is what the models let through: more trials than that would only hold sandboxes and wait. A trial that
    infrastructure broke halves the lanes, finished ones give them back. Tasks that took longest so far start first, so that
    none is left alone at the end; the order in which results arrive decides nothing elsewhere.
    """

    def __init__(self, concurrency: int, ceiling: Callable[[], int] = lambda: sys.maxsize) -> None:
        self._concurrency = max(1, concurrency)
        self._ceiling = ceiling
        self._lanes = float(self._concurrency)
        self._breaker = Breaker()
        self._seconds: dict[str, float] = {}
        """Mean wall time by task, of the trials that this executor has seen."""
        self._seen: defaultdict[str, int] = defaultdict(int)

    @property
    def lanes(self) -> int:
        """How many trials may run at once now."""
        return max(1, min(int(self._lanes), self._ceiling()))

    async def run(self, specs: Sequence[TrialSpec], run_trial: RunTrial) -> AsyncGenerator[Trial, None]:
        """Yield trials as they end. Leaving the loop early cancels the rest and waits until it is gone.

        Raises InfraError when the breaker opens; what was yielded before stays.
        """
        waiting = self._shortest_first(specs)
        running: list[asyncio.Task[Trial]] = []  # in the order of their start, in which those of one moment are taken
        self._breaker.tasks.update(spec.task for spec in specs)
        try:
            while waiting or running:
                while waiting and len(running) < self.lanes:
                    running.append(asyncio.ensure_future(run_trial(waiting.pop())))
                await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                done, running = [t for t in running if t.done()], [t for t in running if not t.done()]
                broken = [task for task in done if task.exception() is not None]
                for trial in [task.result() for task in done if task not in broken]:
                    self._learn(trial)
                    yield trial
                    self._breaker.watch(trial)
                self._breaker.check()
                for task in broken:  # after the trials that ended at the same moment: they are paid for
                    task.result()
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    def _shortest_first(self, specs: Sequence[TrialSpec]) -> list[TrialSpec]:
        """As a stack: what took longest is on top, then what is not known yet, each in the order given."""
        longest = max(self._seconds.values(), default=0.0)
        return sorted(reversed(specs), key=lambda spec: self._seconds.get(spec.task, longest))

    def _learn(self, trial: Trial) -> None:
        if trial.detail.startswith("ImageFault"):  # a lack of one task, no shortage
            return
        if trial.outcome == "infra_error":
            self._lanes = max(1.0, self._lanes / 2)
            return
        self._lanes = min(float(self._concurrency), self._lanes + RECOVERY)
        if trial.counts and not trial.cached:
            task, seen = trial.spec.task, self._seen[trial.spec.task]
            self._seconds[task] = (self._seconds.get(task, 0.0) * seen + trial.wall_s) / (seen + 1)
            self._seen[task] = seen + 1


class Breaker:
    """Counts infrastructure faults of one kind in a row, over all blocks. One task alone, whose own image is missing, stops no
    other."""

    def __init__(self) -> None:
        self.tasks: set[str] = set()
        """Of which there are trials at all."""
        self._faults: dict[str, list[str]] = {}
        self._open = ""

    def watch(self, trial: Trial) -> None:
        """Count a trial."""
        if trial.outcome != "infra_error":
            self._faults.clear()
            return
        faulty = self._faults.setdefault(" ".join(trial.detail.split()[:6]), [])
        faulty.append(trial.spec.task)
        if len(faulty) >= BREAKER and len(set(faulty)) >= min(2, len(self.tasks)):
            self._open = trial.detail

    def check(self) -> None:
        """Raises InfraError when it is open."""
        if self._open:
            raise InfraError(f"{BREAKER} trials in a row failed on infrastructure: {self._open}\n"
                             "the run stopped; mend it, then go on with --resume")  # fmt: skip
