"""The bwrap provider: bubblewrap, for Linux without Docker (research in sandbox.md section 5; bwrap(1)).

Started by root it drops to an unprivileged user of its own per live sandbox first, because a user namespace whose outer
uid is 0 can write /proc/sys. The environment is empty, so /proc/1/environ has nothing to show. Root is the host's /usr
read-only with a fresh dozen of files in /etc, or a full root that the experiment names.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from harness.errors import MachineError, SandboxFault
from harness.sandboxes import cgroups, seccomp
from harness.sandboxes.process import ProcessSandbox
from harness.sandboxes.runtime import ensure_runtime, readable_copy
from harness.seams import Capabilities, Sandbox, SandboxSpec

AGENT = Path(__file__).with_name("agent.py")
FIRST_UID = 20_000
SLOTS = 4_000
PATH = "/opt/runtime/bin:/usr/bin:/bin"
ETC = {
    "passwd": "root:x:0:0:root:/:/usr/sbin/nologin\nagent:x:{uid}:{uid}:agent:/tmp:/bin/bash\n",
    "group": "root:x:0:\nagent:x:{uid}:\n",
    "hosts": "127.0.0.1 localhost\n::1 localhost\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
    "resolv.conf": "",
    "hostname": "sandbox\n",
    "shells": "/bin/sh\n/bin/bash\n",
    "protocols": "tcp 6 TCP\nudp 17 UDP\n",
    "services": "http 80/tcp\nhttps 443/tcp\n",
    "os-release": "NAME=sandbox\nID=sandbox\n",
}


class BwrapSandboxes:
    """Implements seams.Sandboxes. `root`: a full root folder instead of the host's /usr and the task runtime."""

    name = "bwrap"

    def __init__(self, *, root: str | None = None, concurrency: int = 2) -> None:
        self._root = Path(root) if root else None
        self._starts = asyncio.Semaphore(max(2, os.cpu_count() or 1))
        self._live: dict[str, Sandbox] = {}
        self._slots: Iterator[int] = itertools.cycle(range(SLOTS))
        self._used: set[int] = set()
        self._etc: Path | None = None
        self._concurrency = concurrency

    async def probe(self) -> Capabilities:
        from harness.sandboxes.probe import probe_provider

        return await probe_provider(self)

    async def start(self, spec: SandboxSpec) -> Sandbox:
        """A running sandbox. Raises MachineError when this machine cannot run bubblewrap, SandboxFault otherwise."""
        if spec.image or spec.profile != "hardened":
            raise MachineError(f"bwrap: cannot give image {spec.image!r} with profile {spec.profile!r}; the docker provider can")
        async with self._starts:
            slot = self._slot()
            try:
                return await self._launch(spec, slot)
            except BaseException:
                self._used.discard(slot)
                raise

    def _slot(self) -> int:
        """A number, and with it a uid, that no live sandbox of this process has. Processes start at different ones."""
        offset = os.getpid() * 37
        slot = next(n for n in (((i + offset) % SLOTS) for i in self._slots) if n not in self._used)
        self._used.add(slot)
        return slot

    async def _launch(self, spec: SandboxSpec, slot: int) -> Sandbox:
        uid = FIRST_UID + slot if os.geteuid() == 0 else os.geteuid()
        ident = f"{os.getpid()}-{slot}"
        info_r, info_w = os.pipe()
        filter_fd = seccomp.filter_descriptor()
        passed = [info_w, *([filter_fd] if filter_fd is not None else [])]
        command = self._command(spec, uid, info_w, filter_fd)
        group = cgroups.make_group(ident, spec.memory_mb + spec.disk_mb, spec.pids)
        try:
            process = await asyncio.create_subprocess_exec(
                *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
                env={}, close_fds=True, pass_fds=passed, cwd="/", limit=1 << 20,
                **({"user": uid, "group": uid, "extra_groups": []} if os.geteuid() == 0 else {}),
            )  # fmt: skip
        except FileNotFoundError:
            os.close(info_r)
            raise MachineError(missing_bwrap()) from None
        finally:
            for fd in passed:
                os.close(fd)
        sandbox = self._adopt(spec, process, ident, slot, group)
        try:
            await self._settle(process, sandbox, info_r, group)
        except BaseException:
            await sandbox.close()
            raise
        self._live[ident] = sandbox
        return sandbox

    def _adopt(
        self, spec: SandboxSpec, process: asyncio.subprocess.Process, ident: str, slot: int, group: cgroups.Group | None
    ) -> ProcessSandbox:
        async def release() -> None:
            self._live.pop(ident, None)
            self._used.discard(slot)
            if group is not None:
                group.remove()

        environment = {"PATH": PATH, "HOME": "/tmp", "LANG": "C.UTF-8", "TMPDIR": "/tmp", "PYTHONDONTWRITEBYTECODE": "1"}
        oom = group.oom_kills if group is not None else (lambda: 0)
        return ProcessSandbox(ident, process, environment, spec.workdir, release, oom)

    @staticmethod
    async def _settle(
        process: asyncio.subprocess.Process, sandbox: ProcessSandbox, info_r: int, group: cgroups.Group | None
    ) -> None:
        """Learn the agent's pid, put it under the limits, and hear from it; say what bubblewrap said if it failed."""
        info = await asyncio.to_thread(_read_all, info_r)
        try:
            pid = int(json.loads(info)["child-pid"])
        except (ValueError, KeyError):
            said = (await process.stderr.read()).decode("utf-8", "replace").strip() if process.stderr else ""
            await process.wait()
            raise MachineError(barred(said)) from None
        if group is not None:
            try:
                group.add(pid)
            except OSError as error:
                raise SandboxFault(f"bwrap: the sandbox ended while it started: {error}") from None
        await sandbox.ping()

    def _command(self, spec: SandboxSpec, uid: int, info_fd: int, filter_fd: int | None) -> list[str]:
        size = str(spec.disk_mb << 20)
        command = [bwrap_path(), "--unshare-all", "--unshare-user", *_disable_userns(), "--uid", str(uid), "--gid", str(uid),
                   "--die-with-parent", "--new-session", "--as-pid-1", "--cap-drop", "ALL", "--clearenv",
                   "--hostname", "sandbox", "--info-fd", str(info_fd)]  # fmt: skip
        if filter_fd is not None:
            command += ["--seccomp", str(filter_fd)]
        command += self._base(uid)
        command += ["--proc", "/proc", "--dev", "/dev", "--size", str(32 << 20), "--tmpfs", "/dev/shm", "--remount-ro", "/dev"]
        for folder in dict.fromkeys(("/tmp", spec.workdir, *spec.extra_dirs)):
            command += ["--size", size, "--perms", "0755" if folder != "/tmp" else "1777", "--tmpfs", folder]
        for mount in spec.mounts:
            command += ["--ro-bind", str(readable_copy(Path(mount.source))), mount.target]
        command += ["--ro-bind", str(readable_copy(AGENT.parent) / AGENT.name), "/opt/agent.py", "--remount-ro", "/"]
        return [*command, "--chdir", "/", "/usr/bin/python3", "-I", "-S", "/opt/agent.py", str(spec.pids), str(spec.disk_mb)]

    def _base(self, uid: int) -> list[str]:
        if self._root is not None:
            return ["--ro-bind", str(self._root), "/"]
        found = ["--ro-bind", "/usr", "/usr"]
        for name in ("bin", "sbin", "lib", "lib64", "lib32"):
            if Path("/", name).is_symlink():
                found += ["--symlink", f"usr/{name}", f"/{name}"]
            elif Path("/", name).is_dir():
                found += ["--ro-bind", f"/{name}", f"/{name}"]
        etc = self._make_etc()
        found += ["--ro-bind", str(etc), "/etc"]
        runtime = ensure_runtime()
        return [*found, "--ro-bind", str(runtime), "/opt/runtime"]

    def _make_etc(self) -> Path:
        """A fresh /etc of a dozen files; alternatives are copied because /usr/bin points into them."""
        if self._etc is None:
            self._etc = Path(tempfile.mkdtemp(prefix="selfharness-etc-"))
            self._etc.chmod(0o755)
            for name, text in ETC.items():
                (self._etc / name).write_text(text.replace("{uid}", "65534"))
            for name in ("ld.so.cache", "alternatives"):
                source = Path("/etc", name)
                if source.is_dir():
                    shutil.copytree(source, self._etc / name, symlinks=True)
                elif source.is_file():
                    shutil.copyfile(source, self._etc / name)
        return self._etc

    async def reap(self) -> int:
        """Sandboxes die with their parent; what can be left are empty control groups and folders in /tmp."""
        removed = cgroups.leftovers()
        for folder in Path(tempfile.gettempdir()).glob("selfharness-etc-*"):
            if folder != self._etc:
                shutil.rmtree(folder, ignore_errors=True)
                removed += 1
        return removed

    async def close(self) -> None:
        for sandbox in list(self._live.values()):
            await sandbox.close()
        if self._etc is not None:
            shutil.rmtree(self._etc, ignore_errors=True)
            self._etc = None


