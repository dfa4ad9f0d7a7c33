"""Memory, process and processor limits by control group, where this machine lets us: as root, or in a delegated tree.

A sandbox's groups are named by its slot, so that what a crashed run left is found and removed by whoever sees that the
slot has no owner (slots.py).
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
BASE = "selfharness"


class Group:
    """One sandbox's groups, by controller. Made empty, joined by a process, removed when all in them are gone."""

    def __init__(self, folders: dict[str, Path]) -> None:
        self._folders = folders

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

    def remove(self) -> bool:
        """Take it away; False while processes are still ending in it."""
        return all([_remove(folder) for folder in set(self._folders.values())])


def _remove(folder: Path) -> bool:
    try:
        folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def make_group(name: str, memory_mb: int, pids: int, cpus: float) -> Group | None:
    """A group with these limits, or None where this machine lets us make none. Left-overs of the name are removed."""
    made: dict[str, Path] = {}
    try:
        for kind, base in _bases().items():
            folder = base / name
            if folder.exists():
                _clear(folder)
            folder.mkdir(parents=True, exist_ok=True)
            made[kind] = folder
        if not {"memory", "pids"} <= made.keys():
            raise OSError("no memory or pids controller")
        _limit(made, memory_mb << 20, pids, cpus)
    except OSError:
        for folder in set(made.values()):
            _remove(folder)
        return None
    return Group(made)


def _limit(made: dict[str, Path], memory: int, pids: int, cpus: float) -> None:
    second = made["memory"] == made["pids"]
    (made["memory"] / ("memory.max" if second else "memory.limit_in_bytes")).write_text(str(memory))
    with contextlib.suppress(OSError):
        swap, value = ("memory.swap.max", 0) if second else ("memory.memsw.limit_in_bytes", memory)
        (made["memory"] / swap).write_text(str(value))
    (made["pids"] / "pids.max").write_text(str(pids))
    with contextlib.suppress(OSError, KeyError):
        period, quota = 100_000, max(1000, int(cpus * 100_000))
        if second:
            (made["memory"] / "cpu.max").write_text(f"{quota} {period}")
        else:
            (made["cpu"] / "cpu.cfs_period_us").write_text(str(period))
            (made["cpu"] / "cpu.cfs_quota_us").write_text(str(quota))


def _bases() -> dict[str, Path]:
    """Where groups may be made, by controller."""
    if (ROOT / "cgroup.controllers").exists():
        mine = ROOT if os.geteuid() == 0 else ROOT / _own_path().lstrip("/")
        base = mine / BASE
        base.mkdir(exist_ok=True)
        for folder in (mine, base):
            for kind in ("memory", "pids", "cpu"):
                with contextlib.suppress(OSError):
                    (folder / "cgroup.subtree_control").write_text(f"+{kind}")
        return dict.fromkeys(("memory", "pids", "cpu"), base)
    if os.geteuid() != 0:
        return {}
    return {kind: ROOT / kind / BASE for kind in ("memory", "pids", "cpu") if (ROOT / kind).is_dir()}


def _own_path() -> str:
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        if line.startswith("0::"):
            return line[3:]
    return ""


def names() -> frozenset[str]:
    """Names of the groups that there are, in use or left."""
    found: set[str] = set()
    with contextlib.suppress(OSError):
        for base in _bases().values():
            found.update(folder.name for folder in base.iterdir() if folder.is_dir())
    return frozenset(found)


def clear(name: str) -> bool:
    """Kill what is in the groups of a name and remove them; whether there was one. For names without an owner."""
    found = False
    with contextlib.suppress(OSError):
        for base in set(_bases().values()):
            if (base / name).is_dir():
                found = True
                _clear(base / name)
    return found


def _clear(folder: Path) -> None:
    for _ in range(200):
        with contextlib.suppress(OSError):
            for pid in (folder / "cgroup.procs").read_text().split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
        if _remove(folder):
            return
        time.sleep(0.005)
