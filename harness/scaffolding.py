"""Does a scaffold start? A boot in a sandbox against a stub that answers its first completion with a closing sentence."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from harness.broker import text_files
from harness.programs import mounts_of
from harness.records import Limits, ModelCall, ModelReply, Rejection, Usage
from harness.scaffold import Scaffold
from harness.seams import Sandboxes, SandboxSpec
from harness.session import run_session, scaffold_spec
from harness.trajectory import Trajectory

BOOT_LIMIT, PROGRAM_BOOT_LIMIT = 20.0, 60.0


async def boots(sandboxes: Sandboxes, scaffold: Scaffold) -> Rejection | None:
    """None when it asks for a completion and exits well; else a `broken` rejection with the end of what it printed."""
    if scaffold.settings.program is not None:
        return await _program_boots(sandboxes, scaffold)
    asked: list[str] = []

    async def stub(header: Mapping[str, Any], body: bytes) -> tuple[Mapping[str, Any], bytes]:
        op = str(header.get("op"))
        asked.append(op)
        limits = {"time_limit": BOOT_LIMIT, "message_limit": 2, "token_limit": 10_000, "cost_limit": None}
        answers: dict[str, dict[str, Any]] = {
            "task": {"instruction": "Say hello.", "workdir": "/app", "step": 0, "limits": limits, "models": ["main"],
                     "contract": 1},
            "complete": {"message": {"role": "assistant", "content": "Hello."}, "finish": "stop",
                         "usage": {"tokens_in": 1, "tokens_out": 1}, "left": {}},
            "exec": {"returncode": 0, "timed_out": False, "dropped": 0, "seconds": 0.0},
            "read": {"size": 0}, "write": {"size": len(body)}, "log": {},
        }  # fmt: skip
        return {
            "id": header.get("id"),
            **answers.get(op, {"error": {"kind": "bad_request", "message": "unknown op"}}),
        }, b""

    home = await sandboxes.start(scaffold_spec("boot"))
    try:
        await home.put(text_files(scaffold.files), "/scaffold")
        ran = await home.serve(list(scaffold.settings.entry), stub, cwd="/scaffold", env={"PYTHONPATH": "/opt/sdk"},
                               time_limit=BOOT_LIMIT)  # fmt: skip
    finally:
        await asyncio.shield(home.close())
    tail = " ".join(ran.output.decode("utf-8", "replace").split())[-300:]
    if ran.returncode != 0:
        how = "did not end" if ran.timed_out else f"ended with exit code {ran.returncode}"
        return Rejection(breach="broken", reason=f"it {how} when it was started: {tail}", where="boot")
    if "complete" not in asked:
        return Rejection(breach="broken", reason=f"it never asked for a completion: {tail}", where="boot")
    return None


class _Greeting:
    """A gateway that always says hello."""

    asked = 0

    async def complete(self, call: ModelCall) -> ModelReply:
        self.asked += 1
        return ModelReply(message={"role": "assistant", "content": "Hello."}, usage=Usage(calls=1, tokens_in=1, tokens_out=1),
                          origin="simulated", served="boot")  # fmt: skip


async def _program_boots(sandboxes: Sandboxes, scaffold: Scaffold) -> Rejection | None:
    """A program need not know how to end on a greeting; it must get as far as asking for a completion."""
    gateway, limits = _Greeting(), Limits(time_limit=PROGRAM_BOOT_LIMIT, message_limit=2)
    mounts = await mounts_of(scaffold, sandboxes) if scaffold.placement == "task" else ()
    box = await sandboxes.start(SandboxSpec(label="boot", memory_mb=1024, mounts=mounts))
    try:
        session = await run_session(
            sandboxes, scaffold, box, gateway, Trajectory("boot", "1", "boot"), instruction="Say hello.", workdir="/app",
            limits=limits, models=("main",), trial="boot", seed=0,
        )  # fmt: skip
    finally:
        await asyncio.shield(box.close())
    if gateway.asked:
        return None
    return Rejection(
        breach="broken",
        reason=f"it never asked for a completion: {session.detail or session.ended}"[:400],
        where="boot",
    )
