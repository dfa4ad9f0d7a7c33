"""A run as a Harbor job: config.json, lock.json and result.json for the job and for each trial, as Harbor 0.25 reads them.

Every candidate is an agent of the job. Names and ids come from the run and the trial alone, so the same run gives the same
bytes. A trial without a score has an exception and no reward; Harbor's own mean would count it as 0, ours is beside it
with its coverage (`mean_of_scored`, `coverage`).
"""

from __future__ import annotations

import datetime
import json
import math
import shutil
import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.archive import Archive
from harness.errors import UsageError
from harness.hashing import sha256
from harness.paths import RunPaths
from harness.records import Candidate, Experiment, Task, Trial
from harness.stats import pass_at_k

Json = dict[str, Any]
SPACE = uuid.uuid5(uuid.NAMESPACE_URL, "selfharness")
EXCEPTIONS = {
    "agent_error": "NonZeroAgentExitCodeError",
    "time_up": "AgentTimeoutError",
    "task_error": "VerifierOutputParseError",
    "infra_error": "RuntimeRequestError",
    "cancelled": "CancelledError",
}
"""Our outcomes as the names by which Harbor sorts faults (models/trial/error_policy)."""


def write_job(
    paths: RunPaths,
    archive: Archive,
    experiment: Experiment,
    tasks: Mapping[str, Task],
    target: Path,
    candidate: str = "",
) -> int:
    """Write the finished trials of a run, or of one candidate, as a job folder; how many. Nothing is left by a kill.

    Raises UsageError when the folder exists, or when there is no trial to write.
    """
    if target.exists():
        raise UsageError(f"{target}: exists; name a folder that does not, nothing is overwritten")
    wanted = (trial for trial in archive.all_trials if candidate in ("", trial.spec.candidate))
    trials = sorted(wanted, key=lambda trial: trial.spec.key)
    if not trials:
        raise UsageError(f"{archive.run}: no finished trial{f' of {candidate}' if candidate else ''} to export")
    job = _Job(paths, archive, experiment, tasks, target)
    scratch = target.with_name(f".{target.name}.new")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    for trial in trials:
        job.write_trial(scratch, trial)
    _write(scratch / "config.json", job.config(trials))
    _write(scratch / "lock.json", job.lock(trials))
    _write(scratch / "result.json", job.result(trials))
    scratch.rename(target)
    return len(trials)


