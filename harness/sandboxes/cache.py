"""Shared, rebuildable folders named by their content: made whole or not at all, safe for concurrent callers."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from harness.errors import MachineError


def cache_root() -> Path:
    """SELFHARNESS_CACHE, else a folder that sandbox users can reach: root's own home is closed to them."""
    given = os.environ.get("SELFHARNESS_CACHE")
    if given:
        return Path(given).absolute()
    return Path("/var/cache/selfharness") if os.geteuid() == 0 else Path.home() / ".cache" / "selfharness"


def install(target: Path, fill: Callable[[Path], None]) -> Path:
    """`target`, made by `fill(scratch)` if it is not there yet. One maker at a time; readable by everybody.

    Raises MachineError when the cache cannot be written; what `fill` raises passes through.
    """
    if target.exists():
        return target
    scratch = target.with_name(f"{target.name}.{os.getpid()}.new")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.with_name(".lock").open("w") as guard:
            fcntl.flock(guard, fcntl.LOCK_EX)
            if target.exists():
                return target
            try:
                fill(scratch)
                _open_to_all(scratch)
                scratch.rename(target)
            finally:
                if scratch.is_dir():
                    shutil.rmtree(scratch, ignore_errors=True)
    except OSError as error:
        raise MachineError(
            f"{error.filename or target}: {error.strerror}\nset SELFHARNESS_CACHE to a folder that can be written"
        ) from None
    return target


def open_path(path: Path) -> bool:
    """Whether any user can get to `path` through the folders above it."""
    return all(parent.stat().st_mode & 0o001 for parent in path.resolve().parents)


def _open_to_all(path: Path) -> None:
    for each in (path, *path.rglob("*")):
        if not each.is_symlink():
            mode = each.stat().st_mode
            each.chmod(((mode | 0o555) if each.is_dir() else mode | 0o444) & 0o755)
