"""A container as a sandbox: what it can do beyond the in-sandbox agent."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from harness.errors import SandboxFault
from harness.sandboxes.client import Client
from harness.sandboxes.docker.engine import Engine
from harness.sandboxes.docker.images import Image
from harness.sandboxes.docker.owner import labels
from harness.sandboxes.process import ProcessSandbox
from harness.seams import ExecResult, Handler, SandboxSpec

DISK_CHECK = 3.0
"""Seconds between looks at a writable root, which no engine on a common file system bounds."""


class DockerSandbox(ProcessSandbox):
    """Implements seams.Sandbox over a container."""

    def __init__(
        self,
        ident: str,
        client: Client,
        environment: Mapping[str, str],
        spec: SandboxSpec,
        image: Image,
        engine: Engine,
        snapshots: set[str],
        end: Callable[[], Awaitable[None]],
    ) -> None:
        super().__init__(f"docker-{ident[:12]}", client, environment, spec.workdir or image.workdir, self._finish)
        self.container = ident
        self._snapshots = snapshots
        self._spec, self._image, self._engine, self._ended = spec, image, engine, end
        self._over = 0
        self._watch = asyncio.create_task(self._watch_disk()) if spec.profile == "compat" else None

    async def about(self) -> dict[str, Any]:
        """What the agent says of the place that it runs in."""
        found, _, _ = await self._client.request({"op": "ping"}, time_limit=20)
        return found

    async def snapshot(self) -> str:
        await self.quiesce()
        changes = [f'LABEL "{name}"="{value}"' for name, value in labels(self._spec.label).items()]
        changes += [
            'LABEL "selfharness.snapshot"="1"',
            f"WORKDIR {self._image.workdir}",
            f"USER {self._image.user or '0'}",
        ]
        made = await self._engine.call("commit", self.container, pause=True, changes=changes)
        self._snapshots.add(str(made["Id"]))
        return str(made["Id"])

    async def _run(self, header: dict[str, Any], stdin: bytes, handler: Handler | None) -> ExecResult:
        if self._over:
            text = f"the sandbox holds {self._over} MB, and {self._spec.disk_mb} MB are allowed\n"
            return ExecResult(returncode=-9, output=text.encode())
        return await super()._run(header, stdin, handler)

    async def _watch_disk(self) -> None:
        """End all programs of a sandbox that has written more than it may; what they left can still be read."""
        while True:
            await asyncio.sleep(DISK_CHECK)
            with contextlib.suppress(SandboxFault):
                found = await self._engine.disk(self.container)
                if found > self._spec.disk_mb << 20:
                    self._over = found >> 20
                    await self.quiesce()
                    return

    async def _finish(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
        await self._ended()
