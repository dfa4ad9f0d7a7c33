"""The trial engine under hard use: killed and resumed, served from the cache, many steps, many lanes, many trials.

python -m tests.benchmarks.bench_engine [kill | cached | steps | soak] [N]       all of them without a name
"""

import asyncio
import gc
import json
import os
import random
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from harness.executor import LocalExecutor
from harness.instances import Instances
from harness.records import Limits, TrialSpec
from harness.sandboxes import open_provider
from harness.scaffold import read_scaffold, to_scaffold
from harness.tasks import load_task
from harness.trial import TrialEngine, TrialSettings, task_spec
from harness.trialcache import TrialCache
from harness.trialstore import TrialStore
from tests.tiny import ROOT, TOML, Scripted, write_task

KILLS = 20
EXPERIMENT = """name = "killed"
seed = 7
[models.main]
name = "simulated/medium"
[suite]
name = "{suite}"
seeds = {seeds}
[budget]
rounds = 1
trials = {trials}
[sandbox]
kind = "bwrap"
[tracking]
uri = ""
"""
STEPS = """from harness_sdk import env, model
messages = [{"role": "user", "content": "go on"}]
for number in range(STEPS):
    reply = model.complete(messages=messages, tools=[])
    messages.append(reply.message if hasattr(reply, "message") else reply["message"])
    done = env.exec(command="true")
    messages.append({"role": "user", "content": "it is done"})
"""


def suite_of(folder, tasks=4):
    """A suite of tiny tasks that need no build."""
    names = [f"t{n:02d}-tiny" for n in range(tasks)]
    for name in names:
        write_task(folder / "tasks" / "coding" / name)
    (folder / "evals").mkdir()
    (folder / "evals" / "tiny.toml").write_text(f"train = {json.dumps(names)}\n")
    return folder / "evals" / "tiny.toml"


