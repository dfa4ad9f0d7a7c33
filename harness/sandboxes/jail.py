"""What a bubblewrap sandbox is made of: the command line, a fresh /etc, the agent's folder, the writable folders.

Settings and the measurements behind them: bwrap(1); a user namespace whose outer uid is 0 can write /proc/sys, so the
outer uid is never 0; `--dev` is writable until it is remounted; `--clearenv` alone leaves the monitor's environment in
/proc/1/environ, so bwrap itself gets an empty one.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import MachineError
from harness.hashing import digest_json, sha256
from harness.sandboxes import seccomp
from harness.sandboxes.cache import cache_root, install
from harness.sandboxes.layout import INODES_PER_MB, mode, writable
from harness.sandboxes.runtime import PYTHON, ensure_runtime
from harness.seams import SandboxSpec

INSIDE = Path(__file__).with_name("inside")
USER = 1000
"""Untrusted code's uid and gid inside, whatever they are outside."""
ENVIRONMENT = {
    "PATH": "/opt/runtime/bin:/usr/bin:/bin", "HOME": "/tmp", "TMPDIR": "/tmp", "LANG": "C.UTF-8", "USER": "agent",
    "PYTHONDONTWRITEBYTECODE": "1",
}  # fmt: skip
_ETC = {
    "passwd": "root:x:0:0:root:/:/usr/sbin/nologin\nagent:x:1000:1000:agent:/tmp:/bin/bash\n"
    "nobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n",
    "group": "root:x:0:\nagent:x:1000:\nnogroup:x:65534:\n",
    "hosts": "127.0.0.1 localhost sandbox\n::1 localhost\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
    "resolv.conf": "",
    "hostname": "sandbox\n",
    "shells": "/bin/sh\n/bin/bash\n",
    "protocols": "tcp 6 TCP\nudp 17 UDP\n",
    "services": "http 80/tcp\nhttps 443/tcp\n",
    "os-release": "NAME=sandbox\nID=sandbox\n",
    "gitconfig": '[safe]\n\tdirectory = *\n[user]\n\tname = agent\n\temail = agent@sandbox\n',
}  # fmt: skip
_NOT_FROM_ROOT = frozenset({"proc", "dev", "sys", "tmp", "run", "home", "root", "mnt", "media", "srv", "boot", "var"})
_CAPABILITIES = ("CAP_SETUID", "CAP_SETGID", "CAP_KILL", "CAP_SYS_ADMIN", "CAP_SYS_RESOURCE")
_START = "import sys; sys.path.insert(0, '/opt/agent'); from inside.agent import main; main()"


@dataclass(frozen=True)
class Ground:
    """What is prepared once per provider. `own_user`: the agent gets a user of its own; only root can arrange that."""

    bwrap: str
    setpriv: str | None
    disable_userns: bool
    base: tuple[str, ...]
    own_user: bool


def prepare(root: Path | None, own_user: bool) -> Ground:
    """Find bubblewrap, install the runtime, lay out /etc and the agent. Slow the first time. Raises MachineError."""
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        raise MachineError(
            "bubblewrap: not found, and sandboxes of kind bwrap need it\n"
            "install it: apt-get install bubblewrap   (Fedora: dnf install bubblewrap)"
        )
    options = subprocess.run([bwrap, "--help"], capture_output=True, text=True, check=False).stdout
    # /opt first: what is bound below it would make it for one user only.
    base = ["--perms", "0755", "--dir", "/opt", *(_own_root() if root is None else _given_root(root))]
    if root is None:
        base += ["--ro-bind", str(ensure_runtime()), "/opt/runtime"]
    base += ["--ro-bind", str(_agent_folder()), "/opt/agent"]
    setpriv = shutil.which("setpriv")
    return Ground(bwrap, setpriv, "--disable-userns" in options, tuple(base), own_user)


