"""Problems: tasks, units, suites."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from harness.records.base import Grade, Record, Split


class Healthcheck(Record):
    """Of a container, as Docker's HEALTHCHECK: all times in seconds."""

    command: str
    interval_sec: float = 5.0
    timeout_sec: float = 30.0
    start_period_sec: float = 0.0
    start_interval_sec: float = 5.0
    retries: int = 3


class Place(Record):
    """A container that a foreign task declares. `env` holds templates; they are filled in when it is started."""

    image: str | None = None
    build: str = ""
    """A folder with a Dockerfile, below the task's: what there is without an image, or where the image cannot be had."""
    workdir: str = ""
    """'' is the image's own."""
    env: tuple[tuple[str, str], ...] = ()
    network: Literal["none", "public"] = "public"
    cpus: float = 2.0
    memory_mb: int = 2048
    disk_mb: int = 4096
    healthcheck: Healthcheck | None = None


class Kept(Record):
    """An artefact: a file or folder of the container, and name patterns below it that are left out."""

    source: str
    exclude: tuple[str, ...] = ()


class Hook(Record):
    """A command that is run in the agent's container after the agent. `user` None is the image's."""

    command: str
    timeout_sec: float = 60.0
    user: str | None = None


class Step(Record):
    """One instruction of a foreign task and how what came of it is verified. A task without steps has one, named ''."""

    name: str = ""
    instruction: str
    agent_time_limit: float | None = None
    user: str | None = None
    network: Literal["none", "public"] = "public"
    healthcheck: Healthcheck | None = None
    artifacts: tuple[Kept, ...] = ()
    collect: tuple[Hook, ...] = ()
    """Run after the agent and before the artefacts are taken."""
    verifier_place: Place | None = None
    """The fresh container of a separate verifier; None verifies in a copy of the agent's (shared)."""
    verifier_baked: bool = False
    """Whether the tests are in the verifier's image."""
    verifier_network: Literal["none", "public"] = "public"
    verifier_time_limit: float = 600.0
    verifier_user: str | None = None
    verifier_env: tuple[tuple[str, str], ...] = ()
    min_reward: tuple[tuple[str, float], ...] = ()
    """Rewards below which no later step is run."""


class Foreign(Record):
    """A task as others write them: its own image, and Harbor's verifier contract in place of ours."""

    place: Place
    steps: tuple[Step, ...]
    strategy: Literal["mean", "final"] = "mean"
    """How the rewards of the steps make one."""
    solution_env: tuple[tuple[str, str], ...] = ()
    live: bool = False
    """Whether the tests run beside what the agent left running, in its own container: Harbor's way, which can be cheated."""

    @property
    def grade(self) -> Grade:
        """The isolation that is left: an image's user and a writable root cost A, a network or a live verifier costs B."""
        public = any("public" in (step.network, step.verifier_network) for step in self.steps)
        return "C" if public or self.live else "B"


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
    foreign: Foreign | None = None
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
    must_pass: tuple[str, ...] = ()
    """Tasks that every scaffold is expected to solve: `harness eval` is red when one fails again and again."""
    quarantine: tuple[str, ...] = ()
    """Tasks that are measured and shown, and decide nothing: known to be flaky or broken."""

    def ids(self, split: Split) -> tuple[str, ...]:
        """The task ids of one split."""
        found: tuple[str, ...] = getattr(self, split)
        return found

    def units(self, split: Split, seeds: int) -> tuple[Unit, ...]:
        """Every (task, seed) of one split with seeds 0..seeds-1, by task."""
        return tuple(Unit(task=task, seed=seed) for task in self.ids(split) for seed in range(seeds))
