"""Tasks: problem folders in Harbor's format (schema 1.0 to 1.4), read and checked.

What we add lies under [metadata.selfharness] and in environment/build.py; docs/tasks.md describes the folder. A folder without
it that brings an image, a Dockerfile or steps is foreign: it runs under the profile `compat` and keeps Harbor's verifier contract.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from harness.digest import digest_folder, digest_json, files_of
from harness.errors import UsageError, did_you_mean
from harness.paths import shipped
from harness.records import Foreign, Healthcheck, Hook, Kept, Place, Step, Task
from harness.taskfile import (
    ArtifactTable,
    CollectTable,
    EnvironmentTable,
    HealthTable,
    Network,
    Ours,
    StepTable,
    TaskFile,
    read_task_file,
)

_CANARY = re.compile(r"(<!--.*canary.*-->|#.*canary.*)", re.IGNORECASE)
PUBLISHED = "/logs/artifacts"
"""What Harbor always collects."""


def load_task(folder: Path) -> Task:
    """Read one task folder. Raises UsageError for what is missing, malformed or asks for what this version lacks."""
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such task folder")
    read = read_task_file(folder)
    foreign = _foreign(read, folder) if _is_foreign(read, folder) else None
    if foreign is None and read.environment.network_mode != "no-network":
        raise UsageError(f"{folder}/task.toml: environment.network_mode = {read.environment.network_mode}: tasks without an image of "
                         "their own run with no-network")  # fmt: skip
    for needed in () if foreign is not None else ("instruction.md", "tests/test.sh"):
        if not (folder / needed).is_file():
            raise UsageError(f"{folder}: {needed} is missing; docs/tasks.md describes the folder")
    paths = files_of(folder)
    digest = digest_folder(folder, paths)
    agent = [p for p in paths if p.parts[0] == "environment" or p.name == "instruction.md" and len(p.parts) == 1]
    tests = [p for p in paths if p.parts[0] == "tests"]
    environment = read.environment.model_dump(mode="json", exclude_defaults=True)
    ours = read.metadata.selfharness or Ours()
    return Task(
        id=folder.name,
        kind=folder.parent.name,
        family=ours.family or folder.name,
        digest=digest,
        # What is verified may decide whether a later step is run: a foreign task is one thing.
        agent_digest=digest
        if foreign
        else digest_json([digest_folder(folder, agent), environment, read.agent.timeout_sec]),
        grading_digest=digest_json([digest_folder(folder, tests), read.verifier.model_dump(mode="json")]),
        description=read.task.description,
        tier=ours.tier,
        traps=ours.traps,
        instruction=foreign.steps[0].instruction if foreign else _instruction(folder / "instruction.md"),
        workdir=read.environment.workdir or ("" if foreign else "/app"),
        artifacts=tuple(item.source for item in read.artifacts) if read.artifacts else ("/app",),
        agent_time_limit=read.agent.timeout_sec,
        verifier_time_limit=read.verifier.timeout_sec,
        cpus=read.environment.cpus or 1.0,
        memory_mb=read.environment.memory_mb or 512,
        network_mode=read.environment.network_mode,
        seeded=foreign is None and (folder / "environment" / "build.py").is_file(),
        foreign=foreign,
        folder=folder,
    )


def made_live(tasks: Mapping[str, Task], patterns: Sequence[str]) -> dict[str, Task]:
    """The same tasks; the tests of those that fit a pattern run in the agent's own container, beside what it left running.

    Raises UsageError for a pattern that fits no task, and for a task that cannot be verified so.
    """
    found = dict(tasks)
    for pattern in patterns:
        fitting = [name for name in tasks if fnmatch.fnmatchcase(name, pattern)]
        if not fitting:
            raise UsageError(f'sandbox.live: "{pattern}" fits no task{did_you_mean(pattern, list(tasks))}')
        for name in fitting:
            task = tasks[name]
            if reason := _never_live(task):
                raise UsageError(f'sandbox.live: "{name}" {reason}')
            assert task.foreign is not None
            digest = digest_json([task.digest, "live"])
            live = task.foreign.model_copy(update={"live": True})
            found[name] = task.model_copy(update={"foreign": live, "digest": digest, "agent_digest": digest})
    return found


def _never_live(task: Task) -> str:
    """Why a task cannot be verified in the agent's container; '' when it can."""
    if task.foreign is None:
        return "is a task of ours: its verifier has a sandbox of its own"
    step = task.foreign.steps[0]
    if len(task.foreign.steps) > 1:
        return "has several steps: a later one would see the tests"
    if step.verifier_place is not None:
        return "has a separate verifier"
    if (step.user, step.network) != (step.verifier_user, step.verifier_network):
        return "gives agent and verifier another user or network"
    return ""


def _is_foreign(read: TaskFile, folder: Path) -> bool:
    image = read.environment.docker_image or (folder / "environment" / "Dockerfile").is_file()
    return read.metadata.selfharness is None and bool(image or read.steps)


