"""The trial cache: work that was done once is served, and work whose verifier alone changed is graded again.

The key is what the agent could notice and nothing else (DESIGN section 4): never a path, port, time or secret. Equal work
that is asked for at once, in this process or another, is done once and waited for. Infrastructure faults are never kept;
trials whose verifier broke are kept for their artefacts only, to be graded again. Decisions and claims do not ask here.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from harness.digest import digest_folder, digest_json
from harness.errors import InfraError, UsageError
from harness.models.keys import is_loopback
from harness.models.prices import price_of
from harness.records import SCORED_OUTCOMES, Experiment, Task, Trial, TrialSpec
from harness.records.experiment import ModelChoice
from harness.scaffold import Scaffold
from harness.trial import TrialEngine
from harness.trialstore import UNGRADED, Measured, TrialStore

SCHEMA = 1
"""Of the key. Raise it when the harness changes what an agent can notice (broker, instances, limits)."""
POLL = 0.05
"""Seconds between looks at whether another process has finished the same work."""
_PACKAGE = Path(__file__).resolve().parent


class TrialCache:
    """An engine with a memory. `serve` False only keeps what is measured, for runs whose decisions want fresh trials."""

    def __init__(self, engine: TrialEngine, store: TrialStore, identity: str, *, serve: bool = True) -> None:
        self._engine, self._store, self._identity, self._serve = engine, store, identity, serve
        self._flights: dict[str, asyncio.Lock] = {}
        self._waiting: dict[str, int] = {}

    async def run(self, spec: TrialSpec, task: Task, scaffold: Scaffold) -> Trial:
        """A trial from the store (`cached`), graded again if only its verifier changed, or measured and kept."""
        if _reaches_outside(task, scaffold):
            return await self._engine.run(spec, task, scaffold)
        key = trial_key(self._identity, spec, task, scaffold)
        if not self._serve:
            return await self._measure(key, spec, task, scaffold)
        async with self._flight(key):
            found = await self._known(key, spec, task)
            return found if found is not None else await self._measure(key, spec, task, scaffold)

    async def _known(self, key: str, spec: TrialSpec, task: Task) -> Trial | None:
        found = self._store.get(key, task.grading_digest)
        if found is not None and found.trial.outcome in SCORED_OUTCOMES:
            return self._served(found, spec)
        before = self._store.same_work(key)
        if before is None:
            return None
        if before.trial.outcome in UNGRADED:
            return self._served(before, spec)
        try:
            again = await self._engine.grade_again(before, task)
        except (InfraError, UsageError):  # a build that fails: measuring says so
            return None
        if again.trial.outcome not in SCORED_OUTCOMES:
            return None
        self._store.put(key, task.grading_digest, again)
        return self._served(again, spec)

    def _served(self, found: Measured, spec: TrialSpec) -> Trial:
        trial = found.trial.model_copy(update={"spec": spec, "cached": True})
        self._engine.write(trial, found.evidence)
        return trial

    async def _measure(self, key: str, spec: TrialSpec, task: Task, scaffold: Scaffold) -> Trial:
        measured = await self._engine.measure(spec, task, scaffold)
        trial = measured.trial
        gradable = trial.outcome == "task_error" and measured.collected is not None
        if trial.outcome in SCORED_OUTCOMES or gradable:
            await asyncio.to_thread(self._store.put, key, task.grading_digest, measured)
        return trial

    @contextlib.asynccontextmanager
    async def _flight(self, key: str) -> AsyncIterator[None]:
        """Hold this key: first among the tasks of this process, then among processes."""
        lock = self._flights.setdefault(key, asyncio.Lock())
        self._waiting[key] = self._waiting.get(key, 0) + 1
        try:
            async with lock, _held(self._store.lock_path(key)):
                yield
        finally:
            self._waiting[key] -= 1
            if not self._waiting[key]:
                del self._waiting[key], self._flights[key]


@contextlib.asynccontextmanager
async def _held(path: Path) -> AsyncIterator[None]:
    """A lock file that is there only while it is held. Without a folder that can be written there is nothing to share."""
    handle: int | None = None
    try:
        while (handle := _take(path)) is None:  # noqa: ASYNC110 - the holder may be another process
            await asyncio.sleep(POLL)
    except OSError:
        pass
    try:
        yield
    finally:
        if handle is not None:
            _give_back(path, handle)


def _take(path: Path) -> int | None:
    """The locked file, or None while another holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_CREAT | os.O_RDWR, 0o644)
    with contextlib.suppress(BlockingIOError, FileNotFoundError):
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if path.stat().st_ino == os.fstat(handle).st_ino:  # else its last holder removed it meanwhile
            return handle
    os.close(handle)
    return None


def _give_back(path: Path, handle: int) -> None:
    path.unlink(missing_ok=True)
    os.close(handle)


def identity_of(experiment: Experiment, sandbox: str) -> str:
    """Digest of what is equal for all trials of an experiment: models, their settings, seed, limits, what sandboxes run on."""
    priced = experiment.limits.cost_limit is not None  # then prices say when an agent is stopped
    models = [
        [alias, model_identity(choice), _prices(choice) if priced else None]
        for alias, choice in experiment.models.items()
    ]
    sdk = digest_folder(_PACKAGE / "sdk")
    simulated = any(choice.name.startswith("simulated/") for choice in experiment.models.values())
    return digest_json(["trials", SCHEMA, experiment.seed, experiment.limits.model_dump(mode="json"), models, sandbox, sdk,
                        digest_folder(_PACKAGE / "models" / "simulated") if simulated else None])  # fmt: skip


def trial_key(identity: str, spec: TrialSpec, task: Task, scaffold: Scaffold) -> str:
    """What this trial is, by content."""
    return digest_json([identity, task.id, task.agent_digest, scaffold.digest, spec.seed, spec.attempt])


def model_identity(choice: ModelChoice) -> Mapping[str, Any]:
    """A model as the key names it: its server by host, as ports come and go; servers on loopback are told apart by name only."""
    server = "loopback" if is_loopback(choice.api_base) else urlsplit(choice.api_base or "").hostname
    return {"name": choice.name, "server": server, "reasoning_effort": choice.reasoning_effort}


def _prices(choice: ModelChoice) -> list[float] | None:
    price = price_of(choice)
    return None if price is None else [price.tokens_in, price.tokens_out, price.cached]


def _reaches_outside(task: Task, scaffold: Scaffold) -> bool:
    """Whether the outcome hangs on what no digest covers: a runtime that is a folder of this machine, an image by a name that
    may come to mean another, a network."""
    runtime = scaffold.settings.program.runtime if scaffold.settings.program is not None else ""
    named = runtime.startswith("image:") and "@sha256:" not in runtime
    return task.network_mode != "no-network" or runtime.startswith("/") or named
