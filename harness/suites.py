"""Suites: evals/<name>.toml, which tasks are in which split."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from harness.errors import UsageError, did_you_mean
from harness.hashing import digest_json
from harness.paths import resolve
from harness.records import Suite, Task
from harness.tasks import load_task, load_tasks, made_live
from harness.tomlfile import read_toml, to_record


class _SuiteFile(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    description: str = ""
    train: tuple[str, ...] = ()
    val: tuple[str, ...] = ()
    test: tuple[str, ...] = ()
    must_pass: tuple[str, ...] = ()
    quarantine: tuple[str, ...] = ()


def load_suite(name: str, root: Path | None = None, live: Sequence[str] = ()) -> tuple[Suite, dict[str, Task]]:
    """A suite by path or shipped name, and its tasks by id; `root` is another tasks folder.

    A folder is a dataset, as Harbor has them: every task folder in it is a task of `train`. A tasks/ folder beside the suite's
    folder is used when there is one. `live`: see made_live. Raises UsageError for unknown tasks, for an empty suite, and for
    splits that overlap by task or by family.
    """
    if Path(name).expanduser().is_dir():
        suite, tasks = _dataset(Path(name).expanduser().resolve())
        return suite, made_live(tasks, live)
    path = resolve(name, "evals", ".toml", "suite")
    read = to_record(_SuiteFile, read_toml(path), str(path))
    beside = path.parent.parent / "tasks"
    ids = (*read.train, *read.val, *read.test)
    if not ids:
        raise UsageError(f"{path}: no tasks; fill train, val or test")
    tasks = load_tasks(tuple(dict.fromkeys(ids)), root or (beside if beside.is_dir() else None))
    _disjoint(path, read, tasks)
    _known(path, read, ids)
    digest = digest_json(
        {split: [[i, tasks[i].digest] for i in getattr(read, split)] for split in ("train", "val", "test")}
        | ({"quarantine": sorted(read.quarantine)} if read.quarantine else {})
    )
    suite = Suite(name=path.stem, digest=digest, description=read.description,
                  train=read.train, val=read.val, test=read.test, must_pass=read.must_pass, quarantine=read.quarantine)  # fmt: skip
    return suite, made_live(tasks, live)


def _known(path: Path, read: _SuiteFile, ids: tuple[str, ...]) -> None:
    """must_pass and quarantine name tasks of the suite, and no task is in both."""
    for key in ("must_pass", "quarantine"):
        for name in getattr(read, key):
            if name not in ids:
                raise UsageError(f'{path}: {key}: "{name}" is not in the suite{did_you_mean(name, list(ids))}')
    for name in set(read.must_pass) & set(read.quarantine):
        raise UsageError(
            f'{path}: "{name}" is in both must_pass and quarantine; one says that it decides, the other that it does not'
        )


def _dataset(folder: Path) -> tuple[Suite, dict[str, Task]]:
    """A folder of task folders, or one task folder. Raises UsageError when a dataset.toml there names other contents."""
    found = [folder] if (folder / "task.toml").is_file() else sorted(file.parent for file in folder.glob("*/task.toml"))
    if not found:
        raise UsageError(f"{folder}: neither a task nor a folder of tasks (there is no task.toml)")
    tasks = {each.name: load_task(each) for each in found}
    _check_manifest(folder / "dataset.toml", tasks)
    digest = digest_json([[name, task.digest] for name, task in tasks.items()])
    return Suite(name=folder.name, digest=digest, train=tuple(tasks)), tasks


def _check_manifest(file: Path, tasks: dict[str, Task]) -> None:
    """A dataset.toml may pin its tasks; what is here must be what it pins."""
    if not file.is_file():
        return
    digests = {task.digest for task in tasks.values()}
    for entry in read_toml(file).get("tasks", []):
        digest = str(entry.get("digest") or "").removeprefix("sha256:")
        if digest and digest not in digests:
            raise UsageError(f"{file}: {entry.get('name')}: no task here has the digest that it names ({digest[:12]})")


def _disjoint(path: Path, read: _SuiteFile, tasks: dict[str, Task]) -> None:
    seen: dict[str, tuple[str, str]] = {}
    for split in ("train", "val", "test"):
        for task in getattr(read, split):
            family = tasks[task].family
            other, other_task = seen.setdefault(family, (split, task))
            if other != split:
                what = f'task "{task}"' if task == other_task else f'tasks "{other_task}" and "{task}" (one family)'
                raise UsageError(f"{path}: {what}: in both {other} and {split}; splits must not overlap")
