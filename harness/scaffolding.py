"""Does a scaffold start? A boot in a sandbox against a stub that answers its first completion with a closing sentence."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from harness.broker import text_files
from harness.records import Rejection
from harness.scaffold import Scaffold
from harness.seams import Sandboxes
from harness.session import scaffold_spec

BOOT_LIMIT = 20.0


async def boots(sandboxes: Sandboxes, scaffold: Scaffold) -> Rejection | None:
    """None when it asks for a completion and exits well; else a `broken` rejection with the end of what it printed."""
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
