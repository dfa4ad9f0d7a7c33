"""What a container is created with, for each profile. Docker Engine API 1.41, "Create a container".

`hardened`: no network, read-only root, three capabilities for the agent and none for commands, which run under a user id
of their own. `compat`, for foreign images: the image's user and a writable root, the network if it is declared, the
capabilities that package managers use; everything else holds.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from harness.sandboxes import seccomp
from harness.sandboxes.docker.images import Image
from harness.sandboxes.docker.owner import labels
from harness.sandboxes.layout import AGENT_MB, INODES_PER_MB, RESERVED_PIDS, SHM_MB, memory_limit, mode, writable
from harness.seams import SandboxSpec

INSIDE = Path(__file__).resolve().parents[1] / "inside"
_MODULES = ("kernel", "codec", "account", "files", "jobs", "agent")
"""In the order of their imports."""
_AGENT_CAPABILITIES = ("KILL", "SETGID", "SETUID", "NET_ADMIN")
"""The last for the moment in which it brings up the loopback; the agent gives it up before anything else runs."""
_IMAGE_CAPABILITIES = ("KILL", "SETGID", "SETUID", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "NET_BIND_SERVICE")
_MOUNT_MB = 64
_SYSCTLS = {"kernel.shmall": "8192", "kernel.msgmni": "16", "kernel.shmmni": "64", "kernel.sem": "250 8000 32 32",
            "fs.mqueue.queues_max": "16"}  # fmt: skip
"""System V and POSIX objects outlive their processes, and only the namespace bounds them."""

BOOTSTRAP = """
import os, sys
def read(size):
    data = b""
    while len(data) < size:
        piece = os.read(0, size - len(data))
        if not piece:
            os._exit(1)
        data += piece
    return data
if sys.version_info < (3, 8):
    sys.exit("Python %d.%d is too old" % sys.version_info[:2])
config, sources = eval(read(int.from_bytes(read(4), "big")).decode())
module = type(sys)
package = sys.modules["inside"] = module("inside")
package.__path__ = []
for name, source in sources:
    inner = sys.modules["inside." + name] = module("inside." + name)
    inner.__package__ = "inside"
    setattr(package, name, inner)
    exec(compile(source, name + ".py", "exec"), inner.__dict__)
sys.argv = ["agent", config]
sys.modules["inside.agent"].main()
"""
"""Reads the agent from standard input, so that images need hold nothing of ours and hosts share no folder."""


def container(spec: SandboxSpec, image: Image, uid: int, targets: tuple[str, ...]) -> dict[str, Any]:
    """The whole configuration. `targets`: folders that hold copies of host folders, written by the agent alone."""
    hardened = spec.profile == "hardened"
    memory = (memory_limit(spec) if hardened else spec.memory_mb + SHM_MB + _MOUNT_MB * len(targets) + AGENT_MB) << 20
    folders = writable(spec) if hardened else {"/dev/shm": SHM_MB}
    tmpfs = {path: _tmpfs(mb, mode(path), uid if hardened else 0) for path, mb in folders.items()}
    tmpfs["/dev/shm"] = _tmpfs(SHM_MB, "1777", 0)
    tmpfs.update({target: _tmpfs(_MOUNT_MB, "0755", 0) for target in targets})
    host = {
        "NetworkMode": "bridge" if spec.network == "public" else "none",
        "ReadonlyRootfs": hardened,
        "Privileged": False,
        "CapDrop": ["ALL"],
        "CapAdd": list(_AGENT_CAPABILITIES if hardened else _IMAGE_CAPABILITIES),
        "SecurityOpt": ["no-new-privileges"],
        "PidsLimit": spec.pids + RESERVED_PIDS,
        "Memory": memory,
        "MemorySwap": memory,
        "NanoCpus": int(spec.cpus * 1e9),
        "Ulimits": [{"Name": "core", "Soft": 0, "Hard": 0}],
        "LogConfig": {"Type": "none"},
        "IpcMode": "none",
        "Sysctls": _SYSCTLS,
        "Tmpfs": tmpfs,
        "AutoRemove": True,
        "RestartPolicy": {"Name": "no"},
    }
    return {
        # A namespace without the engine's own network machinery: a start takes half the time (80 against 165 ms).
        "NetworkDisabled": hardened,
        "Image": image.id, "Hostname": "sandbox", "User": "0:0", "WorkingDir": "/", "Labels": labels(spec.label),
        "Entrypoint": [*image.python, "-I", "-S", "-c", BOOTSTRAP], "Cmd": [], "Healthcheck": {"Test": ["NONE"]},
        "OpenStdin": True, "StdinOnce": True, "AttachStdin": True, "AttachStdout": True, "AttachStderr": True, "Tty": False,
        "StopSignal": "SIGKILL", "HostConfig": host,
    }  # fmt: skip


def _tmpfs(mb: int, permissions: str, uid: int) -> str:
    return f"rw,exec,nosuid,nodev,size={mb}m,nr_inodes={mb * INODES_PER_MB},mode={permissions},uid={uid},gid={uid}"


def agent(spec: SandboxSpec, image: Image, uid: int) -> bytes:
    """What the bootstrap reads: the agent's configuration and sources, with their length in front."""
    config: dict[str, Any] = {"engine": True, "pids": spec.pids, "fsize": spec.disk_mb << 20}
    hardened = spec.profile == "hardened"
    if (code := seccomp.program(image.machine, shared_memory=True, tracing=not hardened)) is not None:
        config["filter"] = code.hex()
    if hardened:
        config |= {"uid": uid, "loopback": True}
    else:
        config["user"] = image.user if spec.user is None else spec.user
        config["folders"] = [[spec.workdir or image.workdir, 0o755], *([path, 0o777] for path in spec.extra_dirs)]
    text = repr((json.dumps(config), [(name, (INSIDE / f"{name}.py").read_text()) for name in _MODULES])).encode()
    return len(text).to_bytes(4, "big") + text


def environment(spec: SandboxSpec, image: Image) -> dict[str, str]:
    """The variables of commands: the image's own, and ours where the profile decides."""
    found = dict(image.environment)
    found.setdefault("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    found.setdefault("LANG", "C.UTF-8")
    if spec.profile == "hardened":
        if image.runtime:
            found["PATH"] = "/opt/runtime/bin:" + found["PATH"].removeprefix("/opt/runtime/bin:")
        found |= {"HOME": "/tmp", "TMPDIR": "/tmp", "USER": "agent", "PYTHONDONTWRITEBYTECODE": "1"}
    return found | dict(spec.env)