@lru_cache(maxsize=1)
def _bwrap_help() -> str:
    import subprocess

    return subprocess.run([bwrap_path(), "--help"], capture_output=True, text=True, check=False).stdout


def _disable_userns() -> list[str]:
    return ["--disable-userns"] if "--disable-userns" in _bwrap_help() else []


def bwrap_path() -> str:
    """Where bubblewrap is. Raises MachineError."""
    found = shutil.which("bwrap")
    if found is None:
        raise MachineError(missing_bwrap())
    return found


def missing_bwrap() -> str:
    """What to do without bubblewrap."""
    return ("bubblewrap: not found, and sandboxes of kind bwrap need it\n"
            "install it: apt-get install bubblewrap   (Fedora: dnf install bubblewrap)")  # fmt: skip


def barred(said: str) -> str:
    """What to do where bubblewrap cannot make its namespaces."""
    line = said.splitlines()[-1] if said else "it ended without a word"
    return (f"bubblewrap: cannot make a sandbox here: {line}\n"
            "user namespaces must be allowed: in a container run it privileged; on Ubuntu 24.04\n"
            "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, or an AppArmor profile for bwrap")  # fmt: skip


def _read_all(fd: int) -> bytes:
    with os.fdopen(fd, "rb") as file:
        return file.read()