@dataclass(frozen=True)
class _Job:
    paths: RunPaths
    archive: Archive
    experiment: Experiment
    tasks: Mapping[str, Task]
    target: Path

    @property
    def id(self) -> str:
        return str(uuid.uuid5(SPACE, self.archive.run))

    @property
    def model(self) -> str:
        return self.experiment.models["main"].name

    def name(self, trial: Trial) -> str:
        """<task[:32]>__<7>, as Harbor names trials."""
        return f"{trial.spec.task[:32]}__{sha256(f'{self.archive.run}/{trial.spec.key}'.encode())[:7]}"

    def agent(self, candidate: str) -> Json:
        return {"name": f"selfharness-{candidate}", "model_name": self.model}

    def task(self, trial: Trial) -> Json:
        return {"path": f"{self.tasks[trial.spec.task].kind}/{trial.spec.task}", "source": self.experiment.suite.name}

    def trial_config(self, trial: Trial) -> Json:
        return {"task": self.task(trial), "trial_name": self.name(trial), "trials_dir": self.target.name,
                "agent": self.agent(trial.spec.candidate), "environment": {"type": "docker"}, "job_id": self.id}  # fmt: skip

    def trial_lock(self, trial: Trial) -> Json:
        task = self.tasks[trial.spec.task]
        return {
            "schema_version": 2,
            "task": {"name": task.id, "type": "local", "digest": f"sha256:{task.digest}",
                     "source": self.experiment.suite.name, "path": self.task(trial)["path"]},
            "agent": self.agent(trial.spec.candidate), "environment": {"type": "docker"},
            "verifier": {"environment_mode": _mode(task)},
        }  # fmt: skip

    def trial_result(self, trial: Trial) -> Json:
        task, name = self.tasks[trial.spec.task], self.name(trial)
        version = _digest_of(self.archive.candidates.get(trial.spec.candidate))
        provider, _, model = self.model.partition("/")
        ended = _when(trial.started + trial.wall_s)
        problem = EXCEPTIONS.get(trial.outcome)
        return {
            "id": str(uuid.uuid5(SPACE, f"{self.archive.run}/{trial.spec.key}")), "task_name": trial.spec.task, "trial_name": name,
            "trial_uri": f"file:{self.target.name}/{name}", "task_id": {"path": self.task(trial)["path"]},
            "source": self.experiment.suite.name, "task_checksum": task.digest, "config": self.trial_config(trial),
            "agent_info": {"name": f"selfharness-{trial.spec.candidate}", "version": version,
                           "model_info": {"name": model, "provider": provider}},
            "agent_result": _agent_result(trial), "verifier_result": _rewards(trial),
            "verifier_environment_mode": _mode(task),
            "exception_info": None if problem is None else {
                "exception_type": problem, "exception_message": trial.detail, "exception_traceback": "", "occurred_at": ended},
            "started_at": _when(trial.started), "finished_at": ended,
        }  # fmt: skip

    def write_trial(self, folder: Path, trial: Trial) -> None:
        home, source = folder / self.name(trial), self.paths.trial(trial.spec.key)
        _write(home / "config.json", self.trial_config(trial))
        _write(home / "lock.json", self.trial_lock(trial))
        _write(home / "result.json", self.trial_result(trial))
        for found in sorted(source.rglob("trajectory.json")):
            step = found.parent.relative_to(source)
            (home / step / "agent").mkdir(parents=True, exist_ok=True)
            shutil.copyfile(found, home / step / "agent" / "trajectory.json")
        (home / "verifier").mkdir(exist_ok=True)
        if trial.score is not None:
            (home / "verifier" / "reward.txt").write_text(f"{trial.score:g}\n")
        if (said := _verifier_log(source / "verifier.json")) is not None:
            (home / "verifier" / "test-stdout.txt").write_text(said, "utf-8")
        listed = [
            {"source": artifact.path, "destination": "", "type": "file", "status": "skipped"}
            for artifact in trial.artifacts
        ]
        _write(home / "artifacts" / "manifest.json", listed)

    def config(self, trials: Sequence[Trial]) -> Json:
        candidates = list(dict.fromkeys(trial.spec.candidate for trial in trials))
        attempts = max(len(attempts) for attempts in _by_unit(trials).values())
        return {
            "job_name": self.target.name, "jobs_dir": "jobs", "n_attempts": attempts, "quiet": True,
            "n_concurrent_trials": self.experiment.sandbox.concurrency, "environment": {"type": "docker"},
            "agents": [self.agent(candidate) for candidate in candidates],
            "tasks": [self.task(trial) for trial in {trial.spec.task: trial for trial in trials}.values()],
        }  # fmt: skip

    def lock(self, trials: Sequence[Trial]) -> Json:
        return {"schema_version": 3, "created_at": _when(min(trial.started for trial in trials)), "harbor": {},
                "n_concurrent_trials": self.experiment.sandbox.concurrency, "retry": {"max_retries": 2},
                "trials": [self.trial_lock(trial) for trial in trials]}  # fmt: skip

    def result(self, trials: Sequence[Trial]) -> Json:
        started, ended = min(t.started for t in trials), max(t.started + t.wall_s for t in trials)
        by_candidate: defaultdict[str, list[Trial]] = defaultdict(list)
        for trial in trials:
            by_candidate[trial.spec.candidate].append(trial)
        costs = [trial.usage.usd for trial in trials]
        stats = {
            "n_completed_trials": len(trials), "n_errored_trials": sum(t.outcome != "scored" for t in trials),
            "n_cancelled_trials": sum(t.outcome == "cancelled" for t in trials), "n_retries": sum(t.tries - 1 for t in trials),
            "evals": {f"selfharness-{name}__{self.model.partition('/')[2]}__{self.experiment.suite.name}": self.stats(own)
                      for name, own in by_candidate.items()},
            "n_input_tokens": sum(t.usage.tokens_in for t in trials), "n_cache_tokens": sum(t.usage.tokens_cached for t in trials),
            "n_output_tokens": sum(t.usage.tokens_out for t in trials),
            "cost_usd": None if any(cost is None for cost in costs) else math.fsum(cost or 0.0 for cost in costs),
        }  # fmt: skip
        return {"id": self.id, "started_at": _when(started), "updated_at": _when(ended), "finished_at": _when(ended),
                "n_total_trials": len(trials), "stats": stats}  # fmt: skip

    def stats(self, trials: Sequence[Trial]) -> Json:
        """One agent on the suite. `mean` is Harbor's: what has no reward counts 0."""
        scores = [trial.score for trial in trials if trial.score is not None]
        rewards: defaultdict[str, list[str]] = defaultdict(list)
        exceptions: defaultdict[str, list[str]] = defaultdict(list)
        for trial in trials:
            if trial.score is not None:
                rewards[f"{trial.score:g}"].append(self.name(trial))
            if trial.outcome in EXCEPTIONS:
                exceptions[EXCEPTIONS[trial.outcome]].append(self.name(trial))
        metrics = {"mean": math.fsum(scores) / len(trials), "coverage": len(scores) / len(trials),
                   "mean_of_scored": math.fsum(scores) / len(scores) if scores else None}  # fmt: skip
        return {"n_trials": len(scores), "n_errors": sum(map(len, exceptions.values())), "metrics": [metrics],
                "pass_at_k": _pass_at(trials), "reward_stats": {"reward": rewards} if rewards else {},
                "exception_stats": exceptions}  # fmt: skip


