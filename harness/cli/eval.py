"""harness eval: score one scaffold on one suite; thresholds make it a test for CI."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from harness.baselines import Baseline, Comparison, compare, read_baseline, refuse_stale, write_baseline
from harness.cli.eval_report import comparison_line, json_of, markdown, text_of
from harness.cli.interrupt import interruptible
from harness.cli.reading import as_json, print_json
from harness.config import runs_folder, to_experiment
from harness.display import EvalProgress
from harness.errors import InfraError, ThresholdError, UsageError
from harness.evaluation import COVERED, RERUNS, EvalPlan, Evaluation, evaluation_of, plan_of, specs_of
from harness.identity import baseline_of
from harness.junit import junit_xml
from harness.measure import measure
from harness.render import score
from harness.runs import find_run, write_atomic
from harness.suites import load_suite
from harness.wiring import trial_store

CAPS = ("usd", "tokens", "trials", "hours")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("scaffold", help="a folder, or a shipped scaffold (plain)")
    parser.add_argument("suite", help="a suite file, a folder of Harbor tasks, or a shipped suite (smoke, demo)")
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
    parser.add_argument("--baseline", metavar="FILE|RUN", help="exit 4 when it is worse than this beyond noise: a kept "
                        "baseline, the folder of an evaluation, or a run (its best)")  # fmt: skip
    parser.add_argument("--update-baseline", type=Path, metavar="FILE", help="keep this evaluation as a baseline")
    parser.add_argument("--min-score", type=float, help="exit 4 below it")
    parser.add_argument(
        "--budget", type=_budget, default={}, metavar="CAP=N,...", help=f"at most so much: {', '.join(CAPS)}"
    )
    parser.add_argument("--set", action="append", default=[], metavar="a.b=c", help="any key of an experiment")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="keep journal and trajectories in this folder, and go on with what is there",
    )
    parser.add_argument("--junit", type=Path, metavar="FILE", help="write a JUnit file: one case per unit")
    parser.add_argument(
        "--summary", type=Path, metavar="FILE", help="append a page in Markdown, for a CI's step summary"
    )
    parser.add_argument("--fresh", action="store_true", help="measure all, take nothing out of the trial cache")
    as_json(parser)


def run(arguments: argparse.Namespace) -> int:
    base = _baseline(arguments.baseline, arguments.attempts) if arguments.baseline else None
    found = _merged(arguments) if arguments.merge else _measured(arguments, base)
    if arguments.junit:
        write_atomic(arguments.junit, junit_xml(found).encode())
    compared = None
    if base is not None and found.coverage >= COVERED:
        compared = compare(found.plan.identity, found.deciding, base, found.plan.families)
    if arguments.json:
        print_json(json_of(found, compared))
    else:
        print(text_of(found, compared))
    problem = _problem(arguments, found, compared)
    if arguments.summary:
        with arguments.summary.open("a", encoding="utf-8") as page:
            page.write(markdown(found, compared, str(problem) if problem else ""))
    if arguments.update_baseline:
        _keep(arguments, found, problem)
    if problem is not None:
        raise problem
    return 0


def _baseline(name: str, attempts: int) -> Baseline:
    """A kept baseline by its file, or what was measured in a run or an evaluation. Raises UsageError."""
    if Path(name).is_file():
        return read_baseline(Path(name))
    try:
        paths = find_run(runs_folder(), name)
    except UsageError:
        raise UsageError(f"--baseline {name}: no file, no evaluation's folder and no run of that name\n"
                         f"make one with --update-baseline {name}") from None  # fmt: skip
    return baseline_of(paths, attempts)


def _keep(arguments: argparse.Namespace, found: Evaluation, problem: Exception | None) -> None:
    """Keep a baseline, unless what was measured is less than whole, or worse than the one that it was compared with."""
    if found.coverage < COVERED:
        print(f"{arguments.update_baseline}: not kept: coverage {found.coverage:.0%}", file=sys.stderr)
    elif problem is not None and arguments.baseline:
        print(f"{arguments.update_baseline}: not kept: this evaluation failed; without --baseline it is kept as it is", file=sys.stderr)  # fmt: skip
    else:
        write_baseline(arguments.update_baseline, found.plan.identity, found.trials, found.reruns)


def _measured(arguments: argparse.Namespace, base: Baseline | None) -> Evaluation:
    data: dict[str, Any] = {
        "name": "eval", "seed": arguments.seed, "models": {"main": {"name": arguments.model}}, "budget": arguments.budget or {"trials": 10**6},
        "suite": {"name": arguments.suite, "seeds": arguments.seeds}, "sandbox": {"concurrency": arguments.concurrency},
    }  # fmt: skip
    if arguments.api_base:
        data["models"]["main"]["api_base"] = arguments.api_base
    experiment = to_experiment(data, "harness eval", arguments.set)
    progress = EvalProgress()

    def stale(plan: EvalPlan) -> None:
        if base is not None:
            refuse_stale(plan.identity, base)

    try:
        return interruptible(
            measure(arguments.scaffold, arguments.suite, experiment, splits=tuple(arguments.split or ("train",)),
                    attempts=arguments.attempts, folder=arguments.out, shard=arguments.shard, fresh=arguments.fresh,
                    listeners=[progress], on_plan=stale),
            _hint(arguments),
        )  # fmt: skip
    finally:
        progress.close()


def _hint(arguments: argparse.Namespace) -> str:
    """What the same command does after an interruption, or on a machine that was mended."""
    if arguments.out:
        return f"what is finished is in {arguments.out}: the same command goes on there"
    if trial_store() is not None and not arguments.fresh:
        return "what is finished is in the trial cache: the same command takes it from there"
    return "nothing is kept; --out DIR keeps what is finished"


def _shard(text: str) -> tuple[int, int]:
    part, _, parts = text.partition("/")
    if not (part.isdigit() and parts.isdigit() and 1 <= int(part) <= int(parts)):
        raise argparse.ArgumentTypeError("a shard is I/N, as 2/4")
    return int(part), int(parts)


def _budget(text: str) -> dict[str, float]:
    """As usd=2.5,hours=1."""
    caps: dict[str, float] = {}
    for pair in text.split(","):
        name, _, number = pair.partition("=")
        try:
            caps[name.strip()] = int(number) if name.strip() in ("tokens", "trials") else float(number)
        except ValueError:
            raise argparse.ArgumentTypeError(f'"{pair}": a budget is CAP=N, as usd=2.5,hours=1') from None
        if name.strip() not in CAPS:
            raise argparse.ArgumentTypeError(f'"{name}": there are {", ".join(CAPS)}')
    return caps


def _merged(arguments: argparse.Namespace) -> Evaluation:
    """The evaluation that the shards make together. Raises UsageError when they were measured on different things."""
    parts = [read_baseline(path) for path in arguments.merge]
    if any(part.identity != parts[0].identity for part in parts):
        raise UsageError("--merge: the files were measured on different things\nmerge shards of one evaluation")
    suite, tasks = load_suite(arguments.suite)
    identity = parts[0].identity
    if identity.get("suite") != suite.digest:
        raise UsageError(f"--merge: {arguments.suite} is not the suite that the files were measured on")
    specs = specs_of(suite, int(identity["seeds"]), identity["splits"], int(identity["attempts"]))
    plan = plan_of(arguments.scaffold, suite, tasks, specs, identity, name=arguments.suite)
    return evaluation_of(plan, [trial for part in parts for trial in (*part.trials, *part.reruns)])


def _problem(
    arguments: argparse.Namespace, found: Evaluation, compared: Comparison | None
) -> InfraError | ThresholdError | None:
    """Why this is no success; what cannot be concluded comes first."""
    if found.stopped:
        return InfraError(
            f"{found.stopped}\nit stopped early, coverage {found.coverage:.0%}; mend it: {_hint(arguments)}"
        )
    if found.coverage < COVERED:
        covered = (
            f"only {found.coverage:.0%} of {found.plan.planned} trials have a score; below 95 % nothing is concluded"
        )
        if found.unfinished > 0 and not arguments.merge and not any(t.outcome == "infra_error" for t in found.trials):
            asked = arguments.min_score is not None or arguments.baseline is not None
            return ThresholdError(f"the budget ended before the evaluation did: {covered}") if asked else None
        return InfraError(covered)
    if red := sorted(str(unit) for unit, passed in found.rerun.items() if not passed):
        return ThresholdError(f"must_pass: {', '.join(red)} failed, and all {RERUNS} fresh re-runs too")
    if arguments.min_score is not None and (found.score or 0.0) < arguments.min_score:
        return ThresholdError(f"score {score(found.score)} is below --min-score {arguments.min_score:g}")
    if compared is not None and compared.worse:
        return ThresholdError(f"worse than {arguments.baseline} beyond noise: {comparison_line(compared)}")
    return None
