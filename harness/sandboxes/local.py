"""The local provider: a plain subprocess in a temporary folder. It isolates nothing and is for tests of trusted code."""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import sys
import tempfile
from pathlib import Path

from harness.sandboxes.process import ProcessSandbox
from harness.seams import Capabilities, Sandbox, SandboxSpec

AGENT = Path(__file__).with_name("agent.py")


class LocalSandboxes:
    """Implements seams.Sandboxes without any isolation; grade C. Paths of a sandbox lie below its folder."""

    name = "local"

    def __init__(self) -> None:
        self._numbers = itertools.count()
        self._live: dict[str, Sandbox] = {}

    async def probe(self) -> Capabilities:
        return Capabilities(provider=self.name, notes=("isolates nothing: for trusted code only",))

    async def start(self, spec: SandboxSpec) -> Sandbox:
        root = tempfile.mkdtemp(prefix="selfharness-local-")
        for folder in (spec.workdir, "/tmp", *spec.extra_dirs):
            Path(root + folder).mkdir(parents=True, exist_ok=True)
        for mount in spec.mounts:
            Path(root + mount.target).parent.mkdir(parents=True, exist_ok=True)
            Path(root + mount.target).symlink_to(mount.source)
        ident = f"local-{os.getpid()}-{next(self._numbers)}"

        async def release() -> None:
            self._live.pop(ident, None)
            shutil.rmtree(root, ignore_errors=True)

        process = await asyncio.create_subprocess_exec(
            sys.executable, "-I", "-S", str(AGENT), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            limit=1 << 20,
        )  # fmt: skip
        environment = {"PATH": os.environ.get("PATH", os.defpath), "HOME": root + "/tmp", "LANG": "C.UTF-8"}
        sandbox = ProcessSandbox(ident, process, environment, spec.workdir, release, root=root)
        await sandbox.ping()
        self._live[ident] = sandbox
        return sandbox

    async def reap(self) -> int:
        return 0

    async def close(self) -> None:
        for sandbox in list(self._live.values()):
            await sandbox.close()
