"""The trial engine: candidate x unit x attempt in, one outcome out. A bad trial is data, not a crash.

Three sandboxes: the task's, the scaffold's own, and a fresh one for the verifier, which is started while the agent
works. Infrastructure faults are tried again twice, inside the same attempt, and every try leaves its evidence.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from harness.broker import Gateway
from harness.draws import sampling_seed
from harness.errors import InfraError, SandboxFault, UsageError
from harness.foreign import ForeignTrial
from harness.instances import Instance, Instances
from harness.programs import mounts_of
from harness.records import Check, Foreign, Grade, Limits, Origin, Outcome, Step, Task, Trial, TrialSpec, Usage
from harness.rewards import Graded, as_json, combine, score_of
from harness.runs import write_atomic
from harness.scaffold import Scaffold
from harness.seams import Sandbox, Sandboxes, SandboxSpec
from harness.session import SessionResult, home_spec, lowered, run_session, together
from harness.trajectory import Trajectory
from harness.trialstore import Collected, Measured
from harness.verification import artifacts_of, close_quietly, collect, verifier_spec, verify

TRIES = 3


@dataclass(frozen=True)
class TrialSettings:
    """What is equal for all trials of a run."""

    run_seed: int
    limits: Limits
    models: tuple[str, ...]
    model_name: str
    isolation: Grade
    folder: Callable[[str], Path] | None
    """Trial key -> folder for its evidence; None writes nothing."""
    default_origin: Origin = "simulated"
    names: Mapping[str, str] = field(default_factory=dict)
    """Real model names by alias, for programs that ask by name."""
    retry_wait: float = 1.0
    """Seconds before the second try after a broken sandbox; four times that before the third."""


class TrialEngine:
    """Runs trials against one provider and one gateway."""

    def __init__(
        self,
        sandboxes: Sandboxes,
        gateway: Gateway,
        instances: Instances,
        settings: TrialSettings,
        ready: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """`ready` waits, before each try, until models can be asked at all; what it raises ends the run, not the trial."""
        self._sandboxes = sandboxes
        self._gateway = gateway
        self._instances = instances
        self._settings = settings
        self._ready = ready

    async def run(self, spec: TrialSpec, task: Task, scaffold: Scaffold) -> Trial:
        """Measure once. Raises MachineError when this machine cannot run sandboxes at all; never for a bad trial."""
        return (await self.measure(spec, task, scaffold)).trial

    async def measure(self, spec: TrialSpec, task: Task, scaffold: Scaffold) -> Measured:
        """As `run`, with the evidence and what was graded."""
        usage, detail = Usage(), ""
        started = begun = 0.0
        for number in range(1, TRIES + 1):
            if self._ready is not None:
                await self._ready()
            started, begun = started or time.time(), begun or time.monotonic()
            evidence: dict[str, bytes] = {}
            collected: Collected | None = None
            sessions: list[SessionResult] = []
            try:
                trial, collected = await self._once(spec, task, scaffold, number, evidence, sessions)
            except SandboxFault as error:
                trial = self._trial(spec, "infra_error", None, detail=f"{type(error).__name__}: {error}"[:300])
                if number < TRIES:
                    await asyncio.sleep(self._settings.retry_wait * 4 ** (number - 1))
            except InfraError as error:
                trial = self._trial(spec, "infra_error", None, detail=f"{type(error).__name__}: {error}"[:300])
            except UsageError as error:
                trial = self._trial(spec, "task_error", None, detail=str(error)[:300])
            usage = sum((session.usage for session in sessions), usage)  # a try that broke was paid for too
            detail = trial.detail
            if trial.outcome != "infra_error":
                break
        # What shares the task's sandbox shares its user too: the grade says so.
        isolation = max(trial.isolation or "C", "B") if scaffold.placement == "task" else trial.isolation
        trial = trial.model_copy(update={"isolation": isolation, "usage": usage, "detail": detail, "tries": number, "started": started,
                                         "wall_s": round(time.monotonic() - begun, 4)})  # fmt: skip
        self.write(trial, {})
        return Measured(trial, evidence, collected)

    async def grade_again(self, before: Measured, task: Task) -> Measured:
        """The same work under the verifier as it is now; no agent runs. Raises SandboxFault, MachineError."""
        assert before.collected is not None
        instance = await self._instances.get(task, before.trial.spec.seed)
        collected = {root: dict(files) for root, files in before.collected.items()}
        verdict = await verify(task, instance, collected, self._sandboxes, label=f"{before.trial.spec.key} again")
        outcome: Outcome = "scored" if verdict.score is not None else "task_error"
        trial = before.trial.model_copy(
            update={"outcome": outcome, "score": verdict.score, "checks": verdict.checks, "detail": verdict.problem}
        )
        return Measured(trial, {**before.evidence, "verifier.json": verdict.as_json()}, before.collected)

    def write(self, trial: Trial, evidence: Mapping[str, bytes]) -> None:
        """Leave a trial and its evidence in its folder."""
        for name, data in {**evidence, "result.json": trial.model_dump_json(indent=1).encode()}.items():
            self._write(trial.spec.key, name, data)

    async def _once(
        self,
        spec: TrialSpec,
        task: Task,
        scaffold: Scaffold,
        number: int,
        evidence: dict[str, bytes],
        sessions: list[SessionResult],
    ) -> tuple[Trial, Collected | None]:
        """One try; `evidence` and `sessions` are filled also when it raises."""
        label = f"{spec.key} try {number}"
        if task.foreign is not None:
            return await self._foreign(spec, task, scaffold, label, evidence, sessions), None
        instance = await self._instances.get(task, spec.seed)
        task_box, home, fresh = await self._start(task, scaffold, label)
        try:
            await task_box.put(instance.files, task.workdir)
            trajectory = Trajectory(f"scaffold-{scaffold.digest[:12]}", "1", self._settings.model_name)
            session = await self._session(spec, task, scaffold, task_box, home, trajectory)
            sessions.append(session)
            evidence["trajectory.json"] = trajectory.encoded(spec.key, {"ended": session.ended})
            name = "trajectory.json" if number == 1 else f"trajectory-{number}.json"
            self._write(spec.key, name, evidence["trajectory.json"])
            return await self._grade(spec, task, instance, session, task_box, fresh, evidence)
        finally:
            for sandbox in (task_box, home, fresh):
                await close_quietly(sandbox)

    async def _start(self, task: Task, scaffold: Scaffold, label: str) -> tuple[Sandbox, Sandbox | None, Sandbox]:
        """The task's sandbox, the scaffold's where it has one, and the verifier's: at once."""
        specs = [task_spec(task, label), verifier_spec(task, label)]
        if scaffold.placement == "own":
            specs.append(await home_spec(scaffold, self._sandboxes, label))
        else:
            mounts = await mounts_of(scaffold, self._sandboxes)
            specs[0] = specs[0].model_copy(
                update={"mounts": mounts, "pids": 256, "memory_mb": max(1024, task.memory_mb)}
            )
        started = await asyncio.gather(*(self._sandboxes.start(spec) for spec in specs), return_exceptions=True)
        failed = [result for result in started if isinstance(result, BaseException)]
        running = [result for result in started if not isinstance(result, BaseException)]
        if failed:
            for result in running:
                await close_quietly(result)
            raise failed[0]
        return running[0], running[2] if len(running) > 2 else None, running[1]

    async def _foreign(
        self,
        spec: TrialSpec,
        task: Task,
        scaffold: Scaffold,
        label: str,
        evidence: dict[str, bytes],
        sessions: list[SessionResult],
    ) -> Trial:
        """A task as others write them; its sessions share the limits of the trial."""
        assert task.foreign is not None
        mounts = await mounts_of(scaffold, self._sandboxes) if scaffold.placement == "task" else ()
        flow = ForeignTrial(task, self._sandboxes, label, mounts)

        async def act(step: Step, box: Sandbox, workdir: str) -> bool:
            now = task.model_copy(update={"instruction": step.instruction, "workdir": workdir,
                                          "agent_time_limit": step.agent_time_limit})  # fmt: skip
            trajectory = Trajectory(f"scaffold-{scaffold.digest[:12]}", "1", self._settings.model_name)
            session = await self._session(spec, now, scaffold, box, None, trajectory, together(sessions))
            sessions.append(session)
            name = f"steps/{step.name}/trajectory.json" if step.name else "trajectory.json"
            evidence[name] = trajectory.encoded(f"{spec.key}/{step.name}".rstrip("/"), {"ended": session.ended})
            self._write(spec.key, name, evidence[name])
            if session.ended == "infra":
                raise session.fault if isinstance(session.fault, InfraError) else InfraError(session.detail)
            return session.ended in ("exited", "limit")

        graded = await flow.run(act)
        evidence["verifier.json"] = as_json(graded)
        self._write(spec.key, "verifier.json", evidence["verifier.json"])
        trial = self._judged(spec, task.foreign, sessions, graded)
        return trial.model_copy(update={"isolation": max(trial.isolation, task.foreign.grade)})

    def _judged(self, spec: TrialSpec, foreign: Foreign, sessions: list[SessionResult], graded: list[Graded]) -> Trial:
        session = together(sessions)
        assert session is not None
        if session.ended == "cancelled":
            return self._trial(spec, "cancelled", None, session)
        if session.ended in ("agent_error", "time_up"):
            return self._trial(spec, "agent_error" if session.ended == "agent_error" else "time_up", 0.0, session)
        rewards = combine(foreign, graded)
        if rewards is None or graded[-1].rewards is None:
            return self._trial(spec, "task_error", None, session, graded[-1].problem)
        checks = tuple(Check(name=f"{each.step}/{key}".lstrip("/"), passed=value >= 1.0)
                       for each in graded for key, value in (each.rewards or {}).items())  # fmt: skip
        return self._trial(spec, "scored", score_of(rewards), session).model_copy(update={"checks": checks})

    async def _session(
        self,
        spec: TrialSpec,
        task: Task,
        scaffold: Scaffold,
        task_box: Sandbox,
        home: Sandbox | None,
        trajectory: Trajectory,
        before: SessionResult | None = None,
    ) -> SessionResult:
        """One session; `before` is what earlier steps of the same trial have used of its limits."""
        limits = self._settings.limits if before is None else lowered(self._settings.limits, before)
        if task.agent_time_limit is not None:
            limits = limits.model_copy(update={"time_limit": min(limits.time_limit, task.agent_time_limit)})
        return await run_session(
            self._sandboxes, scaffold, task_box, self._gateway, trajectory, instruction=task.instruction,
            workdir=task.workdir, limits=limits, models=self._settings.models, trial=spec.key,
            seed=sampling_seed(self._settings.run_seed, spec.task, spec.seed, spec.attempt), sandbox=home,
            names=self._settings.names,
        )  # fmt: skip

    async def _grade(
        self,
        spec: TrialSpec,
        task: Task,
        instance: Instance,
        session: SessionResult,
        task_box: Sandbox,
        fresh: Sandbox,
        evidence: dict[str, bytes],
    ) -> tuple[Trial, Collected | None]:
        if session.ended == "infra":
            raise session.fault if isinstance(session.fault, InfraError) else InfraError(session.detail)
        if session.ended == "cancelled":
            return self._trial(spec, "cancelled", None, session), None
        collected = await collect(task, task_box)
        artifacts = artifacts_of(collected)
        await close_quietly(task_box)
        if session.ended in ("agent_error", "time_up"):
            outcome: Outcome = "agent_error" if session.ended == "agent_error" else "time_up"
            return self._trial(spec, outcome, 0.0, session).model_copy(update={"artifacts": artifacts}), None
        verdict = await verify(task, instance, collected, self._sandboxes, label=spec.key, sandbox=fresh)
        evidence["verifier.json"] = verdict.as_json()
        self._write(spec.key, "verifier.json", evidence["verifier.json"])
        if verdict.score is None:
            trial = self._trial(spec, "task_error", None, session, verdict.problem)
        else:
            trial = self._trial(spec, "scored", verdict.score, session)
        return trial.model_copy(update={"artifacts": artifacts, "checks": verdict.checks}), collected

    def _trial(
        self,
        spec: TrialSpec,
        outcome: Outcome,
        score: float | None,
        session: SessionResult | None = None,
        detail: str = "",
    ) -> Trial:
        origin = self._settings.default_origin
        if session is not None and len(session.origins) == 1:
            origin = next(iter(session.origins))
        return Trial(
            spec=spec, outcome=outcome, score=score, detail=detail or (session.detail if session else ""),
            flags=session.flags if session else (), usage=session.usage if session else Usage(),
            steps=session.steps if session else 0, counters=session.counters if session else (), origin=origin,
            isolation=self._settings.isolation, sandbox=self._sandboxes.name,
        )  # fmt: skip

    def _write(self, key: str, name: str, data: bytes) -> None:
        if self._settings.folder is not None:
            write_atomic(self._settings.folder(key) / name, data)


def task_spec(task: Task, label: str) -> SandboxSpec:
    """The sandbox in which the agent's commands run. The tests are not there."""
    return SandboxSpec(label=label, workdir=task.workdir, cpus=task.cpus, memory_mb=task.memory_mb, disk_mb=256, pids=128,
                       extra_dirs=("/logs",))  # fmt: skip
