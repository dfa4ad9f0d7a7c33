"""The trial cache: what is served, what is graded again, what is never kept, and what a damaged disk does to it."""

import asyncio
import contextlib
import json
import os
import resource
import shutil
import subprocess
import sys

import pytest

from harness.config import to_experiment
from harness.errors import ModelFault
from harness.instances import Instances
from harness.records import Limits, Trial, TrialSpec
from harness.sandboxes import open_provider
from harness.scaffold import read_scaffold, to_scaffold
from harness.tasks import load_task
from harness.trial import TrialEngine, TrialSettings
from harness.trialcache import TrialCache, identity_of
from harness.trialstore import Measured, TrialStore
from tests.tiny import ROOT, VERIFY, Scripted, program

PLAIN = read_scaffold(ROOT / "harness" / "scaffolds" / "plain")
RIGHT = ("cat readme.txt", "echo yes > done.txt")


def experiment(**models):
    main = {"name": "simulated/medium", **models}
    return to_experiment(
        {"name": "x", "models": {"main": main}, "suite": {"name": "smoke"}, "budget": {"trials": 9}}, "test", []
    )


def ask(folder, gateway, store, scaffold=PLAIN, *, times=1, attempt=0, serve=True, out=None, identity="i"):
    """The trials of `times` callers at once."""

    async def main():
        sandboxes = open_provider("bwrap")
        try:
            settings = TrialSettings(run_seed=1, limits=Limits(time_limit=20), models=("main",), model_name="scripted", isolation="A",
                                     folder=(lambda key: out / key) if out else None, retry_wait=0.01)  # fmt: skip
            engine = TrialEngine(sandboxes, gateway, Instances(sandboxes, None, ""), settings)
            cache = TrialCache(engine, store, identity, serve=serve)
            spec = TrialSpec(candidate="c0000", task=folder.name, seed=0, attempt=attempt)
            return await asyncio.gather(*(cache.run(spec, load_task(folder), scaffold) for _ in range(times)))
        finally:
            await sandboxes.close()

    return asyncio.run(main())


@pytest.fixture
def store(tmp_path):
    return TrialStore(tmp_path / "cache", 1 << 30)


def test_equal_work_is_done_once_and_served_with_its_evidence(tiny_task, store, tmp_path):
    (first,) = ask(tiny_task, Scripted(*RIGHT), store)
    idle = Scripted()
    (second,) = ask(tiny_task, idle, store, out=tmp_path / "out")
    assert (second.cached, idle.calls, second.score) == (True, 0, 1.0)
    assert second == first.model_copy(update={"cached": True})
    folder = tmp_path / "out" / second.spec.key
    assert sorted(path.name for path in folder.iterdir()) == ["result.json", "trajectory.json", "verifier.json"]
    assert "readme.txt" in (folder / "trajectory.json").read_text()


def test_what_the_agent_could_notice_makes_other_work(tiny_task, store):
    ask(tiny_task, Scripted(*RIGHT), store)
    assert ask(tiny_task, Scripted(*RIGHT), store, attempt=1)[0].cached is False
    assert ask(tiny_task, Scripted(), store, program("pass"))[0].score == 0.0
    assert ask(tiny_task, Scripted(), store, identity="other")[0].score == 0.0
    (tiny_task / "instruction.md").write_text("Write no into done.txt.\n")
    assert ask(tiny_task, Scripted(), store)[0].score == 0.0


def test_a_changed_verifier_grades_again_and_runs_no_agent(tiny_task, store):
    ask(tiny_task, Scripted(*RIGHT), store)
    (tiny_task / "tests" / "verify.py").write_text(VERIFY.replace('"yes"', '"no"'))
    idle = Scripted()
    (again,) = ask(tiny_task, idle, store)
    assert (again.score, again.cached, idle.calls, again.checks[0].passed) == (0.0, True, 0, False)
    (tiny_task / "tests" / "verify.py").write_text(VERIFY)
    assert ask(tiny_task, idle, store)[0].score == 1.0
    assert idle.calls == 0


def test_a_broken_verifier_is_never_served_and_is_graded_again_when_it_is_mended(tiny_task, store):
    (tiny_task / "tests" / "verify.py").write_text("raise SystemExit(3)")
    assert ask(tiny_task, Scripted(*RIGHT), store)[0].outcome == "task_error"
    counting = Scripted(*RIGHT)
    assert ask(tiny_task, counting, store)[0].outcome == "task_error"
    assert counting.calls == 3
    (tiny_task / "tests" / "verify.py").write_text(VERIFY)
    idle = Scripted()
    assert (ask(tiny_task, idle, store)[0].score, idle.calls) == (1.0, 0)


def test_infrastructure_faults_are_never_kept(tiny_task, store):
    assert ask(tiny_task, Scripted(fault=ModelFault("server", "down")), store)[0].outcome == "infra_error"
    assert store.size().entries == 0
    assert ask(tiny_task, Scripted(*RIGHT), store)[0].score == 1.0


