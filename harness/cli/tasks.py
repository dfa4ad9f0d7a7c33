"""harness tasks: list them, or check that they are sound."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from harness.cli.reading import as_json, print_json
from harness.errors import ThresholdError
from harness.instances import Instances
from harness.records import Task
from harness.render import table
from harness.sandboxes import choose_provider
from harness.sandboxes.cache import cache_root
from harness.suites import load_suite
from harness.taskcheck import SEEDS, Finding, TaskChecker
from harness.tasks import load_tasks, made_live, task_folders


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("list", "check"))
    parser.add_argument(
        "ids", nargs="*", metavar="TASK", help="ids, task folders, or folders of tasks; without any, all shipped"
    )
    parser.add_argument("-n", "--concurrency", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=len(SEEDS), help="how many seeds, from 0")
    parser.add_argument("--sandbox", choices=("auto", "docker", "bwrap"), default="auto", help="where to try them")
    parser.add_argument("--image", help="docker: the default image, as sandbox.image")
    parser.add_argument(
        "--images", action="append", default=[], metavar="NAME=OTHER", help="docker: as [sandbox.images]"
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="print every finding, not only the bad ones")
    parser.add_argument(
        "--live",
        action="append",
        default=[],
        metavar="PATTERN",
        help="as sandbox.live: tests beside what was left running",
    )
    as_json(parser)


def run(arguments: argparse.Namespace) -> int:
    tasks = made_live(_chosen(arguments.ids), arguments.live)
    if arguments.action == "check":
        return asyncio.run(_check(arguments, list(tasks.values())))
    if arguments.json:
        return print_json([task.model_dump(mode="json", exclude={"instruction"}) for task in tasks.values()])
    rows = [[t.id, t.kind, t.tier, ", ".join(t.traps), t.digest[:12], t.description] for t in tasks.values()]
    print(table(rows, ("task", "kind", "tier", "traps", "digest", "description")))
    return 0


def _chosen(names: Sequence[str]) -> dict[str, Task]:
    """Tasks by shipped id, by folder, or all of a folder of tasks."""
    found: dict[str, Task] = {}
    for name in names or tuple(task_folders()):
        found.update(load_suite(name)[1] if Path(name).is_dir() else load_tasks((name,)))
    return found


async def _check(arguments: argparse.Namespace, tasks: list[Task]) -> int:
    images = dict(pair.split("=", 1) for pair in arguments.images if "=" in pair)
    sandboxes = await choose_provider(
        arguments.sandbox, image=arguments.image, images=images, concurrency=arguments.concurrency
    )
    findings: list[Finding] = []
    try:
        instances = Instances(sandboxes, cache_root(), await sandboxes.digest())
        checker = TaskChecker(sandboxes, instances, arguments.concurrency)
        for task in tasks:
            begun, before = time.monotonic(), len(findings)
            async for finding in checker.check(task, tuple(range(arguments.seeds))):
                findings.append(finding)
                if arguments.verbose or not finding.ok:
                    _line(finding)
            mine = findings[before:]
            bad = sum(not f.ok for f in mine)
            print(
                f"{task.id:32} {len(mine)} findings, {bad or 'none'} bad, {time.monotonic() - begun:.1f} s",
                file=sys.stderr,
            )
    finally:
        await sandboxes.close()
    bad = sum(not f.ok for f in findings)
    if arguments.json:
        print_json([vars(f) for f in findings])
    else:
        print(f"{len(tasks)} tasks, {len(findings)} findings, {bad} bad")
    if bad:
        raise ThresholdError(f"{bad} findings are bad: these tasks are not sound")
    return 0


def _line(finding: Finding) -> None:
    seed = "" if finding.seed is None else f" seed {finding.seed}"
    print(f"{'ok ' if finding.ok else 'BAD'} {finding.task}{seed}: {finding.what}: {finding.detail}", file=sys.stderr)
