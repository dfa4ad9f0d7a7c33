"""harness run: the loop."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys

from harness.archive import Archive
from harness.cli.interrupt import interruptible
from harness.cli.reading import open_loop
from harness.config import changed_keys, load_experiment, runs_folder, to_experiment
from harness.errors import ThresholdError, UsageError
from harness.journal import Journal
from harness.paths import RunPaths
from harness.records import Experiment, Suite
from harness.render import summary
from harness.runs import new_run, write_atomic
from harness.suites import load_suite


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("experiment", nargs="?", help="an experiment file, or a shipped name (demo)")
    parser.add_argument("-m", "--model", help="models.main.name, as litellm names it, or simulated/...")
    parser.add_argument("--api-base", help="models.main.api_base, for a compatible server")
    parser.add_argument("-n", "--concurrency", type=int, help="sandbox.concurrency: trials at once")
    parser.add_argument("--rounds", type=int, help="budget.rounds")
    parser.add_argument("--seed", type=int, help="the run's seed")
    parser.add_argument(
        "--set", action="append", default=[], metavar="a.b=c", help="any key of the experiment; repeatable"
    )
    parser.add_argument("--resume", metavar="RUN", help='go on with a run: folder, name, part of a name, or "last"')
    parser.add_argument("--replay", metavar="RUN", help="do a run again, its models answered from its recorded calls: no key, "
                        "no network; says where it diverges, exit 4 then")  # fmt: skip
    parser.add_argument("--dry-run", action="store_true", help="check everything, run nothing")
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress lines")


def run(arguments: argparse.Namespace) -> int:
    if arguments.replay:
        return _replay(arguments)
    if arguments.resume:
        return _resume(arguments)
    if not arguments.experiment:
        raise UsageError("harness run EXPERIMENT, or harness run --resume RUN\nharness run demo needs no key")
    experiment, given = load_experiment(arguments.experiment, overrides(arguments), arguments.model)
    suite, _ = load_suite(experiment.suite.name)
    _opening(arguments, experiment, suite)
    if arguments.dry_run:
        from harness.wiring import preflight

        print("\n".join(asyncio.run(preflight(experiment))))
        return 0
    paths = new_run(runs_folder(), experiment.name)
    write_atomic(paths.experiment, given)
    write_atomic(paths.lock, json.dumps({"experiment": experiment.model_dump(mode="json", exclude_none=True)}).encode())
    return _go(arguments, experiment, paths, Archive())


def overrides(arguments: argparse.Namespace) -> list[str]:
    """--set and the options that stand for a key, in one list."""
    shorthand = {
        "sandbox.concurrency": arguments.concurrency,
        "budget.rounds": arguments.rounds,
        "seed": arguments.seed,
    }
    made = [f"{key}={value}" for key, value in shorthand.items() if value is not None]
    if arguments.api_base:
        made.append(f'models.main.api_base="{arguments.api_base}"')
    return [*arguments.set, *made]


def _resume(arguments: argparse.Namespace) -> int:
    from harness.locks import locked_experiment, refuse_changed_inputs

    paths, archive = open_loop(arguments.resume)
    before = locked_experiment(paths)
    if arguments.experiment:
        after, _ = load_experiment(arguments.experiment, overrides(arguments), arguments.model)
    else:
        after = to_experiment(before.model_dump(mode="json", exclude_none=True), paths.lock.name, overrides(arguments),
                              arguments.model)  # fmt: skip
    changed = changed_keys(before, after)
    if changed:
        raise UsageError(f"--resume {paths.name}: config differs in {', '.join(changed)}; results would not be comparable\n"
                         "start a new run, or drop the change")  # fmt: skip
    if archive.ended is not None and paths.best.exists():  # nothing is left to do, so nothing is opened for it
        refuse_changed_inputs(paths, after)
        return _closing(paths, archive)
    suite, _ = load_suite(after.suite.name)
    _opening(arguments, after, suite)
    return _go(arguments, after, paths, archive)


def _replay(arguments: argparse.Namespace) -> int:
    from harness.locks import locked_experiment
    from harness.replays import check_replayable, mark, replayed_experiment

    if arguments.experiment or arguments.resume or arguments.dry_run:
        raise UsageError("--replay RUN takes its experiment from RUN, spends nothing and starts anew: no EXPERIMENT, --resume "
                         "or --dry-run beside it")  # fmt: skip
    source, _ = open_loop(arguments.replay)
    locked = locked_experiment(source)
    check_replayable(source, locked)
    experiment = replayed_experiment(locked, source.lock.name, overrides(arguments), arguments.model)
    suite, _ = load_suite(experiment.suite.name)
    _opening(arguments, experiment, suite)
    paths = new_run(runs_folder(), f"{experiment.name}-replay")
    write_atomic(paths.experiment, source.experiment.read_bytes())
    write_atomic(paths.lock, json.dumps({"experiment": experiment.model_dump(mode="json", exclude_none=True)}).encode())
    mark(paths, source)
    return _go(arguments, experiment, paths, Archive())


def _opening(arguments: argparse.Namespace, experiment: Experiment, suite: Suite) -> None:
    if not arguments.quiet:
        caps = {name: cap for name, cap in experiment.budget.model_dump().items() if cap is not None}
        shown = ", ".join(f"{name} {cap:g}" for name, cap in caps.items())
        print(f"{experiment.name}: {experiment.models['main'].name}, scaffold {experiment.scaffold.start}, suite {suite.name} "
              f"({len(suite.train)} train, {len(suite.val)} val, {len(suite.test)} test tasks x {experiment.suite.seeds} seeds), "
              f"gate {experiment.gate.kind}, at most {shown}", file=sys.stderr, flush=True)  # fmt: skip


def _go(arguments: argparse.Namespace, experiment: Experiment, paths: RunPaths, archive: Archive) -> int:
    with Journal(paths.journal, paths.writer_lock) as journal:
        from harness.wiring import run_experiment

        if not arguments.quiet:
            print(f"run {paths.name}", file=sys.stderr, flush=True)
        done = interruptible(run_experiment(experiment, paths, journal, archive, quiet=arguments.quiet),
                             f"go on with: harness run --resume {paths.name}")  # fmt: skip
    return _closing(paths, done)


def _closing(paths: RunPaths, done: Archive) -> int:
    print(summary(done))
    print(f"\nsee    harness show {paths.name} {done.best}   |   harness diff {paths.name} seed best   |   harness ui")
    if paths.report.exists():
        print(f"read   {os.path.relpath(paths.report)}")
    return _compared(paths, done) if paths.replay.exists() else 0


def _compared(paths: RunPaths, done: Archive) -> int:
    from harness.locks import changed_since
    from harness.replays import report, report_text, source_of

    changed = changed_since(source_of(paths), json.loads(paths.lock.read_text("utf-8")))
    found = report(paths, done, changed)
    print(f"\n{report_text(found)}")
    return 0 if found.same else ThresholdError.exit_code
