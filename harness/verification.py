"""Verification: what the agent left, graded in a fresh sandbox that it never touched.

Quiesce the task's sandbox, collect the declared artefacts with hashes, close it; lay the artefacts into a fresh one,
then the trusted tests over them; run; believe only a result line that starts with the nonce of this verification
(sandbox.md section 7). A late, missing or forged result is never a score.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from dataclasses import dataclass

from harness.digest import folder_files, sha256
from harness.instances import Instance
from harness.records import Artifact, Check, Task
from harness.seams import ExecResult, File, Sandbox, Sandboxes, SandboxSpec
from harness.trajectory import encodable

MAX_LOG = 20_000


@dataclass(frozen=True)
class Verdict:
    """What the verifier said. `score` is None when it said nothing that can be believed (`problem` tells)."""

    score: float | None
    checks: tuple[Check, ...]
    problem: str
    log: str
    """The verifier's own output, for people; never for a proposer."""

    def as_json(self) -> bytes:
        """What verifier.json holds."""
        return json.dumps({"score": self.score, "problem": self.problem, "log": self.log}, indent=1).encode()


def verifier_spec(task: Task, label: str) -> SandboxSpec:
    """The fresh sandbox of a verifier."""
    return SandboxSpec(label=label, workdir=task.workdir, cpus=task.cpus, memory_mb=max(512, task.memory_mb), disk_mb=256,
                       extra_dirs=("/tests", "/logs"))  # fmt: skip


async def collect(task: Task, sandbox: Sandbox) -> dict[str, dict[str, File]]:
    """Quiesce, then the declared artefacts by their root. Raises SandboxFault."""
    await sandbox.quiesce()
    return {root: await sandbox.get(root) for root in task.artifacts}


def artifacts_of(collected: dict[str, dict[str, File]]) -> tuple[Artifact, ...]:
    """Path, hash and size of every collected file."""
    return tuple(
        Artifact(path=f"{root}/{path}", sha256=sha256(file.data), size=len(file.data))
        for root, files in collected.items() for path, file in files.items()
    )  # fmt: skip


async def verify(
    task: Task,
    instance: Instance,
    collected: dict[str, dict[str, File]],
    sandboxes: Sandboxes,
    *,
    label: str,
    sandbox: Sandbox | None = None,
) -> Verdict:
    """Grade collected artefacts. `sandbox` is a started, empty one to use (and close). Raises SandboxFault."""
    home = sandbox or await sandboxes.start(verifier_spec(task, label))
    try:
        for root, files in collected.items():
            if files:
                await home.put(files, root)
        await home.put(tests_of(task, instance), "/tests")
        nonce = secrets.token_hex(16)
        ran = await home.exec(["bash", "/tests/test.sh"], cwd="/tests", stdin=nonce.encode(), split_streams=True,
                              time_limit=task.verifier_time_limit)  # fmt: skip
        return read_verdict(ran, nonce, task.verifier_time_limit)
    finally:
        await asyncio.shield(home.close())


def tests_of(task: Task, instance: Instance) -> dict[str, File]:
    """The trusted side: tests/ with the instance of this seed in place of the checked-in one."""
    files = {path: file for path, file in folder_files(task.folder / "tests").items()
             if not (task.seeded and path.startswith("instance/"))}  # fmt: skip
    if task.seeded:
        files.update({f"instance/{path}": file for path, file in instance.private.items()})
    return files


def read_verdict(ran: ExecResult, nonce: str, limit: float) -> Verdict:
    """The verdict in a verifier's standard output."""
    log = (ran.output.decode("utf-8", "replace") + ran.stdout.decode("utf-8", "replace").replace(nonce, ""))[-MAX_LOG:]
    if ran.timed_out:
        return Verdict(None, (), f"the verifier did not end in {limit:.0f} s", log)
    lines = [line for line in ran.stdout.decode("utf-8", "replace").splitlines() if line.startswith(nonce)]
    if not lines:
        return Verdict(None, (), f"the verifier gave no result (exit code {ran.returncode})", log)
    try:
        result = json.loads(lines[-1].removeprefix(nonce))
        reward = float(result["reward"])
        checks = tuple(
            Check(name=encodable(str(name)), passed=bool(ok)) for name, ok in result.get("checks", {}).items()
        )
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        return Verdict(None, (), f"the verifier's result cannot be read: {error}", log)
    if not 0.0 <= reward <= 1.0:
        return Verdict(None, (), f"the verifier's reward is {reward}", log)
    return Verdict(reward, checks, "", log)


async def close_quietly(sandbox: Sandbox | None) -> None:
    """Close a sandbox that may not be there; shielded from cancellation."""
    if sandbox is not None:
        await asyncio.shield(sandbox.close())
