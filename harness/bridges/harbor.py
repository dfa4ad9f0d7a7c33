"""Harbor (0.25): a scaffold as a Harbor agent, and the results of a Harbor job read back.

The exported class runs in Harbor's process, with this package installed beside it. The scaffold runs in a sandbox of ours
without network or keys, as ever; what it does to the task goes through Harbor's environment, and its model calls through our
gateway. Harbor itself is not imported here: an environment is anything with its `exec` and `upload_file`.
"""

from __future__ import annotations

import asyncio
import base64
import json
import math
import shlex
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from harness.budget import Budget
from harness.errors import InfraError, MachineError, SandboxFault, UsageError
from harness.hashing import digest_json
from harness.models.gateway import ModelGateway, build_routes
from harness.models.keys import check_route
from harness.models.routes import adapter_for
from harness.records import Limits, Usage
from harness.records.experiment import ModelChoice
from harness.sandboxes import choose_provider
from harness.scaffold import Scaffold, read_scaffold
from harness.seams import ExecResult, File, Files, GetLimits, Handler
from harness.session import SessionResult, run_session
from harness.trajectory import Trajectory

INLINE = 60_000
"""Bytes of standard input that travel within a command; more is uploaded as a file."""
AGENT = '''"""Scaffold {name}, made by selfharness, as a Harbor agent. Harbor's Python needs the package selfharness beside it.

harbor run ... --agent-import-path agent:Agent -m MODEL          (with this folder on PYTHONPATH)
"""

from pathlib import Path

from harbor.agents.base import BaseAgent

from harness.bridges.harbor import run_scaffold

SCAFFOLD = Path(__file__).resolve().parent / "scaffold"


class Agent(BaseAgent):
    """The scaffold in a sandbox of its own; the task through Harbor's environment."""

    @staticmethod
    def name():
        return "selfharness-{name}"

    def version(self):
        return "{digest}"

    async def setup(self, environment):
        """Nothing is installed in the environment."""

    async def run(self, instruction, environment, context):
        found = await run_scaffold(SCAFFOLD, instruction, environment, self.logs_dir, self.model_name)
        context.n_input_tokens, context.n_output_tokens = found.usage.tokens_in, found.usage.tokens_out
        context.n_cache_tokens, context.cost_usd = found.usage.tokens_cached, found.usage.usd
        context.metadata = {{"ended": found.ended, "detail": found.detail, "steps": found.steps}}
'''


class HarborResult(Protocol):
    stdout: str | None
    stderr: str | None
    return_code: int


class HarborEnvironment(Protocol):
    """What is used of Harbor's BaseEnvironment."""

    async def exec(
        self, command: str, cwd: str | None = None, env: dict[str, str] | None = None, timeout_sec: int | None = None
    ) -> HarborResult: ...

    async def upload_file(self, source_path: Path | str, target_path: str) -> None: ...


class EnvironmentSandbox:
    """seams.Sandbox over Harbor's environment, as far as a scaffold's broker uses one: commands."""

    def __init__(self, environment: HarborEnvironment) -> None:
        self.id = "harbor"
        self._environment = environment

    async def exec(
        self,
        argv: Sequence[str],
        *,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        stdin: bytes = b"",
        time_limit: float = 60.0,
        max_output: int = 1 << 20,
        split_streams: bool = False,
    ) -> ExecResult:
        """Harbor's results are text without a limit: streams are kept in files, cut, and carried as base64."""
        given = "/dev/null"
        if len(stdin) > INLINE:
            given = f"/tmp/harness-{digest_json(stdin.hex())[:12]}"
            with tempfile.NamedTemporaryFile() as file:
                file.write(stdin)
                file.flush()
                await self._environment.upload_file(file.name, given)
        inline = (
            f"echo {base64.b64encode(stdin).decode()} | base64 -d > $t/in; " if stdin and given == "/dev/null" else ""
        )
        source = "$t/in" if inline else given
        error = "2>$t/err" if split_streams else "2>&1"
        line = (
            f"t=$(mktemp -d); : > $t/err; {inline}timeout -k 1 {time_limit:.3f} {shlex.join(argv)} <{source} >$t/out {error}; code=$?; "
            f"echo; head -c {max_output} $t/out | base64 -w0; echo; head -c {max_output} $t/err | base64 -w0; echo; "
            "echo $code $(stat -c %s $t/out $t/err); rm -rf $t"
        )
        try:
            ran = await self._environment.exec(f"bash -c {shlex.quote(line)}", cwd=cwd, env=dict(env or {}),
                                               timeout_sec=math.ceil(time_limit) + 20)  # fmt: skip
        except Exception as fault:  # whatever Harbor's environments raise is an infrastructure fault here
            raise SandboxFault(f"Harbor's environment: {type(fault).__name__}: {fault}") from None
        return _result(ran, max_output, split_streams)

    async def put(self, files: Files, dest: str, *, trusted: bool = False) -> None:
        raise MachineError("a Harbor environment is written to by commands only")

    async def get(self, root: str, *, limits: GetLimits | None = None) -> dict[str, File]:
        raise MachineError("what a task leaves is collected by Harbor")

    async def quiesce(self) -> int:
        return 0

    async def serve(
        self,
        argv: Sequence[str],
        handler: Handler,
        *,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        time_limit: float = 300.0,
        max_output: int = 1 << 18,
    ) -> ExecResult:
        raise MachineError(
            'a program with placement = "task" cannot run in a Harbor environment\nuse placement = "own"'
        )

    async def snapshot(self) -> str:
        raise MachineError("Harbor's environments are not ours to keep")

    async def close(self) -> None:
        """Harbor closes what it opened."""


