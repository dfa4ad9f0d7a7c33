"""How long sandboxes take, as minimum and median in milliseconds, with the floor (a plain process) beside them.

python -m tests.benchmarks.bench_sandboxes [ROUNDS]
"""

import asyncio
import statistics
import subprocess
import sys
import time
from contextlib import contextmanager

from harness.sandboxes.bwrap import BwrapSandboxes
from harness.seams import File, SandboxSpec

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
    with times.of("start, cold"):
        box = await provider.start(TASK)
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


async def main(rounds):
    times = Times()
    for _ in range(rounds):
        with times.of("floor: subprocess.run true"):
            subprocess.run(["true"], check=True)
        with times.of("floor: python3 -I -S -c pass"):
            subprocess.run(["/usr/bin/python3", "-I", "-S", "-c", "pass"], check=True)
    cold = BwrapSandboxes(warm=0)
    await (await cold.start(TASK)).close()
    for _ in range(rounds):
        await one(cold, times)
    for _ in range(rounds):
        await trial(cold, times, "trial, nothing warm")
    await cold.close()
    warm = BwrapSandboxes(concurrency=2)
    for _ in range(3):
        await trial(warm, Times(), "")
    for _ in range(rounds):
        await asyncio.sleep(0.25)
        await trial(warm, times, "trial, warm")
    begun = time.perf_counter()
    await asyncio.gather(*(lane(warm, 10) for _ in range(2)))
    times.setdefault("trial, warm, back to back, two lanes: per trial", []).append((time.perf_counter() - begun) / 20)
    await warm.close()
    for _ in range(max(3, rounds // 5)):
        provider = BwrapSandboxes(warm=0)
        with times.of("probe"):
            found = await provider.probe()
        await provider.close()
    print(f"{'':50}{'min':>9}{'median':>9}  ms    bwrap, grade {found.grade}")
    for name, least, middle in times.rows():
        print(f"{name:50}{least:9.2f}{middle:9.2f}")


async def lane(provider, count):
    for _ in range(count):
        await trial(provider, Times(), "")


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 20))
