"""harness claim: open the sealed split once, best against seed, fresh trials."""

from __future__ import annotations

import argparse
import sys

from harness.cli.interrupt import interruptible
from harness.cli.reading import as_json, open_loop, print_json
from harness.errors import UsageError
from harness.journal import Journal
from harness.render import claim_text


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", help='a run, or "last"')
    parser.add_argument(
        "--again", action="store_true", help="open a seal that was opened before; it is counted and shown"
    )
    as_json(parser)


def run(arguments: argparse.Namespace) -> int:
    from harness.locks import locked_experiment
    from harness.wiring import claim_run

    paths, archive = open_loop(arguments.run)
    if archive.claims and not arguments.again:
        print(f"{paths.name}: the seal was opened {archive.seals} time(s); this is what was claimed (--again opens it again)",
              file=sys.stderr)  # fmt: skip
    else:
        if not archive.candidates:
            raise UsageError(f"{paths.name}: no candidate yet; nothing to claim")
        with Journal(paths.journal, paths.writer_lock) as journal:
            archive = interruptible(
                claim_run(locked_experiment(paths), paths, journal, archive), f"go on with: harness claim {paths.name}"
            )
    claim = archive.claims[-1]
    if arguments.json:
        return print_json(claim.model_dump(mode="json"))
    print(claim_text(claim))
    return 0