def _result(ran: HarborResult, max_output: int, split: bool) -> ExecResult:
    lines = (ran.stdout or "").rstrip("\n").split("\n")
    try:
        out, err = base64.b64decode(lines[-3]), base64.b64decode(lines[-2])
        code, *sizes = map(int, lines[-1].split())
    except (ValueError, IndexError):
        said = ((ran.stdout or "") + (ran.stderr or "")).strip()[-300:]
        raise SandboxFault(f"Harbor's environment gave no result (exit code {ran.return_code}): {said}") from None
    timed_out = code in (124, 137)
    return ExecResult(
        returncode=None if timed_out else code, output=err if split else out, stdout=out if split else b"",
        dropped=sum(max(0, size - max_output) for size in sizes), timed_out=timed_out,
    )  # fmt: skip


async def run_scaffold(
    folder: Path,
    instruction: str,
    environment: HarborEnvironment,
    logs: Path,
    model: str | None,
    *,
    time_limit: float = 3600.0,
) -> SessionResult:
    """One session of an exported scaffold on Harbor's task; the trajectory goes to Harbor's logs as ATIF.

    Harbor's own deadline ends it too. Raises UsageError without a model, InfraError for what is not the scaffold's fault.
    """
    if not model:
        raise UsageError("no model\nname one: harbor run ... -m PROVIDER/MODEL")
    choice = ModelChoice(name=model)
    check_route(choice)
    scaffold = read_scaffold(folder)
    gateway = ModelGateway(build_routes({"main": choice}, adapter_for), Budget())
    sandboxes = await choose_provider("auto")
    trajectory = Trajectory(f"scaffold-{scaffold.digest[:12]}", "1", model)
    task = EnvironmentSandbox(environment)
    try:
        where = (await task.exec(["pwd"])).output.decode().strip() or "/"
        found = await run_session(
            sandboxes, scaffold, task, gateway, trajectory, instruction=instruction, workdir=where,
            limits=Limits(time_limit=time_limit), models=("main",), trial=logs.parent.name, seed=0, names={"main": model},
        )  # fmt: skip
    finally:
        await asyncio.shield(sandboxes.close())
    trajectory.save(logs / "trajectory.json", logs.parent.name, {"ended": found.ended})
    if found.ended == "infra":
        raise InfraError(found.detail)
    return found


def write_agent(scaffold: Scaffold, name: str, target: Path) -> None:
    """Write the class and the scaffold's files below `target`. Raises UsageError for a scaffold that Harbor cannot carry."""
    if scaffold.placement == "task":
        raise UsageError(
            'a program with placement = "task" brings its own shell; Harbor installs such agents itself\n'
            "--harbor-agent takes scaffolds that run in a sandbox of their own"
        )
    for path, text in scaffold.files.items():
        (target / "scaffold" / path).parent.mkdir(parents=True, exist_ok=True)
        (target / "scaffold" / path).write_text(text)
    (target / "agent.py").write_text(AGENT.format(name=name, digest=scaffold.digest[:12]))


@dataclass(frozen=True)
class HarborTrial:
    """One trial of a Harbor job. `reward` is None when there was none: never a zero."""

    task: str
    trial: str
    agent: str
    reward: float | None
    error: str
    usage: Usage


def read_job(folder: Path) -> tuple[HarborTrial, ...]:
    """The trials of a Harbor job folder, by name. Raises UsageError when it is none."""
    found = []
    for path in sorted(folder.glob("*/result.json")):
        try:
            found.append(_read_trial(json.loads(path.read_text("utf-8"))))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UsageError(f"{path}: not a Harbor trial: {type(error).__name__}: {error}") from None
    if not found:
        raise UsageError(
            f"{folder}: no trial of a Harbor job in it\nname the job's folder, which holds a folder per trial"
        )
    return tuple(found)


def _read_trial(data: Mapping[str, Any]) -> HarborTrial:
    rewards = (data.get("verifier_result") or {}).get("rewards") or {}
    reward = rewards.get("reward", sum(rewards.values()) / len(rewards) if rewards else None)
    agent, error = data.get("agent_result") or {}, data.get("exception_info") or {}
    usage = Usage(tokens_in=agent.get("n_input_tokens") or 0, tokens_out=agent.get("n_output_tokens") or 0,
                  tokens_cached=agent.get("n_cache_tokens") or 0, usd=agent.get("cost_usd"))  # fmt: skip
    text = f"{error['exception_type']}: {error['exception_message']}" if error else ""
    return HarborTrial(task=str(data["task_name"]), trial=str(data["trial_name"]), agent=str(data["agent_info"]["name"]),
                       reward=None if reward is None else float(reward), error=text, usage=usage)  # fmt: skip
