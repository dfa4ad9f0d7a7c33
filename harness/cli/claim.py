"""harness claim: open the sealed split once, best against seed, fresh trials."""

from __future__ import annotations

import argparse
import sys

from harness.cli.interrupt import interruptible
from harness.cli.reading import as_json, open_loop, print_json
from harness.config import changed_keys, to_experiment
from harness.errors import ThresholdError, UsageError
from harness.journal import Journal
from harness.locks import locked_experiment
from harness.paths import RunPaths
from harness.records import Experiment
from harness.render import claim_text


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", help='a run, or "last"')
    parser.add_argument(
        "--again", action="store_true", help="open a seal that was opened before; it is counted and shown"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="a.b=c", help="a budget that is raised, as budget.usd=9"
    )
    as_json(parser)


def run(arguments: argparse.Namespace) -> int:
    from harness.wiring import claim_run

    paths, archive = open_loop(arguments.run)
    if archive.claims and not arguments.again:
        print(f"{paths.name}: the seal was opened {archive.seals} time(s); this is what was claimed (--again opens it again)",
              file=sys.stderr)  # fmt: skip
    else:
        if not archive.candidates:
            raise UsageError(f"{paths.name}: no candidate yet; nothing to claim")
        experiment, before = _experiment(paths, arguments.set), len(archive.claims)
        with Journal(paths.journal, paths.writer_lock) as journal:
            archive = interruptible(
                claim_run(experiment, paths, journal, archive), f"go on with: harness claim {paths.name}"
            )
        if len(archive.claims) == before:
            raise ThresholdError(f"{paths.name}: the budget ended before the claim did; what is measured is kept and nothing is claimed\n"
                                 f"go on with more: harness claim {paths.name} --set budget.usd=N")  # fmt: skip
    claim = archive.claims[-1]
    if arguments.json:
        return print_json(claim.model_dump(mode="json"))
    print(claim_text(claim))
    return 0


def _experiment(paths: RunPaths, overrides: list[str]) -> Experiment:
    """As the run has it, with what a claim may change. Raises UsageError for a key that decides scores."""
    locked = locked_experiment(paths)
    asked = to_experiment(locked.model_dump(mode="json", exclude_none=True), paths.lock.name, overrides)
    if changed := changed_keys(locked, asked):
        raise UsageError(
            f"harness claim {paths.name}: {', '.join(changed)} cannot change; a claim is on what the run was"
        )
    return asked
