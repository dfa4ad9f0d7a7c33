"""A small pool of started, empty, single-use sandboxes: a trial does not wait for a start that could be done before."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable
from pathlib import Path

from harness.errors import HarnessError
from harness.sandboxes.process import ProcessSandbox
from harness.seams import SandboxSpec

Mounts = list[tuple[Path, str]]
Launch = Callable[[SandboxSpec, Mounts], Awaitable[ProcessSandbox]]
KINDS = 4
"""Kinds of spec that are kept warm at once; the longest unused goes first."""
_LOG = logging.getLogger(__name__)


class WarmPool:
    """Keeps up to `size` sandboxes of each kind of spec that was asked for more than once. Nothing is ever given twice."""

    def __init__(self, launch: Launch, size: int) -> None:
        self._launch, self._size = launch, size
        self._ready: OrderedDict[str, list[ProcessSandbox]] = OrderedDict()
        self._asked: Counter[str] = Counter()
        self._starting: dict[asyncio.Task[None], str] = {}
        self._closed = False

    async def take(self, spec: SandboxSpec, mounts: Mounts, found: str) -> ProcessSandbox:
        """A warm sandbox of this kind, else a fresh one. `found` says what the mounts' sources are at this moment."""
        key = spec.model_dump_json(exclude={"label"}) + found
        self._asked[key] += 1
        sandbox = self._pop(key)
        if sandbox is None:
            sandbox = await self._launch(spec, mounts)
        self._refill(key, spec, mounts)
        return sandbox

    def _pop(self, key: str) -> ProcessSandbox | None:
        ready = self._ready.get(key, [])
        if key in self._ready:
            self._ready.move_to_end(key)
        while ready:
            sandbox = ready.pop(0)
            if sandbox.alive:
                return sandbox
            self._later(sandbox)
        return None

    def _refill(self, key: str, spec: SandboxSpec, mounts: Mounts) -> None:
        """One start for every sandbox taken, no more than `size` ahead, and only for kinds that come back."""
        waiting = len(self._ready.get(key, ())) + sum(other == key for other in self._starting.values())
        if self._closed or self._asked[key] < 2 or waiting >= self._size:
            return
        task = asyncio.create_task(self._start(key, spec, mounts))
        self._starting[task] = key
        task.add_done_callback(self._starting.pop)

    async def _start(self, key: str, spec: SandboxSpec, mounts: Mounts) -> None:
        try:
            sandbox = await self._launch(spec, mounts)
        except HarnessError as error:
            _LOG.debug("a warm sandbox did not start: %s", error)
            return
        if self._closed:
            await sandbox.close()
            return
        self._ready.setdefault(key, []).append(sandbox)
        while len(self._ready) > KINDS:
            gone, old = self._ready.popitem(last=False)
            del self._asked[gone]
            for each in old:
                await each.close()

    def _later(self, sandbox: ProcessSandbox) -> None:
        task = asyncio.create_task(sandbox.close())
        self._starting[task] = ""
        task.add_done_callback(self._starting.pop)

    async def close(self) -> None:
        """Stop starting, and close what waits. Idempotent."""
        self._closed = True
        for task in list(self._starting):
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*self._starting, return_exceptions=True)
        for ready in self._ready.values():
            await asyncio.gather(*(sandbox.close() for sandbox in ready))
        self._ready.clear()
