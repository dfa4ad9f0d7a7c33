"""harness eval --out: killed, interrupted, stopped by a broken machine, it keeps what it has and goes on; and as a baseline."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import contextmanager
from io import StringIO

import pytest

import harness
from harness.cli import main
from harness.display import EvalProgress
from harness.errors import ModelFault
from harness.models.serve import ChatServer
from harness.models.simulated import SimulatedModel
from harness.records import Trial, TrialSpec
from harness.records.events import RunStarted, TrialDone

WORDS = ("eval", "plain", "smoke", "--seeds", "3", "--set", "sandbox.kind=bwrap", "--out", "kept")


@pytest.fixture
def ask(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HARNESS_CACHE_MB", "0")
    return lambda *words: main([*WORDS, *words])


def start(folder, *words):
    return subprocess.Popen([sys.executable, "-m", "harness", *WORDS, *words], cwd=folder, text=True, env={**os.environ, "HARNESS_CACHE_MB": "0"},
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip


def journalled(folder):
    file = folder / "kept" / "journal.jsonl"
    lines = (
        [line for line in file.read_text().splitlines(keepends=True) if line.endswith("\n")] if file.exists() else []
    )
    return [json.loads(line) for line in lines]


def trials_of(folder):
    return [event["trial"] for event in journalled(folder) if event["type"] == "trial.done"]


def wait_for_trials(folder, count, limit=60):
    end = time.monotonic() + limit
    while len(trials_of(folder)) < count:
        assert time.monotonic() < end
        time.sleep(0.02)


def test_killed_it_goes_on_and_measures_no_trial_twice(ask, tmp_path, capsys):
    for count in (1, 4):
        child = start(tmp_path)
        wait_for_trials(tmp_path, count)
        child.send_signal(signal.SIGKILL)
        child.communicate()
    before = trials_of(tmp_path)
    assert ask("--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found["trials"]) == 9
    assert found["coverage"] == 1.0
    assert set(Counter(str(trial["spec"]) for trial in trials_of(tmp_path)).values()) == {1}
    assert trials_of(tmp_path)[: len(before)] == before
    whole = harness.evaluate("plain", "smoke")
    assert [(t.spec, t.outcome, t.score) for t in whole.trials] == [
        (TrialSpec.model_validate(t["spec"]), t["outcome"], t["score"]) for t in found["trials"]]  # fmt: skip
    assert journalled(tmp_path)[-1]["reason"] == "done"
    assert len(harness.load(tmp_path / "kept").trials) == 9
    assert main(["show", str(tmp_path / "kept")]) == 0
    assert "plain on smoke: 0." in capsys.readouterr().out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_says_how_to_go_on_and_leaves_no_process(ask, tmp_path, number):
    child = start(tmp_path)
    wait_for_trials(tmp_path, 1)
    below = subprocess.run(["pgrep", "-P", str(child.pid)], capture_output=True, text=True, check=False).stdout.split()
    child.send_signal(number)
    _, said = child.communicate(timeout=30)
    assert child.returncode == 128 + number
    assert "what is finished is in kept: the same command goes on there" in said
    assert below
    assert not [pid for pid in below if os.path.exists(f"/proc/{pid}")]
    done = len(trials_of(tmp_path))
    assert 1 <= done < 9
    assert ask() == 0
    assert len(trials_of(tmp_path)) == 9


def test_a_folder_with_something_else_is_refused_by_name(ask, tmp_path, capsys):
    assert ask("--budget", "trials=1") == 0
    for words, named in (
        (("--set", "limits.message_limit=3"), "limits.message_limit"),
        (("-k", "2"), "attempts"),
        (("--shard", "1/2"), "shard"),
        (("--set", "models.main.reasoning_effort=high"), "models.main.reasoning_effort"),
    ):
        assert ask(*words) == 2
        assert named in capsys.readouterr().err
    (tmp_path / "kept" / "lock.json").write_text('{"experiment": {}}')
    assert ask() == 2
    assert "holds a run, not an evaluation" in capsys.readouterr().err


def test_a_budget_that_is_raised_goes_on(ask, tmp_path, capsys):
    assert ask("--budget", "trials=4") == 0
    assert "5 of 9 trials were not finished" in capsys.readouterr().out
    assert journalled(tmp_path)[-1]["reason"] == "budget"
    assert ask("--json") == 0
    assert json.loads(capsys.readouterr().out)["coverage"] == 1.0
    assert len(trials_of(tmp_path)) == 9


@contextmanager
def mendable(fault):
    """A served simulated model that refuses every call until the returned event is set; its API base."""
    mended, ready, base = threading.Event(), threading.Event(), []

    class Model:
        async def complete(self, request):
            if not mended.is_set():
                raise fault
            return await SimulatedModel().complete(request.model_copy(update={"model": "simulated/medium"}))

    async def serve():
        server = ChatServer(lambda name: Model(), ("simulated/medium",))
        base.append(await server.start())
        ready.set()
        await asyncio.to_thread(stop.wait)
        await server.close()

    stop = threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    ready.wait(10)
    try:
        yield base[0], mended
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize(
    ("fault", "said_of_it", "measured"),
    [
        (ModelFault("rate_limit", "come back later", retry_after=400), "5 trials in a row failed on infrastructure", 5),
        (ModelFault("rate_limit", "come back tomorrow", retry_after=86_400), "the server asks to wait 24.0 h", 0),
    ],
    ids=["the breaker", "a quota of a day"],
)
def test_a_broken_machine_ends_it_with_five_and_what_it_has_and_mended_it_goes_on(
    ask, tmp_path, capsys, monkeypatch, fault, said_of_it, measured
):
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    monkeypatch.setattr(
        "harness.models.limiter.Limiter.held", 0.0
    ) if measured else None  # else it would wait for 400 s
    with mendable(fault) as (base, mended):
        words = (
            "-m",
            "openai/simulated/medium",
            "--api-base",
            base,
            "--json",
            "--junit",
            "out.xml",
            "--summary",
            "page.md",
        )
        assert ask(*words) == 5
        said = capsys.readouterr()
        assert said_of_it in said.err
        assert "coverage 0%" in said.err
        assert "the same command goes on there" in said.err
        found = json.loads(said.out)
        assert found["score"] is None
        assert {trial["outcome"] for trial in found["trials"]} == ({"infra_error"} if measured else set())
        assert len(found["trials"]) >= measured
        assert ('type="infra_error"' in (tmp_path / "out.xml").read_text()) is bool(measured)
        assert "**failed**" in (tmp_path / "page.md").read_text()
        assert journalled(tmp_path)[-1]["reason"] == "infra"
        mended.set()
        assert ask(*words) == 0
        assert json.loads(capsys.readouterr().out)["coverage"] == 1.0


def test_an_evaluation_and_a_run_can_be_the_baseline(ask, tmp_path, capsys):
    assert ask("--seed", "5") == 0
    (tmp_path / "small.toml").write_text('name = "small"\nseed = 5\nmodels.main.name = "simulated/medium"\nsuite.name = "smoke"\n'
                                         'sandbox.kind = "bwrap"\ntracking.uri = ""\nbudget.rounds = 1\nbudget.trials = 99\n')  # fmt: skip
    assert main(["run", "small.toml", "-q", "--set", "proposer.kind=placebo"]) == 0  # so the seed stays the best
    capsys.readouterr()
    for name in ("kept", "last", "small"):
        assert main([*WORDS[:-2], "--seed", "5", "--baseline", name, "--json"]) == 0, name
        found = json.loads(capsys.readouterr().out)["baseline"]
        assert (found["difference"], found["units"]) == (0.0, 9)
    assert main([*WORDS[:-2], "--seed", "6", "--baseline", "last"]) == 2
    assert "the baseline is stale: seed (5 -> 6)" in capsys.readouterr().err
    assert main([*WORDS[:-2], "--baseline", "nowhere"]) == 2
    assert "make one with --update-baseline nowhere" in capsys.readouterr().err


def test_trials_that_chose_a_candidate_are_no_baseline(ask, tmp_path, capsys):
    """They flatter it: the best of a run that was never measured again is refused."""
    suite = tmp_path / "one.toml"
    suite.write_text('train = ["c01-interval-merge-fix", "d01-log-first-failure"]\n')
    (tmp_path / "small.toml").write_text(f'name = "small"\nseed = 5\nmodels.main.name = "simulated/medium"\nsuite.name = "{suite}"\n'
                                         'sandbox.kind = "bwrap"\ntracking.uri = ""\nbudget.rounds = 1\nbudget.trials = 99\n'
                                         'gate.kind = "random"\n')  # fmt: skip
    assert main(["run", "small.toml", "-q"]) == 0
    archive = harness.load("last").candidates
    capsys.readouterr()
    best = archive[archive.verdict == "keep"].candidate.tolist()
    assert best, "the coin of this seed keeps one"
    assert main(["eval", "plain", str(suite), "--seed", "5", "--baseline", "last"]) == 2
    assert f"{best[-1]} was not measured again after it was chosen" in capsys.readouterr().err


def test_progress_is_a_line_now_and_then_where_there_is_no_terminal():
    out = StringIO()
    progress = EvalProgress(out, every=0.0)
    progress.on(RunStarted(run="r", experiment="e", config="c", lock="l", planned_trials=2))
    for number, outcome in enumerate(("scored", "infra_error")):
        spec = TrialSpec(candidate="eval", task="a", seed=0, attempt=number)
        progress.on(
            TrialDone(
                round=0, purpose="eval", trial=Trial(spec=spec, outcome=outcome, score=0.5 if number == 0 else None)
            )
        )
    assert out.getvalue().splitlines() == ["1 of 2 trials; last a 0.50", "2 of 2 trials, 1 without a score; last a -"]


def test_what_needs_rounds_is_refused_and_the_rest_can_be_taken_away(ask, tmp_path, capsys):
    assert main(["eval", "plain", "smoke", "--seeds", "1", "--set", "sandbox.kind=bwrap", "--out", "kept"]) == 0
    before = (tmp_path / "kept" / "journal.jsonl").read_bytes()
    for words in ("run --resume", "run --replay", "claim", "diff"):
        verb = words.split()
        assert main([*verb, "kept", *(["eval"] if words == "diff" else [])]) == 2, words
        assert "holds an evaluation, not a run" in capsys.readouterr().err
    for more in (["--report", "r.html"], ["--mlflow", "sqlite:///m.db"], ["eval", "there"]):
        assert main(["export", "kept", *more]) == 2
        assert "holds an evaluation, not a run" in capsys.readouterr().err
    assert (tmp_path / "kept" / "journal.jsonl").read_bytes() == before
    assert main(["export", "kept", "--junit", "out.xml"]) == 0
    assert main(["export", "kept", "--harbor", "job"]) == 0
    assert main(["export", "kept", "--parquet", "frames"]) == 0
    assert main(["show", "kept", "eval", "c01-interval-merge-fix"]) == 0
    assert "[1] system" in capsys.readouterr().out
