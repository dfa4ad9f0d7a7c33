"""Memory and process limits by control group, where this machine lets us: version 1 as root, version 2 when delegated."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")


class Group:
    """One sandbox's groups. Made empty, joined by a process, removed when all in them are gone."""

    def __init__(self, folders: dict[str, Path]) -> None:
        self._folders = folders

    @property
    def limits(self) -> frozenset[str]:
        """Which of memory and pids are limited."""
        return frozenset(self._folders)

    def add(self, pid: int) -> None:
        """Move a process in; its later children are born here. Raises OSError."""
        for folder in set(self._folders.values()):
            (folder / "cgroup.procs").write_text(str(pid))

    def oom_kills(self) -> int:
        """How many processes the memory limit has killed."""
        folder = self._folders.get("memory")
        if folder is None:
            return 0
        for name in ("memory.events", "memory.oom_control"):
            with contextlib.suppress(OSError):
                for line in (folder / name).read_text().splitlines():
                    if line.startswith("oom_kill "):
                        return int(line.split()[1])
        return 0

    def remove(self) -> None:
        for folder in set(self._folders.values()):
            with contextlib.suppress(OSError):
                folder.rmdir()


def make_group(name: str, memory_mb: int, pids: int) -> Group | None:
    """A group with these limits, or None where the machine does not delegate any."""
    try:
        return _version2(name, memory_mb, pids) if (ROOT / "cgroup.controllers").exists() else _version1(name, memory_mb, pids)
    except OSError:
        return None


def _version1(name: str, memory_mb: int, pids: int) -> Group | None:
    if os.geteuid() != 0 or not (ROOT / "memory").is_dir() or not (ROOT / "pids").is_dir():
        return None
    folders = {kind: ROOT / kind / "selfharness" / name for kind in ("memory", "pids")}
    for folder in folders.values():
        folder.mkdir(parents=True, exist_ok=True)
    limit = str(memory_mb << 20)
    (folders["memory"] / "memory.limit_in_bytes").write_text(limit)
    with contextlib.suppress(OSError):
        (folders["memory"] / "memory.memsw.limit_in_bytes").write_text(limit)
    (folders["pids"] / "pids.max").write_text(str(pids))
    return Group(folders)


def _version2(name: str, memory_mb: int, pids: int) -> Group | None:
    mine = ROOT if os.geteuid() == 0 else ROOT / _own_path()
    base = mine / "selfharness"
    base.mkdir(exist_ok=True)
    for folder in (mine, base):
        with contextlib.suppress(OSError):
            (folder / "cgroup.subtree_control").write_text("+memory +pids")
    made = base / name
    made.mkdir(exist_ok=True)
    (made / "memory.max").write_text(str(memory_mb << 20))
    with contextlib.suppress(OSError):
        (made / "memory.swap.max").write_text("0")
    (made / "pids.max").write_text(str(pids))
    return Group({"memory": made, "pids": made})


def _own_path() -> str:
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        if line.startswith("0::"):
            return line[4:]
    return ""


def leftovers() -> int:
    """Remove groups that no process is in; how many."""
    removed = 0
    for base in (ROOT / "memory" / "selfharness", ROOT / "pids" / "selfharness", ROOT / "selfharness"):
        for folder in base.glob("*/"):
            with contextlib.suppress(OSError):
                folder.rmdir()
                removed += 1
    return removed
