"""harness eval: score one scaffold on one suite; a threshold makes it a test for CI."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from harness.cli.reading import as_json, print_json
from harness.config import to_experiment
from harness.errors import InfraError, ThresholdError
from harness.evaluation import Evaluation, evaluate
from harness.junit import junit_xml
from harness.records import Trial
from harness.render import by_task, failed_checks, score, table
from harness.runs import write_atomic


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("scaffold", help="a folder, or a shipped scaffold (plain)")
    parser.add_argument("suite", help="a suite file, or a shipped suite (smoke, demo)")
    parser.add_argument("-m", "--model", default="simulated/medium")
    parser.add_argument("--api-base", help="for a compatible server")
    parser.add_argument("-n", "--concurrency", type=int, default=2)
    parser.add_argument("-k", "--attempts", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=3, help="instances per task")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--split", action="append", choices=("train", "val"), help="repeatable; train without any")
    parser.add_argument("--min-score", type=float, help="exit 4 below it")
    parser.add_argument("--set", action="append", default=[], metavar="a.b=c", help="any key of an experiment")
    parser.add_argument("--out", type=Path, help="keep trajectories in this folder")
    parser.add_argument("--junit", type=Path, metavar="FILE", help="write a JUnit file: one case per unit")
    as_json(parser)


def run(arguments: argparse.Namespace) -> int:
    data = {
        "name": "eval", "seed": arguments.seed, "models": {"main": {"name": arguments.model}}, "budget": {"trials": 10**6},
        "suite": {"name": arguments.suite, "seeds": arguments.seeds}, "sandbox": {"concurrency": arguments.concurrency},
    }  # fmt: skip
    if arguments.api_base:
        data["models"]["main"]["api_base"] = arguments.api_base
    experiment = to_experiment(data, "harness eval", arguments.set)
    found = evaluate(arguments.scaffold, arguments.suite, experiment, splits=tuple(arguments.split or ("train",)),
                                 attempts=arguments.attempts, folder=arguments.out, on_trial=_progress)  # fmt: skip
    if arguments.junit:
        write_atomic(arguments.junit, junit_xml(found).encode())
    if arguments.json:
        print_json(_as_json(found))
    else:
        _print(found)
    return _threshold(found, arguments.min_score)


def _threshold(found: Evaluation, minimum: float | None) -> int:
    if found.coverage < 0.95:
        raise InfraError(
            f"only {found.coverage:.0%} of {found.planned} trials have a score; below 95 % nothing is concluded"
        )
    if minimum is not None and (found.score or 0.0) < minimum:
        raise ThresholdError(f"score {score(found.score)} is below --min-score {minimum:g}")
    return 0


def _progress(trial: Trial) -> None:
    if sys.stderr.isatty():
        print(
            f"\r\x1b[K{trial.spec.task} {trial.spec.seed}-{trial.spec.attempt} {score(trial.score)}",
            end="",
            file=sys.stderr,
        )


def _print(found: Evaluation) -> None:
    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr)
    rows = [[task, f"{sum(t.passed for t in trials)}/{len(trials)}",
             score(sum(t.score or 0.0 for t in trials) / len(trials)), failed_checks([t for t in trials if not t.passed])]
            for task, trials in by_task(found.trials).items()]  # fmt: skip
    print(table(rows, ("task", "passed", "score", "failed checks")))
    low_high = found.interval
    interval = f" [{score(low_high[0])}, {score(low_high[1])}] (95 %, clustered by task)" if low_high else ""
    origins = {t.origin for t in found.trials}
    print(f"\n{found.scaffold} on {found.suite}: {score(found.score)}{interval}; coverage {found.coverage:.0%}, "
          f"{len(found.trials)} trials, {', '.join(sorted(origins))}")  # fmt: skip


def _as_json(found: Evaluation) -> dict[str, object]:
    return {"scaffold": found.scaffold, "suite": found.suite, "score": found.score, "interval": found.interval,
            "coverage": found.coverage, "planned": found.planned,
            "trials": [t.model_dump(mode="json") for t in found.trials]}  # fmt: skip
