"""A remote engine by ssh: its socket is forwarded to one of ours, by one ssh process that ends with the harness."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import tempfile
import urllib.parse
from asyncio.subprocess import PIPE, Process
from pathlib import Path

from harness.errors import SandboxFault

LIMIT = 30.0
"""Seconds for ssh to log in."""


class Tunnel:
    """A local socket that leads to the engine's on the other machine. Keys and hosts are ssh's own business."""

    def __init__(self, folder: str, process: Process) -> None:
        self._folder, self._process = folder, process
        self.socket = str(Path(folder) / "engine.sock")

    @classmethod
    async def open(cls, url: str) -> Tunnel:
        """Log in to ssh://[user@]host[:port][/path of the socket]. Raises SandboxFault with ssh's last words."""
        parts = urllib.parse.urlsplit(url)
        folder = tempfile.mkdtemp(prefix="selfharness-ssh-")
        line = ["ssh", "-o", "BatchMode=yes", "-o", "ExitOnForwardFailure=yes", "-o", "ServerAliveInterval=15"]
        line += ["-p", str(parts.port)] if parts.port else []
        line += ["-l", parts.username] if parts.username else []
        line += ["-L", f"{folder}/engine.sock:{parts.path if parts.path.strip('/') else '/var/run/docker.sock'}"]
        # The remote command ends when our end of its input does, however the harness ended, and ssh with it.
        line += ["--", parts.hostname or "", "echo ready; cat >/dev/null"]
        try:
            process = await asyncio.create_subprocess_exec(
                *line, stdin=PIPE, stdout=PIPE, stderr=PIPE, start_new_session=True
            )
        except OSError as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise SandboxFault(f"ssh: {error.strerror}") from None
        tunnel = cls(folder, process)
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            async with asyncio.timeout(LIMIT):
                if await process.stdout.readline() != b"ready\n":
                    said = (await process.stderr.read()).decode("utf-8", "replace").strip().splitlines()
                    raise SandboxFault(f"ssh: {said[-1] if said else 'it ended without a word'}")
        except BaseException as error:
            await tunnel.close()
            if isinstance(error, TimeoutError):
                raise SandboxFault(f"ssh: no login in {LIMIT:.0f} s") from None
            raise
        return tunnel

    async def close(self) -> None:
        """End ssh and remove the socket."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._process.pid, 15)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(5):
                await self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)
