"""A run as a Harbor job, validated by Harbor's own models in Harbor's Python."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.archive import Archive, fold
from harness.bridges.harbor import read_job
from harness.bridges.harbor_job import EXCEPTIONS, write_job
from harness.cli import main
from harness.config import to_experiment
from harness.errors import UsageError
from harness.paths import RunPaths
from harness.records import Check, Trial, TrialSpec, Usage
from harness.records.events import TrialDone
from harness.suites import load_suite

EXPERIMENT = """name = "exported"
[models.main]
name = "simulated/medium"
[suite]
name = "smoke"
seeds = 2
[budget]
rounds = 1
trials = 40
[sandbox]
kind = "bwrap"
[tracking]
uri = ""
"""
VALIDATE = """
import json, sys
from pathlib import Path
from harbor.models.job.config import JobConfig
from harbor.models.job.lock import JobLock, TrialLock
from harbor.models.job.result import JobResult, JobStats
from harbor.models.trajectories import Trajectory
from harbor.models.trial.config import TrialConfig
from harbor.models.trial.result import TrialResult
folder = Path(sys.argv[1])
JobConfig.model_validate_json((folder / "config.json").read_text())
lock = JobLock.model_validate_json((folder / "lock.json").read_text())
job = JobResult.model_validate_json((folder / "result.json").read_text())
found = []
for path in sorted(folder.glob("*/result.json")):
    TrialConfig.model_validate_json((path.parent / "config.json").read_text())
    assert TrialLock.model_validate_json((path.parent / "lock.json").read_text()) in lock.trials
    found.append(TrialResult.model_validate_json(path.read_text()))
    for document in path.parent.rglob("trajectory.json"):
        Trajectory.model_validate_json(document.read_text())
own = JobStats.from_trial_results(found, n_total_trials=len(found), n_retries=job.stats.n_retries)
compared = {name: [getattr(stats, name) for stats in (own, job.stats)] for name in
            ("n_completed_trials", "n_errored_trials", "n_cancelled_trials", "n_input_tokens", "n_output_tokens", "n_cache_tokens", "cost_usd")}
evals = {key: [[s.evals[key].n_trials, s.evals[key].n_errors, {r: {v: sorted(n) for v, n in by.items()} for r, by in s.evals[key].reward_stats.items()},
                {e: sorted(n) for e, n in s.evals[key].exception_stats.items()}] for s in (own, job.stats)] for key in own.evals}
print(json.dumps({"trials": len(found), "stats": compared, "evals": evals, "keys": sorted(own.evals) == sorted(job.stats.evals),
                  "causes": {r.task_name + "/" + str(r.agent_result.metadata["attempt"]): [r.failure_cause, r.reward_valid] for r in found},
                  "documents": len(list(folder.rglob("trajectory.json")))}, default=str))
"""


def validated(python, folder):
    done = subprocess.run([python, "-c", VALIDATE, folder], capture_output=True, text=True, timeout=120, check=False,
                          env={**os.environ, "PYTHONPATH": ""})  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["keys"]
    for name, (theirs, ours) in found["stats"].items():
        assert theirs == pytest.approx(ours) or (name == "cost_usd" and ours is None), name  # unpriced is unknown to us
    for key, (theirs, ours) in found["evals"].items():
        assert theirs == ours, key
    return found


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported")
    (folder / "x.toml").write_text(EXPERIMENT)
    done = subprocess.run(
        [sys.executable, "-m", "harness", "run", "x.toml", "-q"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return next(folder.glob("runs/*/journal.jsonl")).parent


def test_a_run_its_lock_and_its_trajectories_are_read_by_harbors_own_models(python, run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(run.parent.parent)
    assert main(["export", run.name, "--harbor", str(tmp_path / "job")]) == 0
    count = sum('"trial.done"' in line for line in (run / "journal.jsonl").read_text().splitlines())
    found = validated(python, tmp_path / "job")
    assert found["trials"] == found["documents"] == count > 6
    read = read_job(tmp_path / "job")
    archive = json.loads(subprocess.run([sys.executable, "-m", "harness", "show", run.name, "--json"], capture_output=True, text=True, check=True).stdout)  # fmt: skip
    assert archive
    assert {trial.reward for trial in read} <= {0.0, 1.0}
    assert sum(trial.usage.tokens_in for trial in read) == found["stats"]["n_input_tokens"][1] > 0
    assert main(["show", "--harbor", str(tmp_path / "job")]) == 0
    assert "coverage 100%" in capsys.readouterr().out


def test_the_same_run_gives_the_same_bytes_and_one_candidate_can_be_taken(run, tmp_path, monkeypatch):
    monkeypatch.chdir(run.parent.parent)
    for name in ("one", "two"):
        assert main(["export", run.name, "seed", "--harbor", str(tmp_path / name / "job")]) == 0
    files = [{path.relative_to(tmp_path / name): path.read_bytes() for path in (tmp_path / name).rglob("*") if path.is_file()} for name in ("one", "two")]  # fmt: skip
    assert files[0] == files[1]
    assert {trial.agent for trial in read_job(tmp_path / "one" / "job")} == {"selfharness-c0000"}


def test_what_is_there_is_not_overwritten(run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(run.parent.parent)
    (tmp_path / "job").mkdir()
    assert main(["export", run.name, "--harbor", str(tmp_path / "job")]) == 2
    assert "nothing is overwritten" in capsys.readouterr().err


def test_every_outcome_is_what_harbor_would_make_of_it(python, tmp_path):
    outcomes = ["scored", *EXCEPTIONS]
    _, tasks = load_suite("smoke")
    name = sorted(tasks)[0]
    experiment = to_experiment(
        {"name": "o", "models": {"main": {"name": "openai/x"}}, "suite": {"name": "smoke"}, "budget": {"trials": 9}},
        "test",
        [],
    )
    events = [TrialDone(round=0, trial=Trial(
        spec=TrialSpec(candidate="c0000", task=name, seed=0, attempt=number), outcome=outcome, detail=f"it was {outcome}",
        score={"scored": 1.0, "agent_error": 0.0, "time_up": 0.0}.get(outcome), checks=(Check(name="a", passed=True),), tries=2,
        usage=Usage(calls=1, tokens_in=7, tokens_out=3, usd=None if outcome == "scored" else 0.5), started=1.7e9 + number, wall_s=2.5,
    )) for number, outcome in enumerate(outcomes)]  # fmt: skip
    archive = fold(events, Archive())
    assert write_job(RunPaths(tmp_path / "run"), archive, experiment, tasks, tmp_path / "job") == 6
    found = validated(python, tmp_path / "job")
    causes = {outcomes[int(key.rpartition("/")[2])]: value for key, value in found["causes"].items()}
    assert causes["scored"] == [None, True]
    assert "BUDGET" in causes["time_up"][0].upper()
    assert "VERIFIER" in causes["task_error"][0].upper()
    assert "CANCELLED" in causes["cancelled"][0].upper()
    assert {outcome for outcome, (_, valid) in causes.items() if not valid} >= {
        "task_error",
        "infra_error",
        "cancelled",
    }
    result = json.loads((tmp_path / "job" / "result.json").read_text())
    (stats,) = result["stats"]["evals"].values()
    assert stats["metrics"][0]["coverage"] == 0.5
    assert result["stats"]["cost_usd"] is None
    assert result["stats"]["n_retries"] == 6
    with pytest.raises(UsageError, match="no finished trial of c0009"):
        write_job(RunPaths(tmp_path / "run"), archive, experiment, tasks, Path(tmp_path / "other"), "c0009")
