"""Who started a container, so that what a crashed run left can be told from what a living one uses."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Mapping
from pathlib import Path

MARK, OWNER, LABEL, DEADLINE = "selfharness", "selfharness.owner", "selfharness.label", "selfharness.deadline"
LIFETIME = 24 * 3600
"""Seconds after which a container of another machine, whose processes cannot be seen from here, is left over."""


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def _home() -> str:
    """Machine, boot and process namespace: where a process number means the same process."""
    try:
        space = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        space = ""
    return f"{platform.node()}/{_read('/proc/sys/kernel/random/boot_id')}/{space}"


def _started(pid: int) -> str:
    """The kernel's start time of a process, field 22 of stat (proc(5)): process numbers come again."""
    stat = _read(f"/proc/{pid}/stat")
    return stat.rpartition(")")[2].split()[19] if stat else ""


def labels(label: str) -> dict[str, str]:
    """What a container or image of this process is marked with."""
    pid = os.getpid()
    return {MARK: "1", OWNER: f"{_home()}/{pid}/{_started(pid)}", LABEL: label[:200],
            DEADLINE: str(int(time.time() + LIFETIME))}  # fmt: skip


def is_left_over(found: Mapping[str, str]) -> bool:
    """Whether the process that owns something with these labels is gone."""
    home, _, process = found.get(OWNER, "").rpartition("/")
    home, _, pid = home.rpartition("/")
    if home == _home() and pid.isdigit() and Path("/proc/self/stat").exists():
        return _started(int(pid)) != process or not process
    if home.split("/")[0] == platform.node() and Path("/proc/self/stat").exists():
        ours = _home().split("/")[1]
        if home.split("/")[1:2] != [ours]:
            return True  # this machine, before it was started again
    deadline = found.get(DEADLINE, "0")
    return not deadline.isdigit() or int(deadline) < time.time()
