"""A sandbox as a process that runs the in-sandbox agent: what all providers here share."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any

from harness.errors import MachineError, SandboxFault
from harness.sandboxes.client import Client
from harness.seams import ExecResult, File, Files, GetLimits, Handler

GRACE = 6.0
"""Seconds that the host waits beyond a command's own time limit before it calls the sandbox broken."""
BATCH = 1 << 20
"""Bytes of files per frame, so that the agent never holds much of them."""
_LOG = logging.getLogger(__name__)


class ProcessSandbox:
    """Implements seams.Sandbox over one agent. `end` kills it and releases what the provider holds for it."""

    def __init__(
        self,
        ident: str,
        client: Client,
        environment: Mapping[str, str],
        workdir: str,
        end: Callable[[], Awaitable[None]],
        oom_kills: Callable[[], int] = lambda: 0,
        root: str = "",
    ) -> None:
        self.id = ident
        self._client = client
        self._environment = dict(environment)
        self._workdir = workdir
        self._end = end
        self._oom_kills = oom_kills
        self._root = root
        self._closing: asyncio.Task[None] | None = None

    @property
    def alive(self) -> bool:
        """Whether the agent is still heard."""
        return self._closing is None and not self._client.ended

    async def ping(self) -> int:
        """Round trip to the agent; its pid inside. Raises SandboxFault."""
        header, _, _ = await self._client.request({"op": "ping"}, time_limit=20)
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
        header = self._command("exec", argv, cwd, env, time_limit, max_output, split_streams)
        return await self._run(header, stdin, None)

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
        return await self._run(self._command("serve", argv, cwd, env, time_limit, max_output, False), b"", handler)

    def _command(
        self,
        op: str,
        argv: Sequence[str],
        cwd: str | None,
        env: Mapping[str, str] | None,
        time_limit: float,
        max_output: int,
        split: bool,
    ) -> dict[str, Any]:
        return {
            "op": op, "argv": list(argv), "cwd": self._at(cwd or self._workdir), "split_streams": split,
            "env": {**self._environment, **(env or {})}, "time_limit": time_limit, "max_output": min(max_output, 32 << 20),
        }  # fmt: skip

    async def _run(self, header: dict[str, Any], stdin: bytes, handler: Handler | None) -> ExecResult:
        before = self._oom_kills()
        try:
            found, body, _ = await self._client.request(
                header, stdin, handler=handler, time_limit=header["time_limit"] + GRACE
            )
        except ValueError as error:
            return ExecResult(returncode=126, output=f"cannot start: {error}\n".encode())
        try:
            return self._finished(header, found, body, before)
        except (KeyError, TypeError, ValueError) as error:
            raise SandboxFault(
                f"the sandbox answered with what is no result: {type(error).__name__}: {error}"
            ) from None

    def _finished(self, header: dict[str, Any], found: dict[str, Any], body: bytes, before: int) -> ExecResult:
        cut = int(found["out"])
        out, err = body[:cut], body[cut:]
        split = bool(header["split_streams"])
        fault = f"\n[{found['fault']}]\n".encode() if found["fault"] else b""
        return ExecResult(
            returncode=found["returncode"],
            output=(err if split else out) + fault,
            stdout=out if split else b"",
            dropped=int(found["dropped"]),
            timed_out=bool(found["timed_out"]),
            oom=bool(found["oom"]) if found.get("oom") is not None else self._oom_kills() > before,
            seconds=float(found["seconds"]),
        )

    async def put(self, files: Files, dest: str, *, trusted: bool = False) -> None:
        """Batched; a large file goes in pieces. Raises SandboxFault (client.Refused with errno where the kernel said no)."""
        listing: list[tuple[str, int, bool, bool]] = []
        batch = bytearray()
        for path, data, executable, append in _pieces(files):
            if len(batch) + len(data) > BATCH or len(listing) >= 500:
                await self._put(listing, batch, dest, trusted)
                listing, batch = [], bytearray()
            listing.append((path, len(data), executable, append))
            batch += data
        await self._put(listing, batch, dest, trusted)

    async def _put(
        self, listing: list[tuple[str, int, bool, bool]], batch: bytearray, dest: str, trusted: bool
    ) -> None:
        header = {"op": "put", "dest": self._at(dest), "files": listing, "trusted": trusted}
        try:
            await self._client.request(header, bytes(batch))
        except ValueError as error:
            raise SandboxFault(f"put: {error}") from None

    async def get(self, root: str, *, limits: GetLimits | None = None) -> dict[str, File]:
        """In order of path. Left out: links, devices, fifos, other file systems, names that are no UTF-8, what is over a cap."""
        caps = limits or GetLimits()
        wanted = {"files": caps.files, "file": caps.file_mb << 20, "total": caps.total_mb << 20}
        found, _, pieces = await self._client.request(
            {"op": "get", "root": self._at(root), "limits": wanted}, room=wanted["total"] + (1 << 20), time_limit=120
        )
        if found.get("truncated"):
            _LOG.warning("%s: %s holds more than may be taken out; the rest was left", self.id, root)
        data: dict[str, bytearray] = {}
        modes: dict[str, bool] = {}
        for header, body in pieces:
            at = 0
            for path, size, executable, _ in header["files"]:
                data.setdefault(_relative(path), bytearray()).extend(body[at : at + size])
                modes[path] = bool(executable)
                at += size
        return {path: File(data=bytes(data[path]), executable=modes[path]) for path in sorted(data)}

    async def quiesce(self) -> int:
        header, _, _ = await self._client.request({"op": "killall"}, time_limit=15)
        return int(header["killed"])

    async def snapshot(self) -> str:
        raise MachineError(
            "this sandbox cannot be kept as an image\nuse the docker provider: --set sandbox.kind=docker"
        )

    async def close(self) -> None:
        if self._closing is None:
            self._closing = asyncio.create_task(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        with contextlib.suppress(Exception):
            await self._end()
        with contextlib.suppress(Exception):
            await self._client.close()

    def _at(self, path: str) -> str:
        """Where a sandbox path lies for the agent: itself, or below a plain folder for the unsafe provider."""
        return self._root + path if self._root and not path.startswith(self._root) else path


def _pieces(files: Files) -> Iterator[tuple[str, bytes, bool, bool]]:
    """(path, bytes, executable, append to what is there)."""
    for path, file in files.items():
        yield path, file.data[:BATCH], file.executable, False
        for at in range(BATCH, len(file.data), BATCH):
            yield path, file.data[at : at + BATCH], file.executable, True


def _relative(path: str) -> str:
    """What the agent names becomes a key and a path on the host, so it is checked. Raises SandboxFault."""
    if any(part in ("", ".", "..") for part in path.split("/")) or "\0" in path:
        raise SandboxFault(f"the sandbox named a file {path!r}")
    return path
