"""Attacks run by untrusted code, in real sandboxes and, so that the test can fail, in the plain provider without one.

`arena` is parametrised: bwrap as root starts it (the agent has a user of its own), as anybody else does (one user for
both), docker, and local. A script reports what it reached as JSON on its last line. On the plain provider every
attack is bounded and harmless to the machine, and must succeed.
"""

import asyncio
import json
import os

import pytest

from harness.sandboxes import open_provider
from harness.sandboxes.bwrap import BwrapSandboxes
from harness.seams import SandboxSpec
from tests.engines import IMAGE, needs_docker

SPEC = SandboxSpec(label="attack", memory_mb=192, disk_mb=32, pids=48, extra_dirs=("/logs",))


class Arena:
    """One provider and ways to attack from within it."""

    def __init__(self, kind):
        self.kind, self.isolated = kind, kind != "local"
        self.own_user = kind == "docker" or (kind == "bwrap" and os.geteuid() == 0)

    def provider(self):
        if self.kind == "shared":
            return BwrapSandboxes(concurrency=0, own_user=False)
        return open_provider(self.kind, image=IMAGE, concurrency=0, unsafe=True)

    def run(self, body, spec=SPEC):
        """Await body(sandbox) in a fresh sandbox."""

        async def main():
            provider = self.provider()
            try:
                return await body(await provider.start(spec))
            finally:
                await provider.close()

        return asyncio.run(main())

    def python(self, script, *arguments, **options):
        """Run a Python script as the untrusted code; what it printed last, read as JSON."""

        async def body(box):
            done = await box.exec(["python3", "-c", script, *arguments], time_limit=options.get("time_limit", 30))
            assert done.output.strip(), done
            return json.loads(done.output.splitlines()[-1])

        return self.run(body, options.get("spec", SPEC))


DOCKER = pytest.param("docker", marks=needs_docker)


@pytest.fixture(params=["bwrap", "shared", DOCKER, "local"])
def arena(request):
    return Arena(request.param)


@pytest.fixture(params=["bwrap", "shared", DOCKER])
def jail(request):
    return Arena(request.param)
