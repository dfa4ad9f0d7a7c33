"""lock.json: everything by which a result can be traced, and the refusal to go on with something else."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from harness.errors import UsageError
from harness.paths import RunPaths, resolve
from harness.records import Experiment, Suite, Task
from harness.scaffold import Scaffold, read_scaffold
from harness.suites import load_suite

_PACKAGES = ("selfharness", "litellm", "mlflow", "pydantic", "numpy", "scipy", "pandas")


def make_lock(
    experiment: Experiment,
    suite: Suite,
    tasks: Mapping[str, Task],
    seed: Scaffold,
    sandbox: Mapping[str, str] | None,
) -> dict[str, Any]:
    """Everything by which a result can be traced: resolved config, versions, digests. `sandbox` is left out when nothing is
    to be run any more."""
    return {
        "schema": 1,
        "experiment": experiment.model_dump(mode="json", exclude_none=True),
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in _PACKAGES}},
        "suite": {"name": suite.name, "digest": suite.digest},
        "splits": {"train": suite.train, "val": suite.val, "test": suite.test},
        "tasks": {name: {"digest": task.digest, "agent": task.agent_digest, "grading": task.grading_digest}
                  for name, task in sorted(tasks.items())},
        "scaffold": {"start": experiment.scaffold.start, "digest": seed.digest},
        "models": {alias: choice.name for alias, choice in experiment.models.items()},
        **({} if sandbox is None else {"sandbox": dict(sandbox)}),
    }  # fmt: skip


def comparable(lock: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a lock that decides scores: versions and the experiment's own keys are compared elsewhere."""
    return {key: lock[key] for key in ("suite", "tasks", "scaffold", "sandbox", "models") if key in lock}


def changed_since(paths: RunPaths, lock: Mapping[str, Any]) -> list[str]:
    """Dotted names of what decides scores and is not what that run began with."""
    before = comparable(json.loads(paths.lock.read_text("utf-8")))
    now = comparable(lock)
    return [f"{key}.{name}" for key in now for name in now[key] if before.get(key, {}).get(name) != now[key][name]]


def refuse_changed_lock(paths: RunPaths, lock: Mapping[str, Any]) -> None:
    """Raise UsageError when tasks, suite, scaffold or sandbox are not what the run began with."""
    if changed := changed_since(paths, lock):
        raise UsageError(f"--resume {paths.name}: {', '.join(changed[:4])} changed since the run began; results would not be "
                         "comparable\nrestore them, or start a new run")  # fmt: skip


def refuse_changed_inputs(paths: RunPaths, experiment: Experiment) -> None:
    """As refuse_changed_lock for a run that needs no sandbox any more."""
    suite, tasks = load_suite(experiment.suite.name, live=experiment.sandbox.live)
    seed = read_scaffold(resolve(experiment.scaffold.start, "scaffolds", "", "scaffold"))
    refuse_changed_lock(paths, make_lock(experiment, suite, tasks, seed, None))


def locked_experiment(paths: RunPaths) -> Experiment:
    """The resolved experiment of a run. Raises UsageError when lock.json is missing or damaged."""
    try:
        return Experiment.model_validate(json.loads(paths.lock.read_text("utf-8"))["experiment"])
    except (OSError, ValueError, KeyError) as error:
        raise UsageError(f"{paths.lock}: cannot be read: {str(error).splitlines()[0]}") from None


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"
