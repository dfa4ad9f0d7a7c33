"""harness export: take a scaffold away, or publish a run to an MLflow server."""

from __future__ import annotations

import argparse
from pathlib import Path

from harness.bridges.harbor import write_agent
from harness.cli.reading import experiment_of, open_named
from harness.cli.show import known_candidate
from harness.errors import UsageError
from harness.lineage import Lineage
from harness.scaffold import to_scaffold
from harness.suites import load_suite


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", help='a run, or "last"')
    parser.add_argument("candidate", nargs="?", help='a candidate, "seed" or "best"')
    parser.add_argument("dir", nargs="?", help="a folder that does not exist yet")
    parser.add_argument("--harbor-agent", metavar="DIR", help="write the candidate as an agent that Harbor runs")
    parser.add_argument(
        "--harbor", type=Path, metavar="DIR", help="write the trials of the run, or of the candidate, as a Harbor job"
    )
    parser.add_argument("--parquet", type=Path, metavar="DIR", help="write the run's tidy frames (docs/frames.md)")
    parser.add_argument("--mlflow", metavar="URI", help="replay the run into this MLflow server or store")


def run(arguments: argparse.Namespace) -> int:
    paths, archive = open_named(arguments.run)
    if arguments.mlflow:
        from harness.trackers.mlflow import publish_run

        experiment = experiment_of(paths)
        suite, _ = load_suite(experiment.suite.name)
        print(publish_run(arguments.mlflow, paths, experiment, suite, archive))
        return 0
    if arguments.harbor:
        from harness.bridges.harbor_job import write_job

        experiment = experiment_of(paths)
        _, tasks = load_suite(experiment.suite.name)
        candidate = known_candidate(archive, arguments.candidate) if arguments.candidate else ""
        written = write_job(paths, archive, experiment, tasks, arguments.harbor, candidate)
        print(
            f"{arguments.harbor}\n{written} trials; harness show --harbor {arguments.harbor} reads them back, as does harbor view"
        )
        return 0
    if arguments.parquet:
        from harness.frames import write_parquet

        print("\n".join(str(path) for path in write_parquet(paths.root, arguments.parquet)))
        return 0
    wanted = arguments.harbor_agent or arguments.dir
    if not arguments.candidate or not wanted:
        raise UsageError("harness export RUN CANDIDATE DIR, or --harbor-agent DIR, or harness export RUN --mlflow URI")
    candidate = known_candidate(archive, arguments.candidate)
    target = Path(wanted)
    if target.exists():
        raise UsageError(f"{target}: exists; name a folder that does not, nothing is overwritten")
    target.parent.mkdir(parents=True, exist_ok=True)
    if arguments.harbor_agent:
        write_agent(to_scaffold(Lineage(paths.lineage).files(candidate)), candidate, target)
        print(f"PYTHONPATH={target} harbor run ... --agent-import-path agent:Agent -m MODEL")
        return 0
    Lineage(paths.lineage).checkout(candidate, target)
    print(target)
    return 0
