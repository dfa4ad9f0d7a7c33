"""What a provider really enforces here: small attacks in real sandboxes, about a second. Versions prove nothing."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from harness.errors import SandboxFault
from harness.seams import Capabilities, Sandbox, Sandboxes, SandboxSpec

SPEC = SandboxSpec(label="probe", workdir="/app", memory_mb=128, disk_mb=16, pids=48)
_FIELDS = ("net_none", "pids_limit", "disk_quota", "inode_quota", "ro_root", "uid_separation", "seccomp", "userns_blocked",
           "host_hidden")  # fmt: skip

_SCRIPT = r"""
import ctypes, errno, json, os, socket
found = {}
def refused(action):
    try:
        action()
    except OSError as error:
        return error.errno
    return 0
def connect(family, address):
    with socket.socket(family) as s:
        s.settimeout(0.5)
        s.connect(address)
found["net_none"] = bool(refused(lambda: connect(socket.AF_INET, ("127.0.0.1", PORT)))) \
    and bool(refused(lambda: connect(socket.AF_UNIX, ABSTRACT)))
found["ro_root"] = all(refused(lambda: open(p + "/probe", "w")) for p in ("/", "/usr", "/etc", "/opt", "/dev"))
def environment_of(pid):
    try:
        with open("/proc/%s/environ" % pid, "rb") as file:
            return {item.partition(b"=")[0].decode("utf-8", "replace") for item in file.read().split(b"\0")}
    except OSError:
        return set()
others = [p for p in os.listdir("/proc") if p.isdigit() and int(p) != os.getpid()]
found["host_hidden"] = not os.path.exists(SECRET) and not any(environment_of(p) & set(HOST_ENV) for p in others)
def fill():
    with open("/app/big", "wb") as file:
        for _ in range(64):
            file.write(b"x" * (1 << 20))
            file.flush()
found["disk_quota"] = refused(fill) in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)
if os.path.exists("/app/big"):
    os.unlink("/app/big")
def many():
    for n in range(20000):
        os.close(os.open("/dev/shm/f%d" % n, os.O_CREAT | os.O_WRONLY))
found["inode_quota"] = refused(many) in (errno.ENOSPC, errno.EDQUOT)
libc = ctypes.CDLL(None, use_errno=True)
found["userns_blocked"] = libc.unshare(0x10000000) != 0
ctypes.set_errno(0)
libc.syscall(425, 1, 0)  # io_uring_setup: EPERM by a filter, EFAULT without
found["seccomp"] = ctypes.get_errno() in (errno.EPERM, errno.ENOSYS)
found["uid_separation"] = refused(lambda: os.kill(1, 0)) == errno.EPERM
children = []
def bomb():
    for _ in range(400):
        pid = os.fork()
        if not pid:
            signal_wait()
        children.append(pid)
def signal_wait():
    import time
    time.sleep(20)
    os._exit(0)
found["pids_limit"] = refused(bomb) == errno.EAGAIN
for pid in children:
    os.kill(pid, 9)
    os.waitpid(pid, 0)
print(json.dumps(found))
"""

_MEMORY = r"""
import os, select
ready, told = os.pipe()
children = []
for _ in range(4):
    pid = os.fork()
    if not pid:
        b = bytearray(120 << 20)
        os.write(told, b"x")
        select.select([], [], [], 20)  # it keeps what it has: together they must not fit
        os._exit(0)
    children.append(pid)
holding = 0
killed = False
while holding < 4 and not killed:
    if select.select([ready], [], [], 0.01)[0]:
        holding += len(os.read(ready, 4))
    pid, status = os.waitpid(-1, os.WNOHANG)
    killed = pid > 0 and status & 0x7F == 9
print("limited" if killed else "free")
for pid in children:
    try:
        os.kill(pid, 9)
    except OSError:
        pass
"""

_ORPHAN = r"""
import asyncio, json, sys
from harness.sandboxes import open_provider
from harness.sandboxes.probe import SPEC
async def main():
    options = json.loads(sys.argv[1])
    sandbox = await open_provider(options.pop("kind"), concurrency=0, **options).start(SPEC)
    print(sandbox.id, flush=True)
    await sandbox.exec(["sleep", sys.argv[2]], time_limit=60)
