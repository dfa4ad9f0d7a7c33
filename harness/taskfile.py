"""task.toml, every field of Harbor's task format (schema 1.0 to 1.4, as Harbor 0.25 reads it), and what we refuse of it by name.

Unknown keys are Harbor's business and are left alone; a field that we know and cannot honour is refused, never weakened.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from harness.errors import UsageError
from harness.tomlfile import read_toml, to_record

NEWEST = (1, 4)
COMPOSE = ("docker-compose.yaml", "docker-compose.yml", "singularity-compose.yaml")
Network = Literal["public", "no-network", "allowlist"]
_NO_FOLDER = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f]|[. ]$|^\s*$')


class _Loose(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Ours(BaseModel):
    """[metadata.selfharness]: what we add to the format."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    family: str = ""
    tier: Literal["E", "M", "H"] = "M"
    traps: tuple[str, ...] = ()


class _Metadata(_Loose):
    selfharness: Ours | None = None


class _Name(_Loose):
    name: str = ""
    description: str = ""


class HealthTable(_Loose):
    command: str
    interval_sec: float = Field(default=5.0, ge=0)
    timeout_sec: float = Field(default=30.0, gt=0)
    start_period_sec: float = Field(default=0.0, ge=0)
    start_interval_sec: float = Field(default=5.0, ge=0)
    retries: int = Field(default=3, ge=1)