def command(
    ground: Ground,
    spec: SandboxSpec,
    mounts: list[tuple[Path, str]],
    *,
    info_fd: int,
    block_fd: int,
    uid: int,
    grouped: bool,
) -> list[str]:
    """The whole command line. `uid`: the outer user to become first, when root starts it. `grouped`: a control group
    bounds memory; without one each process is bounded by itself.
    """
    line = [ground.bwrap, "--unshare-all", "--unshare-user", "--die-with-parent", "--new-session", "--as-pid-1", "--clearenv",
            "--hostname", "sandbox", "--info-fd", str(info_fd)]  # fmt: skip
    config: dict[str, Any] = {"pids": spec.pids, "fsize": spec.disk_mb << 20}
    if not grouped:
        config["data"] = spec.memory_mb << 20
    if (code := seccomp.program(shared_memory=ground.own_user)) is not None:
        config["filter"] = code.hex()
    folders = writable(spec)
    line += ["--cap-drop", "ALL"]
    if ground.own_user:
        line += ["--userns-block-fd", str(block_fd)]
        for name in _CAPABILITIES:
            line += ["--cap-add", name]
        config["uid"] = USER
        config["tmpfs"] = [[path, mb << 20, mb * INODES_PER_MB, mode(path)] for path, mb in folders.items()]
    else:
        line += [*(["--disable-userns"] if ground.disable_userns else []), "--uid", str(USER), "--gid", str(USER)]
    line += [*ground.base, "--proc", "/proc", "--dev", "/dev"]
    for path, mb in folders.items():
        if ground.own_user:
            line += _parents(path, itself=True)
        else:
            line += [*_parents(path), "--size", str(mb << 20), "--perms", mode(path), "--tmpfs", path]
    line += ["--remount-ro", "/dev"]
    for source, target in mounts:
        line += [*_parents(target), "--ro-bind", str(source), target]
    line += ["--remount-ro", "/", "--chdir", "/"]
    line += ["/usr/bin/python3", "-I", "-S", "-c", _START, json.dumps(config, separators=(",", ":"))]
    if os.geteuid() == 0 and ground.setpriv:
        user = str(uid)
        return [ground.setpriv, "--reuid", user, "--regid", user, "--clear-groups", "--", *line]
    return line


def _parents(path: str, *, itself: bool = False) -> list[str]:
    """Options that make the folders above a mount point, open to all: bubblewrap would make them for one user."""
    parts = [p for p in path.split("/") if p]
    made = ["/" + "/".join(parts[: n + 1]) for n in range(len(parts) if itself else len(parts) - 1)]
    return [word for folder in made if folder != "/dev" for word in ("--perms", "0755", "--dir", folder)]


def _own_root() -> list[str]:
    """The host's /usr, without /usr/local, which is a site's own, and the links to it that / has."""
    found = ["--ro-bind", "/usr", "/usr"]
    if Path("/usr/local").is_dir():
        found += ["--tmpfs", "/usr/local", "--remount-ro", "/usr/local"]
    for name in ("bin", "sbin", "lib", "lib64", "lib32", "libx32"):
        path = Path("/", name)
        if path.is_symlink():
            found += ["--symlink", f"usr/{name}", str(path)]
        elif path.is_dir():
            found += ["--ro-bind", str(path), str(path)]
    return [*found, "--ro-bind", str(_etc_folder()), "/etc"]


def _given_root(root: Path) -> list[str]:
    """The folders of a full root, on a fresh /, so that mount points need not exist in it. Raises MachineError."""
    if not (root / "usr/bin/python3").exists():
        raise MachineError(f"{root}: no usr/bin/python3 in it\na root for sandboxes holds Python 3.8 or newer")
    found: list[str] = []
    for entry in sorted(root.iterdir()):
        if entry.is_symlink():
            found += ["--symlink", str(entry.readlink()).lstrip("/"), f"/{entry.name}"]
        elif entry.is_dir() and entry.name not in _NOT_FROM_ROOT and entry.name != "opt":
            found += ["--ro-bind", str(entry), f"/{entry.name}"]
    for entry in sorted((root / "opt").glob("*")):
        found += ["--ro-bind", str(entry), f"/opt/{entry.name}"]
    return found


def _etc_folder() -> Path:
    """A fresh /etc; links in /usr/bin lead through alternatives, and the linker's cache names libraries of /usr."""
    alternatives = {p.name: str(p.readlink()) for p in sorted(Path("/etc/alternatives").glob("*"))
                    if p.is_symlink() and str(p.readlink()).startswith("/usr/")}  # fmt: skip
    cache = Path("/etc/ld.so.cache")
    linker = cache.read_bytes() if cache.is_file() else b""

    def fill(folder: Path) -> None:
        (folder / "alternatives").mkdir(parents=True)
        for name, text in _ETC.items():
            (folder / name).write_text(text)
        for name, target in alternatives.items():
            (folder / "alternatives" / name).symlink_to(target)
        (folder / "ld.so.cache").write_bytes(linker)

    return install(cache_root() / f"etc-{digest_json([_ETC, alternatives, sha256(linker)])[:16]}", fill)


def _agent_folder() -> Path:
    """The agent, compiled for the interpreter of the sandbox: it starts some milliseconds sooner."""
    sources = {path.name: path.read_bytes() for path in sorted(INSIDE.glob("*.py"))}

    def fill(folder: Path) -> None:
        (folder / "inside").mkdir(parents=True)
        for name, data in sources.items():
            (folder / "inside" / name).write_bytes(data)
        if PYTHON.exists():
            subprocess.run([PYTHON, "-I", "-m", "compileall", "-q", str(folder)], capture_output=True, check=False)

    return install(cache_root() / f"agent-{digest_json({n: sha256(d) for n, d in sources.items()})[:16]}", fill)
