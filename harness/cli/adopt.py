"""harness adopt: make an agent that exists already a scaffold, run one task with it, and say what may be edited."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from harness.adopt import KINDS, Adopted, adopt
from harness.cli.reading import as_json, print_json
from harness.config import runs_folder, to_experiment
from harness.errors import ThresholdError, UsageError
from harness.measure import evaluate
from harness.records import Trial
from harness.runs import write_atomic

TRIED = "smoke"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dir", type=Path, metavar="DIR", help="the folder of the agent")
    parser.add_argument("--kind", choices=KINDS, help="what it is; without it, found out")
    parser.add_argument("--runtime", default="", help="a folder with its program, or a lock in DIR")
    parser.add_argument("--entry", default="", help="its command, where it is not the usual one")
    parser.add_argument("-m", "--model", default="simulated/medium", help="for the one task that is tried")
    parser.add_argument("--set", action="append", default=[], metavar="a.b=c", help="any key of an experiment")
    parser.add_argument("--no-try", action="store_true", help="write the manifest only")
    as_json(parser)


def run(arguments: argparse.Namespace) -> int:
    found = adopt(arguments.dir, arguments.kind, runtime=arguments.runtime, entry=arguments.entry)
    experiment = _experiment(arguments)
    trial = None if arguments.no_try else _try(arguments)
    if arguments.json:
        print_json({"kind": found.kind, "editable": found.editable, "locked": found.locked, "written": found.written,
                    "experiment": str(experiment), "trial": trial.model_dump(mode="json") if trial else None})  # fmt: skip
    else:
        _print(arguments.dir, found, experiment, trial)
    if trial is not None and trial.usage.calls == 0:
        raise ThresholdError(f"{arguments.dir}: it asked for no completion: {trial.detail or trial.outcome}\n"
                             "see entry and runtime in its scaffold.toml")  # fmt: skip
    return 0


def _experiment(arguments: argparse.Namespace) -> Path:
    """A working experiment for the agent, in the runs folder; one that is there is left alone."""
    folder = arguments.dir.resolve()
    target = runs_folder() / f"{folder.name}.toml"
    text = (f'name = "{folder.name}"\n\n[scaffold]\nstart = {json.dumps(str(folder))}\n\n[models.main]\nname = "{arguments.model}"\n\n'
            '[suite]\nname = "demo"\nseeds = 2\n\n[budget]\nrounds = 8\ntrials = 600\n')  # fmt: skip
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(target, text.encode())
    return target


def _try(arguments: argparse.Namespace) -> Trial:
    data = {"name": "adopt", "models": {"main": {"name": arguments.model}}, "budget": {"trials": 1},
            "suite": {"name": TRIED, "seeds": 1}, "limits": {"time_limit": 120}}  # fmt: skip
    experiment = to_experiment(data, "harness adopt", arguments.set)
    print("trying one task ...", file=sys.stderr)
    done = evaluate(str(arguments.dir), TRIED, experiment, at_most=1)
    if not done.trials:
        raise UsageError(f"suite {TRIED}: no task in it")
    return done.trials[0]


def _print(folder: Path, found: Adopted, experiment: Path, trial: Trial | None) -> None:
    print(
        f"{folder}: {found.kind}, placement {found.scaffold.placement}"
        + (f"; wrote {', '.join(found.written)}" if found.written else "")
    )
    print(f"editable  {', '.join(found.editable) or 'nothing'}")
    print(f"locked    {', '.join(found.locked) or 'nothing'}")
    if trial is not None:
        print(f"tried     {trial.spec.task}: {trial.outcome}, score {trial.score}, {trial.usage.calls} completions, "
              f"{trial.wall_s:.1f} s, isolation grade {trial.isolation}" + (f"; {trial.detail}" if trial.detail else ""))  # fmt: skip
    print(f"\nnext      harness run {experiment}")
