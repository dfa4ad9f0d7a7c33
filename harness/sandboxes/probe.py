"""What a provider really enforces here: small attacks in real sandboxes, about a second. Versions prove nothing."""

from __future__ import annotations

import asyncio
import contextlib
import json
import tempfile

from harness.errors import SandboxFault
from harness.seams import Capabilities, Sandbox, Sandboxes, SandboxSpec

SPEC = SandboxSpec(label="probe", workdir="/app", memory_mb=128, disk_mb=16, pids=48)

_SCRIPT = r"""
import ctypes, errno, json, os, resource, socket, sys
found = {}
def attempt(action, *refusals):
    try:
        action()
    except OSError as error:
        return error.errno
    except Exception:
        return -1
    return 0
def connect(address):
    with socket.create_connection(address, 0.3):
        pass
found["net_none"] = sorted(os.listdir("/sys/class/net") if os.path.isdir("/sys/class/net") else ["lo"]) in (["lo"], []) \
    and attempt(lambda: connect(("127.0.0.1", PORT))) != 0
found["ro_root"] = all(attempt(lambda p=p: open(p + "/probe", "w")) for p in ("/", "/usr", "/etc", "/opt"))
found["host_hidden"] = not os.path.exists(SECRET) and not any(os.path.exists(p) and os.listdir(p)
    for p in ("/root", "/home", "/var/log")) and b"SELFHARNESS_PROBE" not in open("/proc/1/environ", "rb").read() \
    if os.access("/proc/1/environ", os.R_OK) else not os.path.exists(SECRET)
def fill():
    with open("/app/big", "wb") as file:
        for _ in range(64):
            file.write(b"x" * (1 << 20))
            file.flush()
found["disk_quota"] = attempt(fill) in (errno.ENOSPC, errno.EFBIG)
os.path.exists("/app/big") and os.unlink("/app/big")
def many():
    for n in range(200000):
        open("/app/f%d" % n, "w").close()
libc = ctypes.CDLL(None, use_errno=True)
found["userns_blocked"] = libc.unshare(0x10000000) != 0
ctypes.set_errno(0)
libc.syscall({"x86_64": 425, "aarch64": 425}.get(os.uname().machine, 425), 1, 0)
found["seccomp"] = ctypes.get_errno() == errno.EPERM
children = []
try:
    for _ in range(400):
        pid = os.fork()
        if not pid:
            import time; time.sleep(5); os._exit(0)
        children.append(pid)
    found["pids_limit"] = False
except OSError:
    found["pids_limit"] = True
for pid in children:
    os.kill(pid, 9)
    os.waitpid(pid, 0)
found["uid_separation"] = attempt(lambda: os.kill(1, 0)) == errno.EPERM
print(json.dumps(found))
"""

_MEMORY = "import os\nfor _ in range(4):\n    if not os.fork():\n        b = bytearray(120 << 20); os._exit(0)\n" \
          "print([os.waitstatus_to_exitcode(os.wait()[1]) for _ in range(4)])"  # fmt: skip


async def probe_provider(provider: Sandboxes) -> Capabilities:
    """Capabilities by trying. Raises MachineError when no sandbox can be started at all."""
    found: dict[str, bool] = {}
    sandbox = await provider.start(SPEC)
    try:
        found.update(await _inside(sandbox))
        found["mem_limit"] = await _memory(sandbox)
        found["tree_kill"] = await _tree(sandbox)
    finally:
        await sandbox.close()
    found["dies_with_parent"] = True if provider.name == "bwrap" else found.get("tree_kill", False)
    notes = []
    if not found.get("uid_separation"):
        notes.append("commands share the uid of the in-sandbox agent, which is PID 1 and undumpable")
    if not found.get("mem_limit"):
        notes.append("no memory limit: this machine delegates no control group")
    notes.append("inodes are bounded by memory only")
    return Capabilities(provider=provider.name, notes=tuple(notes), **found)


async def _inside(sandbox: Sandbox) -> dict[str, bool]:
    server = await asyncio.start_server(lambda _, w: w.close(), "127.0.0.1", 0)
    with tempfile.NamedTemporaryFile(prefix="selfharness-secret-") as secret:
        script = f"PORT = {server.sockets[0].getsockname()[1]}\nSECRET = {secret.name!r}\n{_SCRIPT}"
        done = await sandbox.exec(["python3", "-I", "-c", script], time_limit=20, split_streams=True)
    server.close()
    with contextlib.suppress(ValueError):
        answer = json.loads(done.stdout)
        return {name: bool(value) for name, value in answer.items()}
    raise SandboxFault(f"probe: {done.output.decode('utf-8', 'replace')[-300:]}")


async def _memory(sandbox: Sandbox) -> bool:
    done = await sandbox.exec(["python3", "-I", "-c", _MEMORY], time_limit=20)
    return b"-9" in done.output or done.returncode == -9


async def _tree(sandbox: Sandbox) -> bool:
    """A daemon that ignores SIGTERM must not outlive the deadline of the command that left it."""
    script = "setsid bash -c 'trap \"\" TERM; while :; do sleep 0.1; done' & sleep 30"
    done = await sandbox.exec(["bash", "-c", script], time_limit=0.3)
    left = await sandbox.exec(["bash", "-c", "ls -d /proc/[0-9]* | wc -l"])
    return done.timed_out and int(left.output.split()[0]) <= 4


