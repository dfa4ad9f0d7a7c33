"""What the reading verbs share."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from harness.archive import Archive
from harness.config import parse_experiment, runs_folder
from harness.errors import UsageError
from harness.evalfolder import is_evaluation
from harness.paths import RunPaths
from harness.records import Experiment
from harness.runs import find_run, open_run


def as_json(parser: argparse.ArgumentParser) -> None:
    """Add --json."""
    parser.add_argument("--json", action="store_true", help="machine-readable, on stdout")


def print_json(value: Any) -> int:
    """Print a value as JSON; exit code 0."""
    json.dump(value, sys.stdout, indent=2, ensure_ascii=False)
    sys.stdout.write("\n")
    return 0


def runs_of(arguments: argparse.Namespace) -> Path:
    """runs/ of the current folder."""
    return runs_folder()


def open_named(name: str) -> tuple[RunPaths, Archive]:
    """A run by name, and its archive. Raises UsageError."""
    paths = find_run(runs_folder(), name)
    return paths, open_run(paths)


def open_loop(name: str) -> tuple[RunPaths, Archive]:
    """As open_named, for what an evaluation has not: rounds, candidates, a lineage. Raises UsageError for one."""
    paths, archive = open_named(name)
    refuse_evaluation(paths)
    return paths, archive


def refuse_evaluation(paths: RunPaths) -> None:
    """Raise UsageError for the folder of an evaluation."""
    if is_evaluation(paths):
        raise UsageError(f"{paths.root}: holds an evaluation, not a run\n"
                         "harness show shows it, and the same harness eval ... --out goes on with it")  # fmt: skip


def experiment_of(paths: RunPaths) -> Experiment:
    """The resolved experiment of a run, from its lock. Raises UsageError."""
    lock = json.loads(paths.lock.read_text("utf-8"))
    return Experiment.model_validate(lock["experiment"])


def given_experiment(paths: RunPaths) -> Experiment:
    """The experiment as its file was given."""
    return parse_experiment(paths.experiment.read_bytes(), str(paths.experiment))