def _foreign(read: TaskFile, folder: Path) -> Foreign:
    """Everything that Harbor would do with this folder, step by step."""
    tables = read.steps or (None,)
    return Foreign(
        place=_place(read.environment, folder, "environment", read.environment.docker_image),
        steps=tuple(_step(read, table, folder) for table in tables),
        strategy=read.multi_step_reward_strategy,
        solution_env=_pairs(read.solution.env),
    )


def _place(table: EnvironmentTable, folder: Path, build: str, image: str | None) -> Place:
    """A container of this image, or built from a folder of the task's, as a table has it otherwise."""
    return Place(
        image=image,
        build=build if (folder / build / "Dockerfile").is_file() else "",
        workdir=table.workdir or "", env=_pairs(table.env), network=_network(table.network_mode),
        cpus=table.cpus or 2.0, memory_mb=table.memory_mb or 2048, disk_mb=table.storage_mb or 4096,
        healthcheck=_health(table.healthcheck),
    )  # fmt: skip


def _step(read: TaskFile, table: StepTable | None, folder: Path) -> Step:
    """A step with what it does not say itself taken from the task; without steps, the task as one step."""
    own = table or StepTable(name="task")
    name = table.name if table is not None else ""
    below = folder / "steps" / name if name else folder
    tested = any((place / "tests" / "test.sh").is_file() for place in (below, folder))
    verifier, whole = own.verifier, read.verifier
    separate = (verifier.mode or whole.mode or "shared") == "separate"
    place_table = verifier.environment or whole.environment or read.environment
    place, baked = _verifier_place(read, table, folder) if separate else (None, False)
    if not (below / "instruction.md").is_file():
        raise UsageError(f"{below}: instruction.md is missing; docs/tasks.md describes the folder")
    if not tested and not baked:
        raise UsageError(f"{below}: tests/test.sh is missing; docs/tasks.md describes the folder")
    network: Network = own.agent.network_mode or read.agent.network_mode or read.environment.network_mode
    checked: Network = verifier.network_mode or whole.network_mode or place_table.network_mode
    user = own.agent.user if own.agent.user is not None else read.agent.user
    verifier_user = verifier.user if verifier.user is not None else whole.user
    kept = [_kept(item) for item in (*(read.artifacts or ()), *own.artifacts)]
    return Step(
        name=name,
        instruction=_instruction(below / "instruction.md"),
        agent_time_limit=own.agent.timeout_sec or read.agent.timeout_sec,
        user=None if user is None else str(user),
        network=_network(network),
        healthcheck=_health(own.healthcheck),
        artifacts=tuple(kept) if any(item.source == PUBLISHED for item in kept) else (*kept, Kept(source=PUBLISHED)),
        collect=tuple(_hook(table) for table in (*whole.collect, *verifier.collect)),
        verifier_place=place,
        verifier_baked=baked,
        verifier_network=_network(checked),
        verifier_time_limit=verifier.timeout_sec or whole.timeout_sec,
        verifier_user=None if verifier_user is None else str(verifier_user),
        verifier_env=_pairs({**whole.env, **verifier.env}),
        min_reward=_minimum(own.min_reward),
    )


def _verifier_place(read: TaskFile, table: StepTable | None, folder: Path) -> tuple[Place, bool]:
    """Where a separate verifier runs, and whether its image holds the tests.

    As in Harbor: what the step brings goes before what the task brings, and of either an image before tests/Dockerfile. Sizes,
    variables and folder come from the nearest table, whichever brings the image.
    """
    own = table.verifier.environment if table is not None else None
    whole = read.verifier.environment
    sizes = own or whole or read.environment
    homes = [(own, f"steps/{table.name}/tests")] if table is not None else []
    for brings, tests in (*homes, (whole, "tests")):
        image = brings.docker_image if brings is not None else None
        if image or (folder / tests / "Dockerfile").is_file():
            return _place(sizes, folder, tests, image), True
    return _place(sizes, folder, "environment", read.environment.docker_image), False


def _hook(table: CollectTable) -> Hook:
    user = None if table.user is None else str(table.user)
    return Hook(command=table.command, timeout_sec=table.timeout_sec, user=user)


def _minimum(given: float | Mapping[str, float] | None) -> tuple[tuple[str, float], ...]:
    if given is None:
        return ()
    return tuple(given.items()) if isinstance(given, Mapping) else (("reward", float(given)),)


def _kept(table: ArtifactTable) -> Kept:
    return Kept(source=table.source.rstrip("/") or "/", exclude=table.exclude)


def _health(table: HealthTable | None) -> Healthcheck | None:
    return None if table is None else Healthcheck(**table.model_dump())


def _network(mode: Network) -> Literal["none", "public"]:
    return "none" if mode == "no-network" else "public"


def _pairs(table: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(table.items()))


def _instruction(path: Path) -> str:
    """The instruction without leading canary comments (Harbor strips them before the agent sees the text)."""
    lines = path.read_text("utf-8").splitlines(keepends=True)
    while lines and _CANARY.fullmatch(lines[0].strip()):
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
