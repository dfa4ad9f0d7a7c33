"""Attacks run by untrusted code, in a real sandbox and, so that the test can fail, in the plain provider without one.

`arena` is parametrised over both. A script reports what it reached as JSON on its last line. On the plain provider every
attack is bounded and harmless to the machine, and must succeed.
"""

import asyncio
import json

import pytest

from harness.sandboxes import open_provider
from harness.seams import SandboxSpec

SPEC = SandboxSpec(label="attack", memory_mb=192, disk_mb=32, pids=48, extra_dirs=("/logs",))


class Arena:
    """One provider and ways to attack from within it."""

    def __init__(self, kind):
        self.kind, self.isolated, self.spec = kind, kind != "local", SPEC

    def run(self, body, spec=SPEC):
        """Await body(sandbox) in a fresh sandbox."""

        async def main():
            provider = open_provider(self.kind, concurrency=0, unsafe=True)
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


@pytest.fixture(params=["bwrap", "local"])
def arena(request):
    return Arena(request.param)


@pytest.fixture
def jail():
    return Arena("bwrap")