class EnvironmentTable(_Loose):
    build_timeout_sec: float = Field(default=600.0, gt=0)
    docker_image: str | None = None
    os: Literal["linux", "windows"] = "linux"
    cpus: float | None = Field(default=None, gt=0)
    memory_mb: int | None = Field(default=None, ge=16)
    storage_mb: int | None = Field(default=None, ge=1)
    gpus: int | None = None
    gpu_types: tuple[str, ...] | None = None
    tpu: dict[str, Any] | None = None
    network_mode: Network = "public"
    allowed_hosts: tuple[str, ...] | None = None
    env: dict[str, str] = Field(default_factory=dict)
    workdir: str | None = None
    skills_dir: str | None = None
    healthcheck: HealthTable | None = None
    mcp_servers: tuple[dict[str, Any], ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _legacy(cls, data: Any) -> Any:
        """`memory`, `storage` ("2G") and `allow_internet`, which schema 1.0 had."""
        if not isinstance(data, dict):
            return data
        data = dict(data)
        for old, new in (("memory", "memory_mb"), ("storage", "storage_mb")):
            if isinstance(data.get(old), str):
                size = data.pop(old)
                if data.setdefault(new, megabytes(size)) != megabytes(size):
                    raise ValueError(f'{old} = "{size}" and {new} = {data[new]} say different things')
        if isinstance(data.get("allow_internet"), bool):
            data.setdefault("network_mode", "public" if data["allow_internet"] else "no-network")
        if isinstance(data.get("os"), str):
            data["os"] = data["os"].lower()
        return data


class ArtifactTable(_Loose):
    source: str
    destination: str | None = None
    exclude: tuple[str, ...] = ()
    service: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _path_alone(cls, data: Any) -> Any:
        return {"source": data} if isinstance(data, str) else data

    @field_validator("source")
    @classmethod
    def _inside(cls, source: str) -> str:
        if not source.startswith("/") or ".." in source.split("/"):
            raise ValueError(f'"{source}" is not an absolute path without ".."')
        return source


class CollectTable(_Loose):
    command: str
    service: str | None = None
    timeout_sec: float = Field(default=60.0, gt=0)
    user: str | int | None = None


class _Agent(_Loose):
    timeout_sec: float | None = Field(default=None, gt=0)
    user: str | int | None = None
    network_mode: Network | None = None
    allowed_hosts: tuple[str, ...] | None = None


class VerifierTable(_Loose):
    timeout_sec: float = Field(default=600.0, gt=0)
    env: dict[str, str] = Field(default_factory=dict)
    user: str | int | None = None
    environment_mode: Literal["shared", "separate"] | None = None
    environment: EnvironmentTable | None = None
    collect: tuple[CollectTable, ...] = ()
    network_mode: Network | None = None
    allowed_hosts: tuple[str, ...] | None = None

    @property
    def mode(self) -> Literal["shared", "separate"] | None:
        """The mode that this table asks for: an environment of its own implies `separate`."""
        return self.environment_mode or ("separate" if self.environment is not None else None)


class _StepVerifier(VerifierTable):
    timeout_sec: float | None = Field(default=None, gt=0)  # type: ignore[assignment]  # None: as the task's


class StepTable(_Loose):
    name: str
    agent: _Agent = _Agent()
    verifier: _StepVerifier = _StepVerifier()
    min_reward: float | dict[str, float] | None = None
    healthcheck: HealthTable | None = None
    artifacts: tuple[ArtifactTable, ...] = ()

    @field_validator("name")
    @classmethod
    def _folder(cls, name: str) -> str:
        if _NO_FOLDER.search(name) or len(name.encode()) > 255:
            raise ValueError(f'"{name}" cannot be the name of a folder')
        return name


class _Solution(_Loose):
    env: dict[str, str] = Field(default_factory=dict)


class TaskFile(_Loose):
    schema_version: str = "1.4"
    source: str | None = None
    artifacts: tuple[ArtifactTable, ...] | None = None
    task: _Name = _Name()
    metadata: _Metadata = _Metadata()
    agent: _Agent = _Agent()
    verifier: VerifierTable = VerifierTable()
    environment: EnvironmentTable = EnvironmentTable()
    solution: _Solution = _Solution()
    steps: tuple[StepTable, ...] = ()
    multi_step_reward_strategy: Literal["mean", "final"] = "mean"

    @model_validator(mode="before")
    @classmethod
    def _old_version_key(cls, data: Any) -> Any:
        if isinstance(data, dict) and "version" in data:
            data = {"schema_version": data["version"], **{k: v for k, v in data.items() if k != "version"}}
        return data

    @model_validator(mode="after")
    def _consistent(self) -> TaskFile:
        names = [step.name for step in self.steps]
        if len(set(names)) != len(names):
            raise ValueError("steps: two have the same name")
        for verifier in (self.verifier, *(step.verifier for step in self.steps)):
            if verifier.environment_mode == "shared" and verifier.environment is not None:
                raise ValueError('verifier: environment_mode "shared" and an environment of its own exclude each other')
        return self


def read_task_file(folder: Path) -> TaskFile:
    """task.toml of a folder. Raises UsageError for what is malformed, and for what this version cannot give, by name."""
    file = folder / "task.toml"
    read = to_record(TaskFile, read_toml(file), str(file))
    if _is_newer(read.schema_version):
        raise UsageError(f'{file}: schema_version "{read.schema_version}": this version reads 1.0 to 1.4')
    for what, asked in _impossible(folder, read).items():
        if asked:
            raise UsageError(f"{file}: {what}: this version cannot give that to a task")
    return read


def _is_newer(version: str) -> bool:
    """Whether a schema may say what this version does not know. Harbor reads any; some folders claim 0.0."""
    found = re.match(r"(\d+)(?:\.(\d+))?", version)
    return found is None or (int(found[1]), int(found[2] or 0)) > NEWEST


def _impossible(folder: Path, read: TaskFile) -> dict[str, bool]:
    verifiers = [read.verifier, *(step.verifier for step in read.steps)]
    places = [read.environment, *(v.environment for v in verifiers if v.environment is not None)]
    collected = [*(read.artifacts or ()), *(item for step in read.steps for item in step.artifacts)]
    phases: list[EnvironmentTable | VerifierTable | _Agent] = [
        *places,
        *verifiers,
        read.agent,
        *(step.agent for step in read.steps),
    ]
    services = {item.service for item in collected} | {c.service for v in verifiers for c in v.collect}
    context = folder / "steps" / read.steps[0].name if read.steps else folder
    found = {
        f"{below.name}/{name}": (below / name).is_file()
        for below in (folder / "environment", folder / "tests") for name in COMPOSE
    }  # fmt: skip
    return {
        **found,
        "environment.os = windows": any(place.os == "windows" for place in places),
        "environment.gpus": any(place.gpus or place.gpu_types for place in places),
        "environment.tpu": any(place.tpu for place in places),
        "environment.mcp_servers": any(place.mcp_servers for place in places),
        "network_mode = allowlist": any(phase.network_mode == "allowlist" for phase in phases),
        "allowed_hosts": any(phase.allowed_hosts for phase in phases),
        "a service of a compose file": bool(services - {None, "main"}),
        "trajectory.json (prior context)": (context / "trajectory.json").is_file(),
    }


def megabytes(size: str) -> int:
    """ "2G", "512M" or "64K" in MB. Raises ValueError."""
    units = {"G": 1024.0, "M": 1.0, "K": 1 / 1024}
    text = size.strip().upper()
    if not text or text[-1] not in units:
        raise ValueError(f'"{size}" is not a size, as "2G" or "512M"')
    return max(1, int(float(text[:-1]) * units[text[-1]]))
