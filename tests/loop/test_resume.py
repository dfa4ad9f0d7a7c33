"""A killed run loses no finished trial, runs none twice, and ends as an unbroken one does."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time

import pytest

import harness
from harness.archive import fold
from harness.cli import main
from harness.journal import replay


def only_run(folder):
    return next(folder.glob("runs/*/journal.jsonl")).parent


def archive_of(run):
    return fold(replay(run / "journal.jsonl"))


@pytest.fixture
def unbroken(project):
    done = project("run", "small.toml", "-q")
    assert done.returncode == 0, done.stderr
    return only_run(project.folder)


def test_cut_at_every_journal_position_it_resumes_to_the_same_end(project, unbroken, monkeypatch, capsys):
    """A SIGKILL leaves a prefix of the journal (and maybe a torn line): every prefix must lead to the same archive.

    Resumed within this process, for time's sake; the tests below kill and resume processes.
    """
    monkeypatch.chdir(project.folder)
    wanted = archive_of(unbroken)
    lines = (unbroken / "journal.jsonl").read_bytes().splitlines(keepends=True)
    assert len(lines) > 15
    for cut in range(1, len(lines)):
        (unbroken / "journal.jsonl").write_bytes(b"".join(lines[:cut]) + lines[cut][: len(lines[cut]) // 2])
        before = {t.spec.key for t in archive_of(unbroken).all_trials}
        code = main(["run", "--resume", unbroken.name, "-q"])
        assert code == 0, f"cut {cut}: {capsys.readouterr().err}"
        resumed = archive_of(unbroken)
        assert resumed.fingerprint() == wanted.fingerprint(), f"cut {cut}"
        keys = [t.spec.key for t in resumed.all_trials]
        assert len(keys) == len(set(keys))
        assert before <= set(keys)


def test_a_budget_that_just_holds_the_run_holds_it_after_a_kill_too(project, monkeypatch, capsys):
    """What is finished of a block is not to be paid for again."""
    monkeypatch.chdir(project.folder)
    done = project(
        "run", "small.toml", "-q", "--set", "claim.at_end=false", "--set", "budget.trials=6", "--set", "suite.seeds=3"
    )
    assert done.returncode == 0, done.stderr
    run = only_run(project.folder)
    wanted, lines = archive_of(run), (run / "journal.jsonl").read_bytes().splitlines(keepends=True)
    assert len(wanted.finished) == 6  # the seed's first pass, and no more
    for cut in range(2, len(lines)):
        (run / "journal.jsonl").write_bytes(b"".join(lines[:cut]))
        assert main(["run", "--resume", run.name, "-q"]) == 0, capsys.readouterr().err
        assert archive_of(run).fingerprint() == wanted.fingerprint(), f"cut {cut}"


@pytest.mark.parametrize("tokens", [3000, 12_000, 20_000])
def test_tokens_that_end_in_the_middle_of_anything_end_the_run(project, tokens):
    done = project(
        "run",
        "small.toml",
        "-q",
        "--set",
        f"budget.tokens={tokens}",
        "--set",
        "budget.rounds=50",
        "--set",
        "claim.at_end=false",
    )
    assert done.returncode == 0, done.stderr
    archive = archive_of(only_run(project.folder))
    assert archive.ended.reason == "tokens"
    assert archive.spent().tokens <= tokens
    assert project("run", "--resume", "last", "-q").returncode == 0


def test_hours_that_end_in_the_middle_of_a_block_end_it(project):
    few = ("budget.hours=0.0008", "suite.seeds=60", "claim.at_end=false")  # three seconds, and the first pass takes ten
    options = [part for setting in few for part in ("--set", setting)]
    assert project("run", "small.toml", "-q", *options, "--set", "budget.trials=500").returncode == 0
    archive = archive_of(only_run(project.folder))
    assert archive.ended.reason == "hours"
    assert 0 < len(archive.finished) < 120
    assert archive.active_s < 8


def test_sigkill_in_the_middle_then_resume(project, unbroken):
    wanted = archive_of(unbroken).fingerprint()
    for delay in (0.7, 1.6, 2.6):
        shutil.rmtree(project.folder / "runs")
        running = subprocess.Popen([sys.executable, "-m", "harness", "run", "small.toml", "-q"], cwd=project.folder,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
        deadline = time.monotonic() + 30
        while not list(project.folder.glob("runs/*/journal.jsonl")) and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(delay)
        running.kill()
        running.wait()
        run = only_run(project.folder)
        finished = {t.spec.key: t.started for t in archive_of(run).all_trials}
        done = project("run", "--resume", "small", "-q")
        assert done.returncode == 0, done.stderr
        after = archive_of(run)
        assert after.fingerprint() == wanted
        assert finished.items() <= {t.spec.key: t.started for t in after.all_trials}.items()


def test_ctrl_c_stops_cleanly_and_can_be_resumed(project):
    running = subprocess.Popen([sys.executable, "-m", "harness", "run", "small.toml"], cwd=project.folder, text=True,
                               stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)  # fmt: skip
    time.sleep(2.0)
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=30)
    assert running.returncode == 130, said
    assert "harness run --resume" in said
    assert project("run", "--resume", "last", "-q").returncode == 0


def test_a_second_ctrl_c_ends_it_at_once_also_while_a_dead_tracker_is_waited_for(project):
    with socket.create_server(("127.0.0.1", 0)) as dead:  # takes connections and never answers
        tracking = f"http://127.0.0.1:{dead.getsockname()[1]}"
        asked = [
            sys.executable,
            "-m",
            "harness",
            "run",
            "small.toml",
            "-q",
            "--rounds",
            "0",
            "--set",
            "claim.at_end=false",
        ]
        running = subprocess.Popen(asked, cwd=project.folder, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                   env={**os.environ, "MLFLOW_TRACKING_URI": tracking})  # fmt: skip
        deadline = time.monotonic() + 60
        while not any('"run.ended"' in path.read_text() for path in project.folder.glob("runs/*/journal.jsonl")):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        time.sleep(0.5)
        running.send_signal(signal.SIGINT)
        time.sleep(0.5)
        running.send_signal(signal.SIGINT)
        try:
            assert running.wait(5) == 130
        finally:
            running.kill()


def test_resume_refuses_a_changed_config_and_names_the_keys(project, unbroken):
    done = project("run", "--resume", unbroken.name, "--set", "gate.kind=strict", "--seed", "6")
    assert done.returncode == 2
    assert "config differs in gate.kind, seed" in done.stderr
    lock = json.loads((unbroken / "lock.json").read_text())
    lock["tasks"]["c01-interval-merge-fix"]["digest"] = "0" * 64
    (unbroken / "lock.json").write_text(json.dumps(lock))
    done = project("run", "--resume", unbroken.name)
    assert done.returncode == 2
    assert "tasks.c01-interval-merge-fix changed" in done.stderr


def test_a_run_leaves_no_process_behind(project, unbroken):
    mine = [p for p in os.listdir("/proc") if p.isdigit() and str(project.folder) in _cmdline(p)]
    assert mine == []


def _cmdline(pid):
    try:
        with open(f"/proc/{pid}/cmdline") as file:
            return file.read()
    except OSError:
        return ""


def test_same_seed_same_history_other_seed_another(project, unbroken):
    first = archive_of(unbroken).fingerprint()
    shutil.rmtree(unbroken)
    assert project("run", "small.toml", "-q").returncode == 0
    assert archive_of(only_run(project.folder)).fingerprint() == first
    shutil.rmtree(only_run(project.folder))
    assert project("run", "small.toml", "-q", "--seed", "6").returncode == 0
    assert archive_of(only_run(project.folder)).fingerprint() != first


def test_a_run_as_tidy_frames_and_as_parquet(project, unbroken, monkeypatch, capsys):
    import pandas

    archive = archive_of(unbroken)
    frames = harness.load(unbroken)
    assert len(frames.trials) == len(archive.all_trials)
    assert set(frames.trials.purpose) >= {"gate", "claim"}
    assert list(frames.candidates.candidate) == list(archive.candidates)
    assert list(frames.rounds["round"]) == [1, 2]
    assert frames.rounds.trials.sum() <= len(frames.trials)
    calls = frames.calls.groupby(["candidate", "task", "seed", "attempt"]).tokens_in.sum()
    for trial in (t for group in archive.trials.values() for t in group):
        spec = trial.spec
        assert calls[(spec.candidate, spec.task, spec.seed, spec.attempt)] == trial.usage.tokens_in
    monkeypatch.chdir(project.folder)
    assert main(["export", "last", "--parquet", "out"]) == 0
    again = pandas.read_parquet(project.folder / "out" / "trials.parquet")
    assert list(again.columns) == list(frames.trials.columns)
    assert len(again) == len(frames.trials)
    assert main(["export", "last", "--parquet", "out"]) == 2
