"""The bwrap provider: bubblewrap, for Linux without Docker.

Started by root it runs each sandbox as two unprivileged users of its own: one for the in-sandbox agent, one for
untrusted code, which can then neither signal nor open the agent. Started by anybody else both share that user, and the
agent is guarded by being PID 1 and undumpable.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from asyncio.subprocess import PIPE, Process
from pathlib import Path

from harness.errors import MachineError, SandboxFault
from harness.sandboxes import cgroups, jail
from harness.sandboxes.client import Client
from harness.sandboxes.layout import RESERVED_PIDS, memory_limit
from harness.sandboxes.mounts import identity, readable
from harness.sandboxes.pool import WarmPool
from harness.sandboxes.process import ProcessSandbox
from harness.sandboxes.runtime import image_digest
from harness.sandboxes.slots import Slots
from harness.seams import Capabilities, Sandbox, SandboxSpec

START_LIMIT = 30.0
"""Seconds for a start, on a machine that is busy."""


class BwrapSandboxes:
    """Implements seams.Sandboxes. `root`: a full root folder instead of the host's /usr and the task runtime.

    `warm`: how many started, empty sandboxes may wait per kind of spec; 0 for none. `own_user`: whether the in-sandbox
    agent gets a user of its own; by default where it can have one, that is for root.
    """

    name = "bwrap"

    def __init__(
        self, *, root: Path | str | None = None, concurrency: int = 2, warm: int | None = None, own_user: bool = True
    ) -> None:
        self._root = Path(root) if root else None
        self._own_user = own_user and os.geteuid() == 0
        self._starts = asyncio.Semaphore(max(2, os.cpu_count() or 1))
        self._preparing = asyncio.Lock()
        self._ground: jail.Ground | None = None
        self._slots: Slots | None = None
        self._live: set[ProcessSandbox] = set()
        self._pool = WarmPool(self._launch, concurrency if warm is None else warm)

    async def probe(self) -> Capabilities:
        from harness.sandboxes.probe import probe_provider

        return await probe_provider(self, {"kind": "bwrap", "root": str(self._root) if self._root else None})

    async def digest(self) -> str:
        return await asyncio.to_thread(image_digest, self._root)

    async def start(self, spec: SandboxSpec) -> Sandbox:
        """A running sandbox. Raises MachineError when this machine cannot run bubblewrap, SandboxFault otherwise."""
        if spec.image or spec.build or spec.profile != "hardened":
            raise MachineError(
                f"bwrap: cannot give image {spec.image!r} with profile {spec.profile!r}\n"
                "a task that needs its own image needs the docker provider"
            )
        mounts = await asyncio.to_thread(_resolve, spec) if spec.mounts else []
        found = [identity(source) for source, _ in mounts]
        return await self._pool.take(spec, mounts, repr(found))

    async def _prepared(self) -> tuple[jail.Ground, Slots]:
        async with self._preparing:
            if self._ground is None or self._slots is None:
                self._ground = await asyncio.to_thread(jail.prepare, self._root, self._own_user)
                self._slots = Slots()
                # bubblewrap's child outlives its parent when that is killed before it has let it go on (0.8: it waits for ever).
                await asyncio.to_thread(_reap, self._slots)
            return self._ground, self._slots

    async def _launch(self, spec: SandboxSpec, mounts: list[tuple[Path, str]]) -> ProcessSandbox:
        ground, slots = await self._prepared()
        async with self._starts:
            slot = slots.take()
            group = cgroups.make_group(f"s{slot}", memory_limit(spec), spec.pids + RESERVED_PIDS, spec.cpus)
            start = _Start(ground, slots, slot, group)
            try:
                sandbox = await start.run(spec, mounts, self._live)
            except BaseException:
                await asyncio.shield(start.end())
                raise
        self._live.add(sandbox)
        return sandbox

    async def drop(self, image: str) -> None:
        """There are no images here."""

    async def reap(self) -> int:
        """Remove what crashed runs left: control groups and processes of slots that have no owner any more."""
        _, slots = await self._prepared()
        return await asyncio.to_thread(_reap, slots)

    async def close(self) -> None:
        """Close every sandbox that is still there."""
        await self._pool.close()
        await asyncio.gather(*(sandbox.close() for sandbox in list(self._live)))
        if self._slots is not None:
            self._slots.close()
            self._slots = self._ground = None


class _Start:
    """One start, and what it holds: process, slot, control group, handle of the agent."""

    def __init__(self, ground: jail.Ground, slots: Slots, slot: int, group: cgroups.Group | None) -> None:
        self._ground, self._slots, self._slot, self._group = ground, slots, slot, group
        self._spawning: asyncio.Task[Process] | None = None
        self._process: Process | None = None
        self._client: Client | None = None
        self._pidfd = -1
        self._ended = False

    async def run(self, spec: SandboxSpec, mounts: list[tuple[Path, str]], live: set[ProcessSandbox]) -> ProcessSandbox:
        """Start bubblewrap, give it its limits and users while it waits, and hear from the agent."""
        info_r, info_w = os.pipe()
        block_r, block_w = os.pipe()
        # Shielded: asyncio loses a process when its creation is cancelled half-way, and then waits for it for ever.
        self._spawning = asyncio.create_task(self._spawn(spec, mounts, info_w, block_r))
        try:
            process = self._process = await asyncio.shield(self._spawning)
        except BaseException:
            for fd in (info_r, block_w):
                os.close(fd)
            raise
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            async with asyncio.timeout(START_LIMIT):
                self._settle(_child_pid(await _read_all(info_r)))
                if self._ground.own_user:
                    os.write(block_w, b"x")  # it waits for its users; without them it does not
                self._client = Client(process.stdout, process.stdin)
                await asyncio.shield(self._client.hello)
        except TimeoutError:
            raise SandboxFault(f"bwrap: no sandbox within {START_LIMIT:.0f} s") from None
        except (SandboxFault, OSError, _NoChild) as error:
            raise await self._fault(error) from None
        finally:
            os.close(block_w)

        async def end() -> None:
            live.discard(sandbox)
            await self.end()

        oom = self._group.oom_kills if self._group is not None else (lambda: 0)
        sandbox = ProcessSandbox(f"bwrap-{self._slot}", self._client, jail.ENVIRONMENT, spec.workdir, end, oom)
        return sandbox

    async def _spawn(self, spec: SandboxSpec, mounts: list[tuple[Path, str]], info_fd: int, block_fd: int) -> Process:
        agent, _ = self._slots.uids(self._slot)
        line = jail.command(
            self._ground, spec, mounts, info_fd=info_fd, block_fd=block_fd, uid=agent, grouped=self._group is not None
        )
        # setpriv changes the user where it can: subprocess's own `user` forks the whole of a large parent.
        inline = os.geteuid() == 0 and not self._ground.setpriv
        try:
            return await asyncio.create_subprocess_exec(
                *line, stdin=PIPE, stdout=PIPE, stderr=PIPE, env={}, cwd="/", close_fds=True, limit=1 << 20,
                pass_fds=(info_fd, block_fd), user=agent if inline else None, group=agent if inline else None,
                extra_groups=[] if inline else None, start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            raise SandboxFault(f"bwrap: {error}") from None
        finally:
            for fd in (info_fd, block_fd):
                os.close(fd)

    def _settle(self, pid: int) -> None:
        """Limits and users, from outside, before anything of the sandbox runs. Raises OSError."""
        self._pidfd = os.pidfd_open(pid)
        if self._group is not None:
            self._group.add(pid)
        if self._ground.own_user:
            agent, user = self._slots.uids(self._slot)
            for name in ("uid_map", "gid_map"):
                Path(f"/proc/{pid}/{name}").write_text(f"0 {agent} 1\n{jail.USER} {user} 1\n")

    async def _fault(self, error: Exception) -> Exception:
        """What to raise when a start failed, with bubblewrap's last words."""
        process = self._process
        said = ""
        if process is not None and process.stderr is not None:
            self._kill()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(5):
                    said = (await process.stderr.read()).decode("utf-8", "replace").strip()
        line = said.splitlines()[-1] if said else ""
        if isinstance(error, _NoChild):
            return MachineError(barred(line))
        return SandboxFault(f"bwrap: {line or error}")

    async def end(self) -> None:
        """Kill the namespace's PID 1, wait until all of it is gone, then release the rest. Idempotent."""
        if self._ended:
            return
        self._ended = True
        if self._spawning is not None and self._process is None:
            await asyncio.wait({self._spawning})
            self._process = None if self._spawning.exception() else self._spawning.result()
        self._kill()
        if self._client is not None:
            await self._client.close()
        if self._process is not None:
            await _gone(self._process)
        if self._pidfd >= 0:
            os.close(self._pidfd)
        if self._group is not None:
            for _ in range(400):
                if self._group.remove():
                    break
                await asyncio.sleep(0.005)
        self._slots.free(self._slot)

    def _kill(self) -> None:
        """PID 1, and with it the namespace. While that is not known yet: bubblewrap and the child that waits for it."""
        if self._pidfd >= 0:
            with contextlib.suppress(OSError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        elif self._process is not None and self._process.returncode is None:
            with contextlib.suppress(OSError):
                os.killpg(self._process.pid, signal.SIGKILL)


async def _gone(process: Process) -> None:
    """Wait for the monitor: it ends when the namespace has. One that hangs is killed."""
    try:
        async with asyncio.timeout(10):
            await process.wait()
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


class _NoChild(Exception):
    """bubblewrap ended before it had a child."""


def _child_pid(info: bytes) -> int:
    try:
        return int(json.loads(info)["child-pid"])
    except (ValueError, KeyError):
        raise _NoChild from None


async def _read_all(fd: int) -> bytes:
    """A pipe to its end, without a thread that nobody could stop."""
    reader = asyncio.StreamReader()
    with os.fdopen(fd, "rb", 0) as file:
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), file
        )
        try:
            return await reader.read()
        finally:
            transport.close()


def _resolve(spec: SandboxSpec) -> list[tuple[Path, str]]:
    return [(readable(Path(mount.source)), mount.target) for mount in spec.mounts]


def barred(said: str) -> str:
    """What to do where bubblewrap cannot make its namespaces."""
    return (
        f"bubblewrap: cannot make a sandbox here: {said or 'it ended without a word'}\n"
        "user namespaces must be allowed: in a container run it privileged; on Ubuntu 24.04\n"
        "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, or an AppArmor profile for bwrap"
    )


def _reap(slots: Slots) -> int:
    """Clear the groups, then the processes, of slots without an owner."""
    removed = 0
    for name in cgroups.names():
        if name[:1] == "s" and name[1:].isdigit():
            with slots.abandoned(int(name[1:])) as mine:
                removed += mine and cgroups.clear(name)
    for entry in Path("/proc").iterdir() if os.geteuid() == 0 else ():
        with contextlib.suppress(OSError, ValueError):
            slot = slots.slot_of(entry.stat().st_uid) if entry.name.isdigit() else None
            if slot is not None:
                with slots.abandoned(slot) as mine:
                    if mine:
                        os.kill(int(entry.name), signal.SIGKILL)
                        removed += 1
    return removed