def test_a_scaffold_that_crashes_is_served_under_any_verifier(tiny_task, store):
    crash = program("raise SystemExit('boom')")
    ask(tiny_task, Scripted(), store, crash)
    (tiny_task / "tests" / "verify.py").write_text(VERIFY + "# changed\n")
    (again,) = ask(tiny_task, Scripted(), store, crash)
    assert (again.outcome, again.cached) == ("agent_error", True)


def test_callers_at_once_share_one_measurement(tiny_task, store):
    gateway = Scripted(*RIGHT)
    found = ask(tiny_task, gateway, store, times=6)
    assert gateway.calls == 3
    assert [trial.cached for trial in found].count(False) == 1
    assert {trial.score for trial in found} == {1.0}


HOLD = "import fcntl, os, sys, time\nh = os.open(sys.argv[1], os.O_CREAT | os.O_RDWR)\nfcntl.flock(h, fcntl.LOCK_EX)\nprint('held', flush=True)\nsys.stdin.read()\n"


def test_another_process_at_the_same_work_is_waited_for(tiny_task, store, tmp_path):
    ask(tiny_task, Scripted(*RIGHT), store)
    (entry,) = (tmp_path / "cache").glob("??/*.zip")
    key = entry.name.partition("-")[0]
    elsewhere = tmp_path / "elsewhere.zip"
    entry.rename(elsewhere)
    lock = store.lock_path(key)
    lock.parent.mkdir(parents=True, exist_ok=True)
    other = subprocess.Popen([sys.executable, "-c", HOLD, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert other.stdout.readline() == b"held\n"

    async def finish():
        await asyncio.sleep(0.5)
        shutil.copy(elsewhere, entry)  # what the other process measured
        other.stdin.close()
        await asyncio.to_thread(other.wait)

    async def both():
        idle = Scripted()
        found, _ = await asyncio.gather(asyncio.to_thread(ask, tiny_task, idle, store), finish())
        return found[0], idle.calls

    trial, calls = asyncio.run(both())
    assert (trial.cached, trial.score, calls) == (True, 1.0, 0)
    assert not lock.exists()


def test_a_torn_or_damaged_entry_is_measured_again_and_healed(tiny_task, store, tmp_path):
    ask(tiny_task, Scripted(*RIGHT), store)
    (entry,) = (tmp_path / "cache").glob("??/*.zip")
    whole = entry.read_bytes()
    name = entry.name.partition("-")
    key, grading = name[0], load_task(tiny_task).grading_digest
    for end in [0, 1, *range(40, len(whole), max(1, len(whole) // 25)), len(whole) - 1]:
        entry.write_bytes(whole[:end])
        assert store.get(key, grading) is None, end
        assert not entry.exists()
    damaged = bytearray(whole)
    damaged[60:70] = b"\0" * 10
    entry.write_bytes(damaged)
    gateway = Scripted(*RIGHT)
    assert (ask(tiny_task, gateway, store)[0].score, gateway.calls) == (1.0, 3)
    assert ask(tiny_task, Scripted(), store)[0].cached


def test_the_longest_unused_goes_when_the_cap_is_reached(tiny_task, tmp_path):
    probe = TrialStore(tmp_path / "probe", 1 << 30)
    ask(tiny_task, Scripted(*RIGHT), probe)
    size = probe.size().bytes
    store = TrialStore(tmp_path / "cache", int(3.5 * size))
    for attempt in range(3):
        ask(tiny_task, Scripted(*RIGHT), store, attempt=attempt)
    for number, entry in enumerate(sorted((tmp_path / "cache").glob("??/*.zip"), key=os.path.getmtime)):
        os.utime(entry, (1000 + number, 1000 + number))
    assert ask(tiny_task, Scripted(), store, attempt=0)[0].cached  # used now, so it stays
    ask(tiny_task, Scripted(*RIGHT), store, attempt=3)
    assert store.size().bytes <= 3.5 * size
    assert ask(tiny_task, Scripted(), store, attempt=0)[0].cached
    counting = Scripted(*RIGHT)
    ask(tiny_task, counting, store, attempt=1)
    assert counting.calls == 3


def test_a_full_disk_costs_a_warning_and_no_trial(tiny_task, small_disk, caplog):
    with contextlib.suppress(OSError), (small_disk / "filler").open("wb", buffering=0) as filler:
        while filler.write(b"x" * 4096):
            pass
    store = TrialStore(small_disk / "cache", 1 << 30)
    assert ask(tiny_task, Scripted(*RIGHT), store)[0].score == 1.0
    assert ask(tiny_task, Scripted(*RIGHT), store)[0].score == 1.0
    assert "cannot be written" in caplog.text
    assert not list(small_disk.glob("cache/??/*.zip"))


def test_a_run_keeps_what_it_measures_and_takes_nothing(tiny_task, store):
    ask(tiny_task, Scripted(*RIGHT), store, serve=False)
    counting = Scripted(*RIGHT)
    assert ask(tiny_task, counting, store, serve=False)[0].cached is False
    assert counting.calls == 3
    assert ask(tiny_task, Scripted(), store)[0].cached


def test_keys_know_models_and_limits_and_no_port():
    served = {"name": "openai/x", "api_base": "http://127.0.0.1:8000/v1"}
    base = identity_of(experiment(**served), "image")
    assert identity_of(experiment(**{**served, "api_base": "http://127.0.0.1:9999/v1"}), "image") == base
    others = [
        identity_of(experiment(**{**served, "name": "openai/y"}), "image"),
        identity_of(experiment(**served, reasoning_effort="high"), "image"),
        identity_of(experiment(**served), "another image"),
        identity_of(experiment(**served).model_copy(update={"limits": Limits(message_limit=5)}), "image"),
        identity_of(experiment(**served).model_copy(update={"seed": 8}), "image"),
    ]
    assert len({base, *others}) == 6


def test_the_command_line_serves_says_so_and_can_be_told_not_to(tmp_path):
    env = {**os.environ, "HARNESS_CACHE_MB": "2048"}
    seed = str(int.from_bytes(os.urandom(6)))  # nobody has measured this

    def harness(*words):
        done = subprocess.run([sys.executable, "-m", "harness", *words], capture_output=True, text=True, env=env, cwd=tmp_path, check=False)  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    first = json.loads(harness("eval", "plain", "smoke", "--seeds", "1", "--seed", seed, "--json"))
    second = json.loads(harness("eval", "plain", "smoke", "--seeds", "1", "--seed", seed, "--json"))
    assert (first["cached"], second["cached"]) == (0, 3)
    assert [t["score"] for t in first["trials"]] == [t["score"] for t in second["trials"]]
    assert "(3 cached)" in harness("eval", "plain", "smoke", "--seeds", "1", "--seed", seed)
    assert "cached" not in harness("eval", "plain", "smoke", "--seeds", "1", "--seed", seed, "--fresh")
    assert json.loads(harness("show", "--cache", "--json"))["entries"] >= 3


def test_lock_files_of_the_store_are_not_left(tiny_task, store, tmp_path):
    ask(tiny_task, Scripted(*RIGHT), store, times=3)
    assert not list((tmp_path / "cache" / "flight").iterdir())


def test_a_read_only_cache_serves_what_it_holds_and_fails_no_trial(tiny_task, small_disk):
    store = TrialStore(small_disk / "cache", 1 << 30)
    ask(tiny_task, Scripted(*RIGHT), store)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    try:
        assert ask(tiny_task, Scripted(), store)[0].cached
        assert ask(tiny_task, Scripted(*RIGHT), store, attempt=1)[0].score == 1.0
    finally:
        subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    assert store.size().entries == 1


def test_an_entry_is_not_removed_because_no_file_can_be_opened_now(tiny_task, store, tmp_path):
    ask(tiny_task, Scripted(*RIGHT), store)
    (entry,) = (tmp_path / "cache").glob("??/*.zip")
    key, grading = entry.name.partition("-")[0], load_task(tiny_task).grading_digest
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        assert store.get(key, grading) is None
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert store.get(key, grading) is not None


def test_keys_know_prices_where_they_stop_an_agent_and_the_order_of_aliases():
    cheap, dear = (experiment(usd_per_mtok_in=price, usd_per_mtok_out=price) for price in (1.0, 2.0))
    assert identity_of(cheap, "image") == identity_of(dear, "image")
    capped = [each.model_copy(update={"limits": Limits(cost_limit=0.1)}) for each in (cheap, dear)]
    assert identity_of(capped[0], "image") != identity_of(capped[1], "image")
    two = {"main": cheap.models["main"], "small": dear.models["main"]}
    orders = [cheap.model_copy(update={"models": dict(order)}) for order in (two.items(), reversed(two.items()))]
    assert identity_of(orders[0], "image") != identity_of(orders[1], "image")  # the agent is told them in this order


@pytest.mark.parametrize(
    ("runtime", "kept"), [("image:agent:latest", 0), ("image:agent@sha256:" + "0" * 64, 1), ("", 1)]
)
def test_a_program_in_an_image_that_may_change_is_never_kept(tiny_task, store, runtime, kept):
    """The provider here gives no images; what is asked for is the store."""

    class Engine:
        async def run(self, spec, task, scaffold):
            return Trial(spec=spec, outcome="scored", score=1.0)

        async def measure(self, spec, task, scaffold):
            return Measured(await self.run(spec, task, scaffold))

    toml = f'contract = 1\nentry = ["agent"]\n[program]\nruntime = "{runtime}"\n'
    spec = TrialSpec(candidate="c", task="t", seed=0, attempt=0)
    asyncio.run(
        TrialCache(Engine(), store, "i", serve=False).run(
            spec, load_task(tiny_task), to_scaffold({"scaffold.toml": toml})
        )
    )
    assert store.size().entries == kept
