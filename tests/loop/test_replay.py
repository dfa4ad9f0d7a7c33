"""A run against a server on loopback, done again with the server gone: same scores, nothing sent; every change is named."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest

from harness.archive import fold
from harness.cli import main
from harness.journal import replay
from harness.models import keys
from harness.models.recording import read_recording
from harness.paths import shipped
from tests.loop.conftest import EXPERIMENT, SUITE

SECRET = "sk-this-is-the-key-of-the-test-0123456789"


@contextmanager
def served(model="simulated/medium"):
    """`harness serve` as a process of its own; its API base."""
    process = subprocess.Popen([sys.executable, "-m", "harness", "serve", model, "--port", "0"], text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)  # fmt: skip
    try:
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()


def archive_of(run):
    return fold(replay(run / "journal.jsonl"))


def newest(folder):
    return max((path.parent for path in folder.glob("runs/*/journal.jsonl")), key=lambda run: run.stat().st_ctime)


def scores(run):
    return {trial.spec.key: (trial.outcome, trial.score, trial.tries) for trial in archive_of(run).all_trials}


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A run of two rounds and a claim, its server closed since."""
    folder = tmp_path_factory.mktemp("original")
    (folder / "small-suite.toml").write_text(SUITE)
    (folder / "small.toml").write_text(EXPERIMENT.format(suite=folder / "small-suite.toml"))
    with served() as base:
        asked = ["run", "small.toml", "-q", "-m", "openai/medium", "--api-base", base]
        done = subprocess.run([sys.executable, "-m", "harness", *asked], cwd=folder, capture_output=True, text=True,
                              timeout=240, env={**os.environ, "OPENAI_API_KEY": SECRET, "HARNESS_CACHE_MB": "0"})  # fmt: skip
    assert done.returncode == 0, done.stderr
    return newest(folder)


@pytest.fixture
def recorded(project, original):
    """That run, in a folder of this test's own."""
    return shutil.copytree(original, project.folder / "runs" / original.name)


def test_a_recorded_run_is_replayed_with_the_server_gone(project, recorded):
    wanted = archive_of(recorded)
    assert wanted.spent().calls > 20
    done = project("run", "--replay", recorded.name, "-q", OPENAI_API_KEY="")
    assert done.returncode == 0, done.stdout + done.stderr
    count = len(wanted.all_trials)
    assert f"calls sent 0; trials with the same score {count}, with another 0, not reached 0; diverged 0" in done.stdout
    again = newest(project.folder)
    assert again != recorded
    assert archive_of(again).fingerprint() == wanted.fingerprint()
    assert archive_of(again).memos == wanted.memos
    assert not (again / "calls").exists()
    assert {trial.origin for trial in archive_of(again).all_trials} == {"simulated"}
    # By part of its name, in another order of arrival, and without the package that could send anything.
    program = (
        "import sys; from harness.cli import main\n"
        "code = main(sys.argv[1:])\nprint('LOADED', [m for m in ('litellm', 'httpx', 'aiohttp') if m in sys.modules])\n"
        "sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", program, "run", "--replay", "small", "-q", "-n", "4"], cwd=project.folder,
                          capture_output=True, text=True, timeout=240)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "LOADED []" in done.stdout
    assert scores(newest(project.folder)) == scores(recorded)


def test_nothing_in_the_folder_is_a_key(recorded):
    files = [path for path in recorded.rglob("*") if path.is_file()]
    assert any("calls" in path.parts for path in files)
    for path in files:
        text = path.read_text("utf-8", "replace")
        assert SECRET not in text, path
        if "calls" in path.parts:
            assert not keys._SHAPES.search(text), path
            assert not re.search(r"(?i)authorization", text), path