def killed(trials):
    """Exactly so many results after 20 kills at random moments, none run again after it was journalled."""
    folder = Path(tempfile.mkdtemp(prefix="bench-engine-"))
    suite = suite_of(folder)
    (folder / "killed.toml").write_text(EXPERIMENT.format(suite=suite, seeds=trials // 4, trials=trials))
    draw, starts, begun = random.Random(5), ["killed.toml"], time.monotonic()
    harness = [sys.executable, "-m", "harness", "run", "-q"]
    env = {**os.environ, "HARNESS_CACHE_MB": "0"}
    for _ in range(KILLS):
        child = subprocess.Popen(
            [*harness, *starts], cwd=folder, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            child.wait(draw.uniform(0.3, trials / 1000 * 8))
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGKILL)
            child.wait()
        if any((folder / "runs").glob("*/journal.jsonl")):
            starts = ["--resume", "last"]
    last = subprocess.run([*harness, *starts], cwd=folder, env=env, capture_output=True, text=True, check=False)
    took = time.monotonic() - begun
    (run,) = [path.parent for path in (folder / "runs").glob("*/journal.jsonl")]
    events = [json.loads(line) for line in (run / "journal.jsonl").read_text().splitlines()]
    done = {}
    for event in (event for event in events if event["type"] == "trial.done"):
        spec = event["trial"]["spec"]
        done.setdefault(f"{spec['candidate']}/{spec['task']}/{spec['seed']}-{spec['attempt']}", []).append(event["at"])
    again = [
        key for key, times in done.items() if (run / "trials" / key / "result.json").stat().st_mtime > times[0] + 0.5
    ]
    begun = time.monotonic()
    finished = subprocess.run(
        [*harness, "--resume", "last"], cwd=folder, env=env, capture_output=True, text=True, check=False
    )
    resume = time.monotonic() - begun
    twice = sum(len(times) > 1 for times in done.values())
    launches = Counter(event["type"] for event in events)["run.resumed"] + 1
    print(f"kill        {len(done)} results of {trials}, {twice} journalled twice, {len(again)} run again after they were journalled; {launches} launches "
          f"survived to their first event, last exit code {last.returncode}, {took:.0f} s in all")  # fmt: skip
    print(f"resume      of the finished run: {resume:.2f} s, exit code {finished.returncode} (bar 2 s)")
    shutil.rmtree(folder)
    return len(done) == trials and not twice and not again and last.returncode == finished.returncode == 0


def engine_on(provider, gateway, limits=None):
    settings = TrialSettings(run_seed=1, limits=limits or Limits(time_limit=60), models=("main",), model_name="scripted", isolation="A",
                             folder=None)  # fmt: skip
    return TrialEngine(provider, gateway, Instances(provider, None, ""), settings)


class Steady(Scripted):
    """The same answer to the same question, however many ask at once."""

    async def complete(self, call):
        began = any(message["role"] == "tool" for message in call.messages)
        return await Scripted(*(() if began else ("echo yes > done.txt",))).complete(call)


def with_task(work):
    """What `work(provider, task, plain)` gives."""

    async def main():
        folder = Path(tempfile.mkdtemp(prefix="bench-engine-"))
        provider = open_provider("bwrap", concurrency=2)
        try:
            plain = read_scaffold(ROOT / "harness" / "scaffolds" / "plain")
            return await work(provider, load_task(write_task(folder / "coding" / "t01-tiny")), plain, folder)
        finally:
            await provider.close()
            shutil.rmtree(folder)

    return asyncio.run(main())


def cached(trials):
    async def work(provider, task, plain, folder):
        cache = TrialCache(engine_on(provider, Steady()), TrialStore(folder / "cache", 1 << 30), "bench")
        took = []
        for attempt in [0] + [0] * trials:
            begun = time.perf_counter()
            await cache.run(TrialSpec(candidate="c", task=task.id, seed=0, attempt=attempt), task, plain)
            took.append((time.perf_counter() - begun) * 1000)
        return took[0], took[1:]

    first, served = with_task(work)
    print(
        f"cached      median {statistics.median(served):.2f} ms, worst {max(served):.2f} ms of {trials} (bar 10 ms); measured: {first:.0f} ms"
    )
    return statistics.median(served) <= 10


def steps(trials):
    """Processor time of this process per trial: 20 steps against none, and what the same commands cost by themselves."""

    async def work(provider, task, plain, folder):
        found = {}
        for count in (0, 20):
            scaffold = to_scaffold({"scaffold.toml": TOML, "agent.py": STEPS.replace("STEPS", str(count))})
            engine, used = engine_on(provider, Scripted()), []
            for attempt in range(trials):
                begun = time.process_time()
                trial = await engine.run(
                    TrialSpec(candidate="c", task=task.id, seed=0, attempt=attempt), task, scaffold
                )
                used.append((time.process_time() - begun) * 1000)
                assert trial.steps == count, trial
            found[count] = statistics.median(used)
        box = await provider.start(task_spec(task, "floor"))
        begun = time.process_time()
        for _ in range(20 * trials):
            await box.exec(["bash", "-c", "true"])
        found["floor"] = (time.process_time() - begun) * 1000 / trials
        await box.close()
        return found

    found = with_task(work)
    own = found[20] - found[0] - found["floor"]
    print(f"steps       processor time of the harness per trial: 20 steps {found[20]:.1f} ms, none {found[0]:.1f} ms (three sandboxes), "
          f"20 commands alone {found['floor']:.1f} ms; so 20 steps cost {own:.1f} ms beside the sandbox (bar 15 ms)")  # fmt: skip
    return own <= 15


def soak(trials, lanes=16):
    """Many lanes on few cores: nothing left open, nothing left running, memory flat."""

    async def work(provider, task, plain, folder):
        engine, marks, waits = engine_on(provider, Steady()), [], []

        async def run_trial(spec):
            begun = time.monotonic()
            trial = await engine.run(spec, task, plain)
            waits.append(time.monotonic() - begun)
            return trial

        specs = [TrialSpec(candidate="c", task=task.id, seed=0, attempt=n) for n in range(trials)]
        good = count = 0
        async for trial in LocalExecutor(lanes).run(specs, run_trial):
            good, count = good + (trial.score == 1.0), count + 1
            if count % (trials // 10) == 0:
                gc.collect()
                marks.append((count, rss(), len(os.listdir("/proc/self/fd"))))
        return good, marks, waits

    before = children()
    begun = time.monotonic()
    good, marks, waits = with_task(work)
    took = time.monotonic() - begun
    gc.collect()
    left = children() - before
    descriptors = len(os.listdir("/proc/self/fd"))
    grown = marks[-1][1] - marks[1][1]
    print(f"soak        {trials} trials, {lanes} lanes: {good} right, {took:.0f} s ({took / trials * 1000:.0f} ms a trial), slowest {max(waits):.1f} s; "
          f"resident {', '.join(f'{mb:.0f}' for _, mb, _ in marks)} MB ({grown:+.1f} MB from a fifth on), open files at the end {descriptors}, "
          f"processes left {left}")  # fmt: skip
    return good == trials and not left and grown < 16 and descriptors < 40


def rss():
    """Resident memory of this process, MB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1e6


def children():
    """Processes below this one."""
    return (
        len(
            subprocess.run(
                ["pgrep", "-P", str(os.getpid())], capture_output=True, text=True, check=False
            ).stdout.split()
        )
        - 1
    )


def main():
    wanted = sys.argv[1:2] or ["cached", "steps", "kill", "soak"]
    sizes = {"cached": (cached, 500), "steps": (steps, 20), "kill": (killed, 1000), "soak": (soak, 5000)}
    good = True
    for name in wanted:
        work, size = sizes[name]
        good &= work(int(sys.argv[2]) if len(sys.argv) > 2 else size)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
