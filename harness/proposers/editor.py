"""The editor proposer: a trial of a scaffold on the task "improve this scaffold".

The scaffold that does it (`editor`, or the parent itself) runs as every scaffold does: its own sandbox, the broker, the
gateway. Its task's sandbox holds the parent's files in /app/scaffold and the evidence, read-only, at /evidence.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from harness.broker import Gateway, text_files
from harness.errors import InfraError, ProposalError
from harness.paths import RunPaths
from harness.programs import mounts_of
from harness.proposers.manifest import changes_between, read_manifest
from harness.records import Limits, ModelCall, ModelReply, Proposal
from harness.runs import write_atomic
from harness.scaffold import Scaffold, ScaffoldError, to_scaffold, to_text
from harness.seams import File, Mount, RoundContext, Sandbox, Sandboxes, SandboxSpec
from harness.session import SessionResult, run_session
from harness.trajectory import Trajectory

INSTRUCTION = """Improve the scaffold in /app/scaffold.

It is what a language model works in: prompts, tools, the loop, skills, memory, settings. The evidence of what went wrong
with it lies in /evidence (read-only); begin with /evidence/README.md and /evidence/summary.md. Edit the files in
/app/scaffold: one mechanism against one root cause. Then write /app/manifest.toml:

title = "a few words"
mechanism = "what the edit does"
hypothesis = "why it should help, also on tasks that you do not see"
root_cause = "what the trajectories show"
evidence = ["tasks/... or trajectories/... that show it"]
components = ["prompts/system.md"]
predicted_fixes = ["train tasks that should flip to passing"]
predicted_risks = ["train tasks that might break"]
cost_effect = "cheaper, same or dearer"
contract_test = "a shell command that fails on the parent and passes now, if there is one"
"""
REPAIR = """
Your last proposal was refused: {breach}: {reason} ({where}). /app/rejection.md says it again, and your edited files are as
you left them. Repair it, or go another way; then bring /app/manifest.toml up to date.
"""


class _Aliased:
    """The gateway as the proposer's scaffold sees it: its `main` is the experiment's proposer model."""

    def __init__(self, gateway: Gateway, alias: str) -> None:
        self._gateway, self._alias = gateway, alias

    async def complete(self, call: ModelCall) -> ModelReply:
        return await self._gateway.complete(call.model_copy(update={"alias": self._alias}))


class EditorProposer:
    """Implements seams.Proposer. `scaffold` None means the parent edits itself."""

    kind = "editor"

    def __init__(
        self,
        sandboxes: Sandboxes,
        gateway: Gateway,
        paths: RunPaths,
        *,
        scaffold: Scaffold | None,
        alias: str,
        limits: Limits,
    ) -> None:
        self._sandboxes, self._gateway, self._paths = sandboxes, _Aliased(gateway, alias), paths
        self._scaffold, self._alias, self._limits = scaffold, alias, limits

    async def propose(self, context: RoundContext) -> Proposal:
        """One session. Raises ProposalError when it leaves nothing that can be read."""
        begun = time.monotonic()
        spec = SandboxSpec(label=f"proposer r{context.round}", workdir="/app", memory_mb=512, disk_mb=64, pids=128,
                           mounts=(Mount(source=str(context.evidence), target="/evidence"),))  # fmt: skip
        scaffold = self._scaffold or to_scaffold(context.files)
        if scaffold.placement == "task":
            shown = (*spec.mounts, *(await mounts_of(scaffold, self._sandboxes)))
            spec = spec.model_copy(update={"mounts": shown, "memory_mb": 1024, "pids": 256})
        folder = self._paths.proposal(context.round, context.repair)
        trajectory = Trajectory("proposer", "1", self._alias)
        try:
            box = await self._sandboxes.start(spec)
            try:
                session = await self._session(context, box, trajectory)
                trajectory.save(folder / "trajectory.json", f"proposal r{context.round}-{context.repair}")
                left = await self._collect(box, session)
            finally:
                await asyncio.shield(box.close())
        except InfraError as error:
            raise ProposalError(f"the proposer's infrastructure broke: {error}", infra=True) from error
        return self._proposal(context, session, left, folder, time.monotonic() - begun)

    async def _session(self, context: RoundContext, box: Sandbox, trajectory: Trajectory) -> SessionResult:
        start = context.files
        instruction = INSTRUCTION
        if context.rejection is not None:
            refused = context.rejection
            instruction += REPAIR.format(breach=refused.breach, reason=refused.reason, where=refused.where or "-")
            note = f"refused: {refused.breach}\n{refused.reason}\n{refused.where}\n"
            await box.put({"rejection.md": File(data=note.encode())}, "/app")
            if context.previous is not None:
                start = _with_changes(context.files, context.previous)
        await box.put(text_files(start), "/app/scaffold")
        scaffold = self._scaffold or to_scaffold(context.files)
        session = await run_session(
            self._sandboxes, scaffold, box, self._gateway, trajectory, instruction=instruction, workdir="/app",
            limits=self._limits, models=("main",), trial=f"proposal/r{context.round:02d}-{context.repair}", seed=context.seed,
            role="proposer",
        )  # fmt: skip
        if session.ended == "infra":
            raise ProposalError(
                f"the proposer's infrastructure broke: {session.detail}", usage=session.usage, infra=True
            )
        return session

    @staticmethod
    async def _collect(box: Sandbox, session: SessionResult) -> dict[str, File]:
        await box.quiesce()
        left = await box.get("/app")
        if "manifest.toml" not in left:
            ended = f" ({session.detail})" if session.detail else ""
            raise ProposalError(f"the proposer left no /app/manifest.toml{ended}", usage=session.usage)
        return left

    def _proposal(
        self, context: RoundContext, session: SessionResult, left: dict[str, File], folder: Path, seconds: float
    ) -> Proposal:
        try:
            after = {path.removeprefix("scaffold/"): to_text(file.data, path)
                     for path, file in left.items() if path.startswith("scaffold/") and "__pycache__" not in path}  # fmt: skip
            manifest = read_manifest(to_text(left["manifest.toml"].data, "manifest.toml"))
        except ScaffoldError as error:
            raise ProposalError(str(error), usage=session.usage) from None
        except ProposalError as error:
            raise ProposalError(str(error), usage=session.usage) from None
        write_atomic(folder / "manifest.json", manifest.model_dump_json(indent=1).encode())
        return Proposal(manifest=manifest, changes=changes_between(context.files, after), usage=session.usage,
                        wall_s=round(seconds, 3), kind=self.kind, trajectory=f"proposals/{folder.name}/trajectory.json")  # fmt: skip


def _with_changes(files: dict[str, str], proposal: Proposal) -> dict[str, str]:
    after = dict(files)
    for change in proposal.changes:
        if change.text is None:
            after.pop(change.path, None)
        else:
            after[change.path] = change.text
    return after