def test_every_call_of_the_run_is_recorded(recorded):
    archive = archive_of(recorded)
    for trial in archive.all_trials:
        tries = list(read_recording(recorded / "calls" / f"{trial.spec.key}.jsonl"))
        assert sum(line.reply is not None for line in tries) == trial.usage.calls
        assert sum(line.reply.usage.tokens_in for line in tries if line.reply) == trial.usage.tokens_in
        assert all(line.wire[0]["response"]["status"] == 200 for line in tries)
    for number in archive.rounds:
        assert (recorded / "calls" / f"proposal/r{number:02d}-0.jsonl").is_file()
        assert (recorded / "calls" / f"memo/r{number:02d}.jsonl").is_file()


def test_one_changed_line_of_the_scaffold_is_named(project, recorded, monkeypatch, capsys):
    monkeypatch.chdir(project.folder)
    changed = shutil.copytree(shipped("scaffolds") / "plain", project.folder / "changed")
    prompt = changed / "prompts" / "system.md"
    prompt.write_text(prompt.read_text().replace("The working folder holds", "The work folder holds"))
    assert main(["run", "--replay", recorded.name, "-q", "--set", "scaffold.start=changed"]) == 4
    said = capsys.readouterr().out
    assert "changed since that run began: scaffold.start, scaffold.digest" in said
    first = next(line for line in said.partition("calls sent 0")[2].splitlines() if "diverged at call" in line)
    assert re.match(r"  c0000/\S+: diverged at call 1, messages\[0\] \(system\)\.content, line 3: was ", first)
    assert "The working folder holds" in first and "The work folder holds" in first
    again = archive_of(newest(project.folder))
    ended = [trial for trial in again.all_trials if trial.flags == ("diverged",)]
    assert ended == list(again.all_trials)
    assert {(trial.outcome, trial.score, trial.tries) for trial in ended} == {("cancelled", None, 1)}


def test_damage_is_a_divergence_and_a_missing_folder_one_error(project, recorded, monkeypatch, capsys):
    monkeypatch.chdir(project.folder)
    calls = sorted((recorded / "calls" / "c0000").rglob("0-0.jsonl"))
    calls[0].unlink()
    calls[1].write_bytes(calls[1].read_bytes()[:-30])
    assert main(["run", "--replay", recorded.name, "-q", "--rounds", "2"]) == 4
    said = capsys.readouterr().out
    assert f"{calls[0].name}: not recorded" in said
    assert "the order of calls: was the end of the recording" in said
    shutil.rmtree(recorded / "calls")
    assert main(["run", "--replay", recorded.name, "-q"]) == 2
    said = capsys.readouterr().err
    assert "no call to openai/medium was recorded" in said and len(said.splitlines()) <= 3


