"""Tasks: problem folders in Harbor's format (schema 1.0 to 1.4), read and checked.

What we add lies under [metadata.selfharness] and in environment/build.py; docs/tasks.md describes the folder.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from harness.digest import digest_folder, digest_json, files_of
from harness.errors import UsageError, did_you_mean
from harness.paths import shipped
from harness.records import Task
from harness.tomlfile import read_toml, to_record

_CANARY = ("<!-- ", "# canary")


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Loose(BaseModel):
    """Tables of the format whose other fields this version does not act on; unknown keys are Harbor's business."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class _Ours(_Table):
    family: str = ""
    tier: Literal["E", "M", "H"] = "M"
    traps: tuple[str, ...] = ()


class _Metadata(_Loose):
    selfharness: _Ours = _Ours()


class _Name(_Loose):
    name: str = ""
    description: str = ""


class _Agent(_Loose):
    timeout_sec: float | None = Field(default=None, gt=0)


class _Verifier(_Loose):
    timeout_sec: float = Field(default=600.0, gt=0)
    environment_mode: Literal["shared", "separate"] | None = None


class _Environment(_Loose):
    network_mode: Literal["public", "no-network", "allowlist"] = "public"
    os: Literal["linux", "windows"] = "linux"
    workdir: str = "/app"
    cpus: float = 1.0
    memory_mb: int = Field(default=512, ge=16)
    gpus: int | None = None


class _TaskFile(_Loose):
    schema_version: str = "1.4"
    artifacts: tuple[str, ...] = ("/app",)
    task: _Name = _Name()
    metadata: _Metadata = _Metadata()
    agent: _Agent = _Agent()
    verifier: _Verifier = _Verifier()
    environment: _Environment = _Environment()
    steps: tuple[dict[str, Any], ...] = ()


def load_task(folder: Path) -> Task:
    """Read one task folder. Raises UsageError for what is missing, malformed or asks for what this version lacks."""
    file = folder / "task.toml"
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such task folder")
    read = to_record(_TaskFile, read_toml(file), str(file))
    _refuse(read, file)
    for needed in ("instruction.md", "tests/test.sh"):
        if not (folder / needed).is_file():
            raise UsageError(f"{folder}: {needed} is missing; docs/tasks.md describes the folder")
    paths = files_of(folder)
    agent = [p for p in paths if p.parts[0] == "environment" or p.name == "instruction.md" and len(p.parts) == 1]
    tests = [p for p in paths if p.parts[0] == "tests"]
    environment = read.environment.model_dump(mode="json")
    ours = read.metadata.selfharness
    return Task(
        id=folder.name,
        kind=folder.parent.name,
        family=ours.family or folder.name,
        digest=digest_folder(folder, paths),
        agent_digest=digest_json([digest_folder(folder, agent), environment, read.agent.timeout_sec]),
        grading_digest=digest_json([digest_folder(folder, tests), read.verifier.model_dump(mode="json")]),
        description=read.task.description,
        tier=ours.tier,
        traps=ours.traps,
        instruction=_instruction(folder / "instruction.md"),
        workdir=read.environment.workdir,
        artifacts=read.artifacts,
        agent_time_limit=read.agent.timeout_sec,
        verifier_time_limit=read.verifier.timeout_sec,
        cpus=read.environment.cpus,
        memory_mb=read.environment.memory_mb,
        network_mode=read.environment.network_mode,
        seeded=(folder / "environment" / "build.py").is_file(),
        folder=folder,
    )


def _refuse(read: _TaskFile, file: Path) -> None:
    """Ask for nothing silently weakened: what this version cannot give is refused by name."""
    if read.schema_version not in ("1.0", "1.1", "1.2", "1.3", "1.4"):
        raise UsageError(f'{file}: schema_version "{read.schema_version}": this version reads 1.0 to 1.4')
    wants = {
        "steps": bool(read.steps),
        "environment.os = windows": read.environment.os == "windows",
        "environment.gpus": bool(read.environment.gpus),
        f"environment.network_mode = {read.environment.network_mode}": read.environment.network_mode != "no-network",
    }
    for what, asked in wants.items():
        if asked:
            raise UsageError(f"{file}: {what}: this version cannot give that to a task; tasks here run with no-network")


def _instruction(path: Path) -> str:
    """The instruction without leading canary comments (Harbor strips them before the agent sees the text)."""
    lines = path.read_text("utf-8").splitlines(keepends=True)
    while lines and lines[0].lower().startswith(_CANARY):
        lines.pop(0)
    return "".join(lines).strip() + "\n"


def task_folders(root: Path | None = None) -> dict[str, Path]:
    """Task id -> folder of every shipped task, sorted by id."""
    base = root or shipped("tasks")
    return {file.parent.name: file.parent for file in sorted(base.glob("*/*/task.toml"), key=lambda f: f.parent.name)}


def load_tasks(ids: tuple[str, ...], root: Path | None = None) -> dict[str, Task]:
    """Load tasks by id. Raises UsageError for an unknown id, with the closest one."""
    folders = task_folders(root)
    for wanted in ids:
        if wanted not in folders:
            raise UsageError(f'task "{wanted}": not found{did_you_mean(wanted, list(folders))}\n'
                             f"harness tasks list shows the tasks that there are")  # fmt: skip
    return {wanted: load_task(folders[wanted]) for wanted in ids}