asyncio.run(main())
"""

Alive = Callable[[str], Awaitable[bool]]
"""Whether a sandbox of this id still has a process."""


async def probe_provider(
    provider: Sandboxes,
    opening: Mapping[str, object],
    alive: Alive | None = None,
    environment: Mapping[str, str] | None = None,
) -> Capabilities:
    """Capabilities by trying. Raises MachineError when no sandbox can be started at all, SandboxFault when one breaks.

    `opening`, `environment`: how another process opens the same provider (open_provider's arguments). `alive`: for providers whose
    processes are not this machine's.
    """
    sandbox = await provider.start(SPEC)
    orphan = asyncio.create_task(_again(lambda: _dies_with_parent(opening, alive, environment or {})))
    try:
        found = await _inside(sandbox)
        found["mem_limit"] = await _memory(sandbox)
        found["tree_kill"] = await _again(lambda: _tree(sandbox))
        found["dies_with_parent"] = await orphan
    finally:
        orphan.cancel()
        await asyncio.gather(orphan, sandbox.close(), return_exceptions=True)
    return Capabilities(provider=provider.name, notes=_notes(found), **found)


async def _again(tried: Callable[[], Awaitable[bool]]) -> bool:
    """What is a matter of seconds gets three tries: a busy machine must not change a run's grade."""
    for _ in range(3):
        if await tried():
            return True
    return False


def _notes(found: dict[str, bool]) -> tuple[str, ...]:
    missing = {
        "uid_separation": "commands share the uid of the in-sandbox agent, which is PID 1 and undumpable; "
        "started by root, each gets a user of its own",
        "mem_limit": "no memory limit: this machine delegates no control group",
        "inode_quota": "the number of files is bounded by memory only",
        "seccomp": "no system call filter for this architecture",
    }
    return tuple(note for name, note in missing.items() if not found[name])


async def _inside(sandbox: Sandbox) -> dict[str, bool]:
    with _targets() as values:
        script = "".join(f"{name} = {value!r}\n" for name, value in values.items()) + _SCRIPT
        done = await sandbox.exec(["python3", "-I", "-c", script], time_limit=30, split_streams=True)
    with contextlib.suppress(ValueError):
        answer = json.loads(done.stdout)
        return {name: bool(answer[name]) for name in _FIELDS}
    raise SandboxFault(f"probe: {done.output.decode('utf-8', 'replace')[-300:]}")


@contextmanager
def _targets() -> Iterator[dict[str, object]]:
    """Things on the host that a sandbox must not reach: a port, an abstract socket, a file, the environment."""
    name = "\0selfharness-" + secrets.token_hex(8)
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.socket(socket.AF_UNIX) as abstract,
        tempfile.NamedTemporaryFile(prefix="selfharness-probe-") as secret,
    ):
        abstract.bind(name)
        abstract.listen()
        hidden = [key for key in os.environ if key not in ("PATH", "HOME", "LANG", "TMPDIR", "USER")]
        yield {"PORT": server.getsockname()[1], "ABSTRACT": name, "SECRET": secret.name, "HOST_ENV": hidden}


async def _memory(sandbox: Sandbox) -> bool:
    done = await sandbox.exec(["python3", "-I", "-c", _MEMORY], time_limit=20)
    return b"limited" in done.output or done.returncode == -9


async def _tree(sandbox: Sandbox) -> bool:
    """A daemon that ignores SIGTERM must not outlive the deadline of the command that left it."""
    script = "setsid bash -c 'trap \"\" TERM; while :; do sleep 0.1; done' & sleep 30"
    done = await sandbox.exec(["bash", "-c", script], time_limit=0.2)
    return done.timed_out and await sandbox.quiesce() == 0


async def _dies_with_parent(opening: Mapping[str, object], alive: Alive | None, environment: Mapping[str, str]) -> bool:
    """Start a sandbox in another process, kill that process, and look for what ran in the sandbox."""
    marker = f"5{secrets.randbelow(10**8):08d}.25"
    path = os.pathsep.join([str(Path(__file__).resolve().parents[2]), *filter(None, sys.path)])
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _ORPHAN, json.dumps(opening), marker, stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL, env={**os.environ, **environment, "PYTHONPATH": path},
    )  # fmt: skip
    assert process.stdout is not None

    async def running() -> bool:
        return await alive(ident) if alive is not None else bool(_running(marker))

    try:
        async with asyncio.timeout(20):
            ident = (await process.stdout.readline()).decode().strip()
        if not ident or not await _until(running, True, 5.0):
            return False
        process.send_signal(signal.SIGKILL)
        return await _until(running, False, 2.0)
    except TimeoutError:
        return False
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _until(asked: Callable[[], Awaitable[bool]], wanted: bool, limit: float) -> bool:
    end = time.monotonic() + limit
    while await asked() is not wanted:
        if time.monotonic() > end:
            return False
        await asyncio.sleep(0.02)
    return True


def _running(marker: str) -> list[int]:
    """Processes of this machine that are exactly `sleep marker`."""
    wanted, found = f"sleep\0{marker}\0".encode(), []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if (entry / "cmdline").read_bytes() == wanted:
                    found.append(int(entry.name))
    return found