def _pass_at(trials: Sequence[Trial]) -> dict[str, float]:
    """pass@k for the numbers of attempts that every unit has."""
    counts = [[trial.passed for trial in own if trial.counts] for own in _by_unit(trials).values()]
    most = min((len(each) for each in counts), default=0)
    ks = [k for k in range(1, most + 1) if k == 1 or k % 5 == 0 or k & (k - 1) == 0]
    return {str(k): math.fsum(pass_at_k(len(each), sum(each), k) for each in counts) / len(counts) for k in ks}


def _by_unit(trials: Iterable[Trial]) -> dict[tuple[str, str, int], list[Trial]]:
    found: defaultdict[tuple[str, str, int], list[Trial]] = defaultdict(list)
    for trial in trials:
        found[trial.spec.candidate, trial.spec.task, trial.spec.seed].append(trial)
    return found


def _agent_result(trial: Trial) -> Json:
    usage = trial.usage
    return {"n_input_tokens": usage.tokens_in, "n_cache_tokens": usage.tokens_cached, "n_output_tokens": usage.tokens_out,
            "cost_usd": usage.usd, "metadata": {"outcome": trial.outcome, "seed": trial.spec.seed, "attempt": trial.spec.attempt,
            "split": trial.spec.split, "flags": list(trial.flags), "steps": trial.steps, "origin": trial.origin,
            "isolation": trial.isolation, "checks": {check.name: check.passed for check in trial.checks}}}  # fmt: skip


def _rewards(trial: Trial) -> Json | None:
    return None if trial.score is None else {"rewards": {"reward": trial.score}}


def _mode(task: Task) -> str | None:
    """None for a task of several steps, as Harbor has it."""
    if task.foreign is None:
        return "separate"
    if len(task.foreign.steps) > 1:
        return None
    return "shared" if task.foreign.steps[0].verifier_place is None else "separate"


def _verifier_log(file: Path) -> str | None:
    """What the verifier printed, of all steps."""
    try:
        said = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return "\n".join(str(step.get("log", "")) for step in said.get("steps", [said]))


def _digest_of(candidate: Candidate | None) -> str:
    return candidate.digest[:12] if candidate is not None else "unknown"


def _when(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat()


def _write(path: Path, data: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data, indent=1, sort_keys=True, allow_nan=False), "utf-8")
