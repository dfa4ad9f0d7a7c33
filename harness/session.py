"""A session: one scaffold program at work on one task sandbox, through the broker. Trials and proposers share it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from harness import programs
from harness.broker import Broker, Gateway, text_files
from harness.errors import HarnessError, SandboxFault
from harness.port.handler import ModelPort
from harness.records import Limits, Origin, Role, Usage
from harness.scaffold import Scaffold
from harness.seams import ExecResult, Mount, Sandbox, Sandboxes, SandboxSpec
from harness.trajectory import Trajectory

SCORED_LIMITS = frozenset({"message_limit", "token_limit", "cost_limit", "working_limit", "request_limit"})
"""Limits after which the work is graded as it was left; time_limit scores 0, a cap of the run and a replay that diverged cancel."""


@dataclass(frozen=True)
class SessionResult:
    """How a session ended, and what it cost."""

    ended: Literal["exited", "limit", "time_up", "agent_error", "infra", "cancelled"]
    detail: str
    usage: Usage
    steps: int
    counters: tuple[tuple[str, int], ...]
    flags: tuple[str, ...]
    origins: frozenset[Origin]
    working_s: float
    fault: HarnessError | None = None


def scaffold_spec(label: str, mounts: tuple[Mount, ...] = ()) -> SandboxSpec:
    """The sandbox in which scaffold code runs: its own, with the SDK, without network, keys or task."""
    shown = mounts or (Mount(source=str(programs.SDK), target="/opt/sdk"),)
    return SandboxSpec(label=label, workdir="/scaffold", memory_mb=512, disk_mb=64, pids=64, mounts=shown)


async def home_spec(scaffold: Scaffold, sandboxes: Sandboxes, label: str) -> SandboxSpec:
    """The sandbox of this scaffold, with what it needs beyond the SDK."""
    if scaffold.settings.program is None:
        return scaffold_spec(label)
    spec = scaffold_spec(label, await programs.mounts_of(scaffold, sandboxes))
    image = programs.image_of(scaffold)
    return spec.model_copy(update={"image": image}) if image else spec


async def run_session(
    sandboxes: Sandboxes,
    scaffold: Scaffold,
    task_sandbox: Sandbox,
    gateway: Gateway,
    trajectory: Trajectory,
    *,
    instruction: str,
    workdir: str,
    limits: Limits,
    models: tuple[str, ...],
    trial: str,
    seed: int,
    role: Role = "worker",
    names: Mapping[str, str] | None = None,
    sandbox: Sandbox | None = None,
) -> SessionResult:
    """Start the scaffold in a sandbox of its own, or where its placement says, and serve it until it exits or a limit ends it.

    `sandbox` is a started one to use (and close); else one is started. `names`: real model names by alias. Raises
    SandboxFault and MachineError when no sandbox can be had.
    """
    capped = scaffold.limits(limits)
    broker = Broker(task_sandbox, gateway, trajectory, instruction=instruction, workdir=workdir, limits=capped,
                    models=models, trial=trial, seed=seed, role=role)  # fmt: skip
    home = sandbox
    if home is None and scaffold.placement == "own":
        home = await sandboxes.start(await home_spec(scaffold, sandboxes, trial))
    try:
        if home is not None:
            await home.put(text_files(scaffold.files), "/scaffold")
        try:
            if scaffold.settings.program is None:
                assert home is not None
                ran = await home.serve(list(scaffold.settings.entry), broker.handle, cwd="/scaffold",
                                       env={"PYTHONPATH": "/opt/sdk"}, time_limit=capped.time_limit)  # fmt: skip
            else:
                port = ModelPort(broker, {alias: (names or {}).get(alias, alias) for alias in models})
                ran = await programs.run(scaffold, home or task_sandbox, port, instruction=instruction, workdir=workdir,
                                         time_limit=capped.time_limit)  # fmt: skip
        except SandboxFault as error:
            broker.fault = broker.fault or error
            ran = ExecResult(returncode=None, output=b"")
    finally:
        if home is not None:
            await asyncio.shield(home.close())
    if broker.crash is not None:
        raise broker.crash
    return _result(broker, ran)


def together(sessions: Sequence[SessionResult]) -> SessionResult | None:
    """Sessions of one trial as one: it ended as the last one did, and cost what all did."""
    if not sessions:
        return None
    counters: Counter[str] = Counter()
    for session in sessions:
        counters.update(dict(session.counters))
    return replace(
        sessions[-1], usage=sum((session.usage for session in sessions), Usage()), steps=sum(s.steps for s in sessions),
        counters=tuple(sorted(counters.items())), flags=tuple(dict.fromkeys(flag for s in sessions for flag in s.flags)),
        origins=frozenset[Origin]().union(*(s.origins for s in sessions)), working_s=sum(s.working_s for s in sessions),
    )  # fmt: skip


def lowered(limits: Limits, used: SessionResult) -> Limits:
    """What is left of a trial's limits after earlier sessions; times count per session."""
    return limits.model_copy(update={
        "message_limit": None if limits.message_limit is None else max(0, limits.message_limit - used.steps),
        "token_limit": None if limits.token_limit is None else max(0, limits.token_limit - used.usage.tokens),
        "cost_limit": None if limits.cost_limit is None else max(0.0, limits.cost_limit - (used.usage.usd or 0.0)),
    })  # fmt: skip


def _result(broker: Broker, ran: ExecResult) -> SessionResult:
    tail = ran.output.decode("utf-8", "replace").strip()[-400:]
    ended: Literal["exited", "limit", "time_up", "agent_error", "infra", "cancelled"] = "exited"
    flags: list[str] = []
    detail = ""
    if broker.fault is not None:
        ended, detail = "infra", str(broker.fault)
    elif ran.timed_out or broker.limit == "time_limit":
        ended, detail, flags = "time_up", "time_limit", ["time_limit"]
    elif broker.limit == "run_budget":
        ended, detail = "cancelled", "the run's budget ended"
    elif broker.limit == "diverged":
        ended, detail, flags = "cancelled", broker.reason, ["diverged"]
    elif broker.limit is not None:
        ended, detail, flags = "limit", broker.limit, [broker.limit]
    elif ran.returncode != 0 or ran.oom:
        what = "out of memory" if ran.oom else f"exit code {ran.returncode}"
        ended, detail = "agent_error", f"{what}: {tail}" if tail else what
    return SessionResult(ended=ended, detail=detail, usage=broker.usage, steps=broker.steps,
                         counters=tuple(sorted(broker.counters.items())), flags=tuple(flags),
                         origins=frozenset(broker.origins), working_s=broker.working_s, fault=broker.fault)  # fmt: skip
