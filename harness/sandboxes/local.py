"""The local provider: a plain subprocess in a temporary folder. It isolates nothing and is for tests of trusted code."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import shutil
import sys
import tempfile
from asyncio.subprocess import DEVNULL, PIPE
from pathlib import Path

from harness.hashing import digest_json
from harness.sandboxes.client import Client
from harness.sandboxes.process import ProcessSandbox
from harness.seams import Capabilities, Sandbox, SandboxSpec

_FOLDER = str(Path(__file__).parent)
_START = f"import sys; sys.path.insert(0, {_FOLDER!r}); from inside.agent import main; main()"


class LocalSandboxes:
    """Implements seams.Sandboxes without any isolation; grade C. Paths of a sandbox lie below its folder.

    The same agent, so the same results for well-behaved code; commands see the host's paths, not the sandbox's.
    """

    name = "local"

    def __init__(self) -> None:
        self._numbers = itertools.count()
        self._live: set[ProcessSandbox] = set()

    async def probe(self) -> Capabilities:
        """Nothing is enforced, so nothing is tried."""
        return Capabilities(provider=self.name, notes=("isolates nothing: for trusted code only",))

    async def digest(self) -> str:
        return digest_json(["local", sys.version])

    async def start(self, spec: SandboxSpec) -> Sandbox:
        root = tempfile.mkdtemp(prefix="selfharness-local-")
        for folder in (spec.workdir, "/tmp", *spec.extra_dirs):
            Path(root + folder).mkdir(parents=True, exist_ok=True)
        for mount in spec.mounts:
            Path(root + mount.target).parent.mkdir(parents=True, exist_ok=True)
            Path(root + mount.target).symlink_to(mount.source)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-I", "-S", "-c", _START, "{}", stdin=PIPE, stdout=PIPE, stderr=DEVNULL, limit=1 << 20
        )
        assert process.stdin is not None
        assert process.stdout is not None
        client = Client(process.stdout, process.stdin)

        async def end() -> None:
            self._live.discard(sandbox)
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await client.close()
            await process.wait()
            shutil.rmtree(root, ignore_errors=True)

        environment = {"PATH": os.environ.get("PATH", os.defpath), "HOME": root + "/tmp", "LANG": "C.UTF-8"}
        ident = f"local-{os.getpid()}-{next(self._numbers)}"
        sandbox = ProcessSandbox(ident, client, environment, spec.workdir, end, root=root)
        self._live.add(sandbox)
        try:
            await asyncio.shield(client.hello)
        except BaseException:
            await asyncio.shield(sandbox.close())
            raise
        return sandbox

    async def drop(self, image: str) -> None:
        """There are no images here."""

    async def reap(self) -> int:
        """Nothing is known of folders that crashed runs left; the system's own cleaning of /tmp takes them."""
        return 0

    async def close(self) -> None:
        await asyncio.gather(*(sandbox.close() for sandbox in list(self._live)))
