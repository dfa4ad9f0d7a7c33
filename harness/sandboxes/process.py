"""A sandbox as a process that runs the in-sandbox agent: what all providers here share."""

from __future__ import annotations

import asyncio
import contextlib
from asyncio.subprocess import Process
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from harness.errors import SandboxFault
from harness.sandboxes.frames import Client
from harness.seams import ExecResult, File, Files, GetLimits, Handler

GRACE = 5.0
"""Seconds that the host waits beyond a command's own time limit before it calls the sandbox broken."""
BATCH = 32 << 20


class ProcessSandbox:
    """Implements seams.Sandbox over one agent process. `on_close` releases what the provider holds for it."""

    def __init__(
        self,
        ident: str,
        process: Process,
        environment: Mapping[str, str],
        workdir: str,
        on_close: Callable[[], Awaitable[None]],
        oom_kills: Callable[[], int] = lambda: 0,
        root: str = "",
    ) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.id = ident
        self._process = process
        self._client = Client(process.stdout, process.stdin)
        self._environment = dict(environment)
        self._workdir = workdir
        self._on_close = on_close
        self._oom_kills = oom_kills
        self._root = root
        self._closed = False

    async def ping(self) -> int:
        """Round trip to the agent; its pid inside. Raises SandboxFault."""
        header, _ = await self._client.request({"op": "ping"}, time_limit=20)
        return int(header["pid"])

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
        return await self._run("exec", argv, cwd, env, stdin, time_limit, max_output, split_streams, None)

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
        return await self._run("serve", argv, cwd, env, b"", time_limit, max_output, False, handler)

    async def _run(
        self,
        op: str,
        argv: Sequence[str],
        cwd: str | None,
        env: Mapping[str, str] | None,
        stdin: bytes,
        time_limit: float,
        max_output: int,
        split: bool,
        handler: Handler | None,
    ) -> ExecResult:
        header: dict[str, Any] = {
            "op": op, "argv": list(argv), "cwd": self._at(cwd or self._workdir), "split_streams": split,
            "env": {**self._environment, **(env or {})}, "time_limit": time_limit, "max_output": max_output,
        }  # fmt: skip
        before = self._oom_kills()
        found, body = await self._client.request(header, stdin, handler=handler, time_limit=time_limit + GRACE)
        cut = int(found["out"])
        out, err = body[:cut], body[cut:]
        return ExecResult(
            returncode=found["returncode"],
            output=err if split else out,
            stdout=out if split else b"",
            dropped=int(found["dropped"]),
            timed_out=bool(found["timed_out"]),
            oom=self._oom_kills() > before,
            seconds=float(found["seconds"]),
        )

    async def put(self, files: Files, dest: str) -> None:
        batch: dict[str, File] = {}
        size = 0
        for path, file in files.items():
            if batch and size + len(file.data) > BATCH:
                await self._put(batch, dest)
                batch, size = {}, 0
            batch[path] = file
            size += len(file.data)
        await self._put(batch, dest)

    async def _put(self, files: Files, dest: str) -> None:
        listing = [[path, len(file.data), file.executable] for path, file in files.items()]
        body = b"".join(file.data for file in files.values())
        await self._client.request({"op": "put", "dest": self._at(dest), "files": listing}, body, time_limit=120)

    async def get(self, root: str, *, limits: GetLimits | None = None) -> dict[str, File]:
        caps = limits or GetLimits()
        wanted = {"files": caps.files, "file": caps.file_mb << 20, "total": caps.total_mb << 20}
        found, body = await self._client.request({"op": "get", "root": self._at(root), "limits": wanted}, time_limit=120)
        files: dict[str, File] = {}
        at = 0
        for path, size, executable in found["files"]:
            _check_relative(path)
            files[path] = File(data=body[at : at + size], executable=bool(executable))
            at += size
        return files

    async def quiesce(self) -> int:
        header, _ = await self._client.request({"op": "killall"}, time_limit=15)
        return int(header["killed"])

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        await asyncio.shield(self._end())

    async def _end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._client.close()
        await self._process.wait()
        await self._on_close()

    def _at(self, path: str) -> str:
        """Where a sandbox path lies for the agent: itself, or below a plain folder for the unsafe provider."""
        return self._root + path if self._root else path


def _check_relative(path: str) -> None:
    """The agent is trusted, but only as far as it must be: what it names is used as a key and as a path."""
    parts = path.split("/")
    if path.startswith("/") or any(part in ("", ".", "..") for part in parts):
        raise SandboxFault(f"the sandbox named a file {path!r}")
