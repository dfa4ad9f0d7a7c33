"""Problems: tasks, units, suites."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from harness.records.base import Record, Split


class Task(Record):
    """One problem folder, read and checked. `folder` is where it lies here; it is in no digest and no journal."""

    id: str
    kind: str
    family: str
    digest: str
    """sha256 over every file of the folder (Harbor's task digest)."""
    agent_digest: str
    """Over what the agent can notice: instruction, environment, resources."""
    grading_digest: str
    """Over tests/ and the verifier's settings: if only this changed, results can be graded again."""
    description: str = ""
    tier: Literal["E", "M", "H"] = "M"
    traps: tuple[str, ...] = ()
    instruction: str
    workdir: str = "/app"
    artifacts: tuple[str, ...] = ("/app",)
    agent_time_limit: float | None = None
    verifier_time_limit: float = 600.0
    cpus: float = 1.0
    memory_mb: int = 512
    network_mode: Literal["no-network", "public", "allowlist"] = "no-network"
    seeded: bool = True
    """Whether environment/build.py makes an instance per seed; else every seed is the checked-in one."""
    folder: Path = Field(exclude=True, repr=False)


class Unit(Record):
    """(task, seed): one instance of a task. Units of one task are one family."""

    task: str
    seed: int

    def __str__(self) -> str:
        return f"{self.task}/{self.seed}"


class Suite(Record):
    """A list of task ids per split, in order. Splits do not overlap, by task and by family."""

    name: str
    digest: str
    description: str = ""
    train: tuple[str, ...] = ()
    val: tuple[str, ...] = ()
    test: tuple[str, ...] = ()

    def ids(self, split: Split) -> tuple[str, ...]:
        """The task ids of one split."""
        found: tuple[str, ...] = getattr(self, split)
        return found

    def units(self, split: Split, seeds: int) -> tuple[Unit, ...]:
        """Every (task, seed) of one split with seeds 0..seeds-1, by task."""
        return tuple(Unit(task=task, seed=seed) for task in self.ids(split) for seed in range(seeds))