def test_a_replay_can_be_resumed_and_never_sends(project, recorded, monkeypatch, capsys):
    monkeypatch.chdir(project.folder)
    monkeypatch.delattr("harness.wiring.trial_cache")  # what a replay measures is not kept for evaluations
    assert main(["run", "--replay", recorded.name, "-q"]) == 0
    again = newest(project.folder)
    lines = (again / "journal.jsonl").read_bytes().splitlines(keepends=True)
    for cut in (1, 3, len(lines) // 2):
        (again / "journal.jsonl").write_bytes(b"".join(lines[:cut]))
        assert main(["run", "--resume", again.name, "-q"]) == 0
        assert "diverged 0" in capsys.readouterr().out
        assert archive_of(again).fingerprint() == archive_of(recorded).fingerprint()
    assert main(["run", "--replay", again.name]) == 2
    assert f"is a replay itself; replay {recorded.name}" in capsys.readouterr().err
    shutil.rmtree(recorded)
    assert main(["run", "--resume", again.name]) == 2
    assert "which is gone" in capsys.readouterr().err


def test_a_run_that_was_killed_and_resumed_is_replayed_as_one(project):
    with served() as base:
        asked = [sys.executable, "-m", "harness", "run", "small.toml", "-q", "-m", "openai/medium", "--api-base", base]
        running = subprocess.Popen(asked, cwd=project.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while len(list(project.folder.glob("runs/*/calls/c000*/*/*.jsonl"))) < 4 and time.monotonic() < deadline:
            time.sleep(0.01)
        running.send_signal(signal.SIGKILL)
        running.wait()
        run = newest(project.folder)
        for path in run.glob("calls/c0000/*/0-0.jsonl"):
            path.write_bytes(path.read_bytes() + b'{"trial": "torn')
        assert project("run", "--resume", run.name, "-q").returncode == 0
    done = project("run", "--replay", run.name, "-q")
    assert done.returncode == 0, done.stdout + done.stderr
    assert scores(newest(project.folder)) == scores(run)


@pytest.mark.parametrize("tokens", [2500, 6000])
def test_a_run_that_its_token_cap_ended_is_replayed_to_the_same_end(project, tokens):
    """The cap refused calls in the middle of a trial, or of a proposal; those have no recording and are no divergence."""
    with served() as base:
        done = project("run", "small.toml", "-q", "-m", "openai/medium", "--api-base", base, "--set", f"budget.tokens={tokens}",
                       "--set", "budget.rounds=50", "--set", "claim.at_end=false")  # fmt: skip
    assert done.returncode == 0, done.stderr
    run = newest(project.folder)
    assert archive_of(run).ended.reason == "tokens"
    done = project("run", "--replay", run.name, "-q")
    assert done.returncode == 0, done.stdout + done.stderr
    assert scores(newest(project.folder)) == scores(run)


@pytest.mark.slow
def test_faults_of_the_server_are_replayed_without_it(project):
    with served("simulated/flaky") as base:
        (project.folder / "one.toml").write_text('train = ["d01-log-first-failure"]\n')
        few = (
            "budget.rounds=1",
            "claim.at_end=false",
            "proposer.kind=placebo",
            "gate.kind=strict",
            "suite.name=one.toml",
        )
        options = [part for setting in few for part in ("--set", setting)]
        done = project("run", "small.toml", "-q", "-m", "openai/flaky", "--api-base", base, *options)
    assert done.returncode == 0, done.stderr
    run = newest(project.folder)
    kinds = {line.fault.kind for path in run.glob("calls/**/*.jsonl") for line in read_recording(path) if line.fault}
    assert kinds & {"rate_limit", "server", "timeout", "malformed"}
    done = project("run", "--replay", run.name, "-q")
    assert done.returncode == 0, done.stdout + done.stderr
    assert scores(newest(project.folder)) == scores(run)


def test_a_run_of_the_embedded_model_is_computed_again(project):
    assert project("run", "small.toml", "-q", "--rounds", "1").returncode == 0
    run = newest(project.folder)
    assert not (run / "calls").exists()
    done = project("run", "--replay", run.name, "-q")
    assert done.returncode == 0, done.stderr
    assert "diverged 0" in done.stdout
    assert scores(newest(project.folder)) == scores(run)


@pytest.mark.parametrize("more", [["small.toml"], ["--resume", "x"], ["--dry-run"]])
def test_what_does_not_go_with_replay_is_refused(project, monkeypatch, more):
    monkeypatch.chdir(project.folder)
    assert main(["run", "--replay", "small", *more]) == 2


def test_a_live_recording_is_replayed_as_such_and_needs_no_key(project, recorded):
    """As if a real provider had answered: the origin on record is live, the key is not there any more."""
    for path in (recorded / "calls").rglob("*.jsonl"):
        path.write_text(path.read_text().replace('"origin": "simulated"', '"origin": "live"'))
    lock = json.loads((recorded / "lock.json").read_text())
    lock["experiment"]["models"]["main"].pop("api_base")
    (recorded / "lock.json").write_text(json.dumps(lock))
    environment = {key: "" for key in os.environ if key.endswith("_API_KEY")} | {"OPENAI_API_KEY": ""}
    done = project("run", "--replay", recorded.name, "-q", **environment)
    assert done.returncode == 0, done.stdout + done.stderr
    again = archive_of(newest(project.folder))
    assert {trial.origin for trial in again.all_trials} == {"replayed"}
    assert {trial.score for trial in again.all_trials} == {trial.score for trial in archive_of(recorded).all_trials}
