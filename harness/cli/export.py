"""harness export: take a scaffold away, or a run in another form."""

from __future__ import annotations

import argparse
from pathlib import Path

from harness.archive import Archive
from harness.bridges.harbor import write_agent
from harness.cli.reading import experiment_of, open_named, refuse_evaluation
from harness.cli.show import known_candidate
from harness.errors import UsageError
from harness.evaluation import EVALUATED
from harness.lineage import Lineage
from harness.paths import RunPaths
from harness.runs import write_atomic
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
    parser.add_argument(
        "--report", type=Path, metavar="FILE", help="write the run's report, one HTML page, from its journal"
    )
    parser.add_argument(
        "--junit",
        type=Path,
        metavar="FILE",
        help="write the trials of the candidate (default: the best) as a JUnit file",
    )
    parser.add_argument("--mlflow", metavar="URI", help="replay the run into this MLflow server or store")


def run(arguments: argparse.Namespace) -> int:
    paths, archive = open_named(arguments.run)
    if not (arguments.harbor or arguments.parquet or arguments.junit):
        refuse_evaluation(paths)
    for given, write in ((arguments.mlflow, _mlflow), (arguments.harbor, _harbor), (arguments.parquet, _parquet),
                         (arguments.report, _report), (arguments.junit, _junit)):  # fmt: skip
        if given:
            write(arguments, paths, archive)
            return 0
    return _scaffold(arguments, paths, archive)


def _mlflow(arguments: argparse.Namespace, paths: RunPaths, archive: Archive) -> None:
    from harness.trackers.mlflow import publish_run

    experiment = experiment_of(paths)
    suite, _ = load_suite(experiment.suite.name)
    print(publish_run(arguments.mlflow, paths, experiment, suite, archive))


def _harbor(arguments: argparse.Namespace, paths: RunPaths, archive: Archive) -> None:
    from harness.bridges.harbor_job import write_job

    experiment = experiment_of(paths)
    _, tasks = load_suite(experiment.suite.name)
    candidate = known_candidate(archive, arguments.candidate) if arguments.candidate else ""
    written = write_job(paths, archive, experiment, tasks, arguments.harbor, candidate)
    print(
        f"{arguments.harbor}\n{written} trials; harness show --harbor {arguments.harbor} reads them back, as does harbor view"
    )


def _parquet(arguments: argparse.Namespace, paths: RunPaths, archive: Archive) -> None:
    from harness.frames import write_parquet

    print("\n".join(str(path) for path in write_parquet(paths.root, arguments.parquet)))


def _report(arguments: argparse.Namespace, paths: RunPaths, archive: Archive) -> None:
    from harness.report.writer import write_report

    write_report(paths, arguments.report)
    print(arguments.report)


def _junit(arguments: argparse.Namespace, paths: RunPaths, archive: Archive) -> None:
    from harness.junit import junit_xml, of_run

    wanted = arguments.candidate or ("best" if archive.best else EVALUATED)
    found = of_run(archive, known_candidate(archive, wanted))
    if not found.trials:
        raise UsageError(f"{found.scaffold}: was never measured; there is nothing to write")
    write_atomic(arguments.junit, junit_xml(found).encode())
    print(f"{arguments.junit}\n{len(found.trials)} trials of {found.scaffold}")


def _scaffold(arguments: argparse.Namespace, paths: RunPaths, archive: Archive) -> int:
    wanted = arguments.harbor_agent or arguments.dir
    if not arguments.candidate or not wanted:
        raise UsageError("harness export RUN CANDIDATE DIR, or --harbor-agent DIR, or harness export RUN --report FILE\n"
                         "harness export --help lists the other forms")  # fmt: skip
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
