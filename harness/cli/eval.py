"""harness eval: score one scaffold on one suite; a threshold makes it a test for CI."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from pathlib import Path

from harness.baselines import Comparison, compare, read_baseline, write_baseline
from harness.cli.reading import as_json, print_json
from harness.config import to_experiment
from harness.errors import InfraError, ThresholdError, UsageError
from harness.evaluation import Evaluation, evaluate, plan
from harness.junit import junit_xml
from harness.records import Trial
from harness.render import by_task, failed_checks, score, table
from harness.runs import write_atomic
from harness.suites import load_suite


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
    parser.add_argument("--shard", type=_shard, default=(1, 1), metavar="I/N", help="measure the I-th of N parts")
    parser.add_argument(
        "--merge", type=Path, nargs="+", metavar="FILE", help="put the --update-baseline files of all shards together"
    )
    parser.add_argument("--baseline", type=Path, metavar="FILE", help="exit 4 when it is worse than this beyond noise")
    parser.add_argument("--update-baseline", type=Path, metavar="FILE", help="keep this evaluation as a baseline")
    parser.add_argument("--min-score", type=float, help="exit 4 below it")
    parser.add_argument("--set", action="append", default=[], metavar="a.b=c", help="any key of an experiment")
    parser.add_argument("--out", type=Path, help="keep trajectories in this folder")
    parser.add_argument("--junit", type=Path, metavar="FILE", help="write a JUnit file: one case per unit")
    parser.add_argument("--fresh", action="store_true", help="measure all, take nothing out of the trial cache")
    as_json(parser)


def run(arguments: argparse.Namespace) -> int:
    data = {
        "name": "eval", "seed": arguments.seed, "models": {"main": {"name": arguments.model}}, "budget": {"trials": 10**6},
        "suite": {"name": arguments.suite, "seeds": arguments.seeds}, "sandbox": {"concurrency": arguments.concurrency},
    }  # fmt: skip
    if arguments.api_base:
        data["models"]["main"]["api_base"] = arguments.api_base
    experiment = to_experiment(data, "harness eval", arguments.set)
    base = read_baseline(arguments.baseline) if arguments.baseline else None
    found = _merged(arguments) if arguments.merge else evaluate(arguments.scaffold, arguments.suite, experiment, splits=tuple(arguments.split or ("train",)),
                                 attempts=arguments.attempts, folder=arguments.out, shard=arguments.shard, fresh=arguments.fresh, on_trial=_progress)  # fmt: skip
    if arguments.junit:
        write_atomic(arguments.junit, junit_xml(found).encode())
    compared = compare(found.identity, found.trials, base, found.families) if base is not None else None
    if arguments.json:
        print_json(_as_json(found, compared))
    else:
        _print(found)
        if compared is not None:
            print(_comparison(compared))
    code = _threshold(found, arguments.min_score)
    if arguments.update_baseline:
        write_baseline(arguments.update_baseline, found.identity, found.trials)
    if compared is not None and compared.worse:
        raise ThresholdError(f"worse than {arguments.baseline} beyond noise: {_comparison(compared)}")
    return code


def _shard(text: str) -> tuple[int, int]:
    part, _, parts = text.partition("/")
    if not (part.isdigit() and parts.isdigit() and 1 <= int(part) <= int(parts)):
        raise argparse.ArgumentTypeError("a shard is I/N, as 2/4")
    return int(part), int(parts)


def _merged(arguments: argparse.Namespace) -> Evaluation:
    """The evaluation that the shards make together. Raises UsageError when they were measured on different things."""
    parts = [read_baseline(path) for path in arguments.merge]
    trials = {trial.spec.key: trial for part in parts for trial in part.trials}
    if any(part.identity != parts[0].identity for part in parts):
        raise UsageError("--merge: the files were measured on different things\nmerge shards of one evaluation")
    suite, tasks = load_suite(arguments.suite)
    identity = parts[0].identity
    if identity.get("suite") != suite.digest:
        raise UsageError(f"--merge: {arguments.suite} is not the suite that the files were measured on")
    planned = len(plan(suite, int(identity["seeds"]), identity["splits"], int(identity["attempts"])))
    ordered = tuple(sorted(trials.values(), key=lambda t: (t.spec.task, t.spec.seed, t.spec.attempt)))
    return Evaluation(
        arguments.scaffold, arguments.suite, planned, ordered, {n: t.family for n, t in tasks.items()}, identity
    )


def _comparison(found: Comparison) -> str:
    if found.interval is None:
        return f"{found.difference:+.2f} against the baseline on {found.units} units of one family: no interval, so no verdict"
    low, high = found.interval
    return (f"{found.difference:+.2f} [{low:+.2f}, {high:+.2f}] against the baseline ({score(found.before)} -> {score(found.now)}, "
            f"{found.units} pairs); a drop of {found.detectable or 0.0:.2f} would have been detected with 80 % power")  # fmt: skip


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
    attempts = max((t.spec.attempt for t in found.trials), default=0) + 1
    if attempts > 1 and (passes := found.passes(attempts)) is not None:
        print(f"\npass@{attempts} {score(passes[0])}, pass^{attempts} {score(passes[1])}")
    cached = sum(t.cached for t in found.trials)
    print(f"\n{found.scaffold} on {found.suite}: {score(found.score)}{interval}; coverage {found.coverage:.0%}, "
          f"{len(found.trials)} trials{f' ({cached} cached)' if cached else ''}, {', '.join(sorted(origins))}")  # fmt: skip


def _as_json(found: Evaluation, compared: Comparison | None) -> dict[str, object]:
    against = {**asdict(compared), "worse": compared.worse} if compared is not None else None
    return {"baseline": against, "scaffold": found.scaffold, "suite": found.suite, "score": found.score, "interval": found.interval,
            "coverage": found.coverage, "planned": found.planned,
            "cached": sum(t.cached for t in found.trials),
            "trials": [t.model_dump(mode="json") for t in found.trials]}  # fmt: skip
