"""harness diff: the text difference of two candidates, and their paired score difference with an interval."""

from __future__ import annotations

import argparse

from harness.cli.reading import as_json, open_loop, print_json
from harness.cli.show import known_candidate
from harness.errors import UsageError
from harness.lineage import Lineage
from harness.render import points
from harness.stats import by_family, clustered_interval, paired


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", help='a run, or "last"')
    parser.add_argument("a", help='a candidate, "seed" or "best"')
    parser.add_argument("b", nargs="?", help="another; without it, A against its parent")
    parser.add_argument("--scores", action="store_true", help="only the score difference")
    as_json(parser)


def run(arguments: argparse.Namespace) -> int:
    paths, archive = open_loop(arguments.run)
    new = known_candidate(archive, arguments.b or arguments.a)
    if arguments.b:
        old = known_candidate(archive, arguments.a)
    else:
        parent = archive.candidates[new].parent if new in archive.candidates else None
        if parent is None:
            raise UsageError(f"{new}: has no parent in the lineage; name two candidates")
        old = parent
    for name in (old, new):
        if name not in archive.candidates:
            raise UsageError(
                f"{name}: was refused before it became a candidate; harness show {archive.run} {name} says why"
            )
    text = Lineage(paths.lineage).diff(old, new)
    compared = paired(archive.trials.get(new, ()), archive.trials.get(old, ()))
    interval = clustered_interval(by_family(compared.differences, {}))
    if arguments.json:
        return print_json({"old": old, "new": new, "diff": text, "pairs": compared.pairs, "delta": compared.mean,
                           "interval": interval, "fixed": compared.fixed, "broken": compared.broken,
                           "label": "selected train trials; not a claim"})  # fmt: skip
    if not arguments.scores:
        print(text, end="")
    shown = f"[{points(interval[0])}, {points(interval[1])}]" if interval else "(no interval: fewer than two tasks)"
    print(f"\n{old} -> {new}: {points(compared.mean)} pp {shown} over {compared.pairs} paired train units, 95 %, "
          f"clustered by task; these trials selected, so this is no claim\n"
          f"fixed: {', '.join(compared.fixed) or 'none'}   broken: {', '.join(compared.broken) or 'none'}")  # fmt: skip
    return 0
