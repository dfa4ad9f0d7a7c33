"""Starting a program behind the model port, and ending it when its session is over."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from harness.port.handler import ModelPort
from harness.seams import ExecResult, Sandbox

GRACE = 10.0
"""Seconds from the end of the session to the end of the program; the port inside uses the first six, less kindly each time."""


async def run_program(
    sandbox: Sandbox,
    argv: Sequence[str],
    port: ModelPort,
    *,
    cwd: str,
    env: Mapping[str, str] | None = None,
    time_limit: float = 300.0,
    sdk: str = "/opt/sdk",
    python: str = "python3",
) -> ExecResult:
    """Run a command behind a model port; `sdk` is where the sandbox has harness/sdk.

    The port inside ends the command once a limit or a fault has ended the session. Where a program has taken the port
    over, this stops listening: close or quiesce the sandbox afterwards, as always. Raises SandboxFault.
    """
    command = [python, "-I", f"{sdk}/model_port.py", "--", *argv]
    serving = asyncio.ensure_future(sandbox.serve(command, port.handle, cwd=cwd, env=env, time_limit=time_limit))
    over = asyncio.ensure_future(port.broker.over.wait())
    try:
        await asyncio.wait({serving, over}, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait({serving}, timeout=GRACE if over.done() else None)
        return serving.result() if serving.done() else ExecResult(returncode=None, output=b"")
    finally:
        over.cancel()
        serving.cancel()
        await asyncio.gather(serving, over, return_exceptions=True)
