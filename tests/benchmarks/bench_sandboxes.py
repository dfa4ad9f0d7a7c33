"""How long sandboxes take, as minimum and median in milliseconds, with the floor (a plain process) beside them.

python -m tests.benchmarks.bench_sandboxes [bwrap | docker] [ROUNDS]
"""

import asyncio
import os
import statistics
import subprocess
import sys
import time
from contextlib import contextmanager

from harness.sandboxes.bwrap import BwrapSandboxes
from harness.sandboxes.docker.provider import DockerSandboxes
from harness.seams import File, GetLimits, SandboxSpec

TASK = SandboxSpec(label="bench", extra_dirs=("/logs",))
SCAFFOLD = SandboxSpec(label="bench", workdir="/scaffold", disk_mb=64, pids=64)
VERIFIER = SandboxSpec(label="bench", extra_dirs=("/tests", "/logs"))
FILES = {f"d{n % 20}/f{n}": File(data=b"x" * 1000) for n in range(1000)}


class Times(dict):
    """Name -> seconds, in order of first use."""

    @contextmanager
    def of(self, name):
        begun = time.perf_counter()
        yield
        self.setdefault(name, []).append(time.perf_counter() - begun)

    def rows(self):
        return [(name, min(took) * 1000, statistics.median(took) * 1000) for name, took in self.items()]


async def one(provider, times):
    """Everything that can be timed in one sandbox."""
    with times.of("start to first command, cold"):
        box = await provider.start(TASK)
        await box.exec(["true"])
    for _ in range(10):
        with times.of("command: true"):
            await box.exec(["true"])
    with times.of("command: python3 -I -c pass"):
        await box.exec(["python3", "-I", "-c", "pass"])
    with times.of("put 1 file"):
        await box.put({"one": File(data=b"x")}, "/tmp")
    with times.of("put 1,000 files of 1 kB"):
        await box.put(FILES, "/app")
    with times.of("get 1,000 files of 1 kB"):
        await box.get("/app")
    await box.exec(["sh", "-c", "for i in 1 2 3 4 5; do setsid sleep 60 & done"])
    with times.of("quiesce, five daemons"):
        await box.quiesce()
    with times.of("close"):
        await box.close()


async def trial(provider, times, name):
    """The sandboxes of a trivial trial: task, scaffold, verifier; a few commands; artefacts carried over."""
    with times.of(name):
        task, scaffold, verifier = await asyncio.gather(*(provider.start(s) for s in (TASK, SCAFFOLD, VERIFIER)))
        await asyncio.gather(
            task.put({"a": File(data=b"x")}, "/app"), scaffold.put({"agent.py": File(data=b"x")}, "/scaffold")
        )
        await scaffold.exec(["python3", "-I", "-c", "pass"])
        for _ in range(3):
            await task.exec(["true"])
        await task.quiesce()
        await verifier.put(await task.get("/app"), "/app")
        await verifier.exec(["python3", "-I", "-c", "print(1)"])
        await asyncio.gather(task.close(), scaffold.close(), verifier.close())


def opened(kind, **options):
    """A provider of this kind."""
    if kind == "bwrap":
        return BwrapSandboxes(**options)
    return DockerSandboxes(image=os.environ.get("SELFHARNESS_TEST_IMAGE", "selfharness/base:latest"), **options)


async def main(kind, rounds):
    times = Times()
    for _ in range(rounds):
        with times.of("floor: subprocess.run true"):
            subprocess.run(["true"], check=True)
        with times.of("floor: python3 -I -S -c pass"):
            subprocess.run(["/usr/bin/python3", "-I", "-S", "-c", "pass"], check=True)
        if kind == "docker":
            with times.of("floor: docker run --rm --network none true"):
                subprocess.run(["docker", "run", "--rm", "--network", "none", "selfharness/base", "true"], check=True)
    cold = opened(kind, warm=0)
    await (await cold.start(TASK)).close()
    for _ in range(rounds):
        await one(cold, times)
    await large(cold, times)
    for _ in range(rounds):
        await trial(cold, times, "trial, nothing warm")
    await cold.close()
    warm = opened(kind, concurrency=4)
    for _ in range(3):
        await trial(warm, Times(), "")
    for _ in range(rounds):
        await asyncio.sleep(1.0)
        await trial(warm, times, "trial, warm, with a pause before it")
    for lanes in (1, 2, 4):
        begun, each = time.perf_counter(), max(4, rounds // lanes)
        await asyncio.gather(*(lane(warm, each) for _ in range(lanes)))
        name = f"trial, warm, back to back, concurrency {lanes}: wall per trial"
        times[name] = [(time.perf_counter() - begun) / (lanes * each)]
    await warm.close()
    for _ in range(3):
        provider = opened(kind, warm=0)
        with times.of("probe"):
            found = await provider.probe()
        await provider.close()
    print(f"{'':62}{'min':>9}{'median':>9}  ms    {kind}, grade {found.grade}")
    for name, least, middle in times.rows():
        print(f"{name:62}{least:9.2f}{middle:9.2f}")


async def large(provider, times):
    """100 MB in and out."""
    spec = SandboxSpec(label="bench", disk_mb=160)
    data = {f"part{n}": File(data=os.urandom(10 << 20)) for n in range(10)}
    for _ in range(3):
        box = await provider.start(spec)
        with times.of("put 100 MB"):
            await box.put(data, "/app")
        with times.of("get 100 MB"):
            got = await box.get("/app", limits=GetLimits(file_mb=16, total_mb=160))
        assert len(got) == 10
        await box.close()


async def lane(provider, count):
    for _ in range(count):
        await trial(provider, Times(), "")


if __name__ == "__main__":
    words = sys.argv[1:]
    asyncio.run(main(words[0] if words else "bwrap", int(words[1]) if len(words) > 1 else 20))
