"""Run folders: making one, finding one, opening one for reading."""

from __future__ import annotations

import datetime
import itertools
import os
from pathlib import Path

from harness.archive import Archive, fold
from harness.errors import MachineError, UsageError, did_you_mean
from harness.journal import replay
from harness.paths import RunPaths


def new_run(runs: Path, name: str) -> RunPaths:
    """Make runs/<date>-<time>-<name>/. Raises MachineError when it cannot be written."""
    stamp = datetime.datetime.now().astimezone().strftime("%Y-%m-%d-%H%M")
    try:
        runs.mkdir(parents=True, exist_ok=True)
        for number in itertools.count(1):
            root = runs / (f"{stamp}-{name}" if number == 1 else f"{stamp}-{name}-{number}")
            try:
                root.mkdir()
            except FileExistsError:
                continue
            break
    except OSError as error:
        raise MachineError(
            f"{runs}: {error.strerror}\nrun the command in a folder where runs/ can be written"
        ) from None
    return RunPaths(root)


def find_run(runs: Path, name: str) -> RunPaths:
    """A run by path, by folder name, or by a unique end or part of one; "last" is the newest. Raises UsageError."""
    given = Path(name)
    if (given / "journal.jsonl").is_file():
        return RunPaths(given.resolve())
    known = list_runs(runs)
    if name == "last" and known:
        return known[-1]
    exact = [run for run in known if run.name == name]
    ending = [run for run in known if run.name.endswith(f"-{name}")]
    found = exact or ending or [run for run in known if name in run.name]
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(f'run "{name}": fits {len(found)} runs: {", ".join(run.name for run in found[-4:])}')
    raise UsageError(f'run "{name}": not found in {runs}{did_you_mean(name, [run.name for run in known])}\n'
                     f"harness show lists the runs")  # fmt: skip


def list_runs(runs: Path) -> list[RunPaths]:
    """Run folders, oldest first."""
    found = [path.parent for path in runs.glob("*/journal.jsonl")] if runs.is_dir() else []
    return [RunPaths(path) for path in sorted(found)]


def open_run(paths: RunPaths) -> Archive:
    """The archive of a run, for reading; needs no lock."""
    return fold(replay(paths.journal))


def write_atomic(path: Path, data: bytes) -> None:
    """Write a file whole or not at all: temporary name, sync, rename. Raises MachineError (full disk, read-only)."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with scratch.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(path)
    except OSError as error:
        scratch.unlink(missing_ok=True)
        raise MachineError(f"{path}: {error.strerror}; what was there is kept") from None
