"""Host folders shown in a sandbox: readable by a user who is nobody in particular, copied into the cache where not."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from harness.digest import files_of
from harness.errors import MachineError, SandboxFault
from harness.hashing import digest_json, sha256
from harness.sandboxes.cache import cache_root, install, open_path


def readable(source: Path) -> Path:
    """`source` itself when every user may read all of it, else a copy in the cache, named by its content.

    Raises SandboxFault when it is not there, MachineError when no readable copy can be made.
    """
    try:
        source = source.resolve(strict=True)
        if os.geteuid() != 0 or (open_path(source) and _open_inside(source)):
            return source
        return _copy(source)
    except OSError as error:
        raise SandboxFault(f"mount: {error.filename or source}: {error.strerror}") from None


def identity(source: Path) -> tuple[int, int, int]:
    """What changes when a folder is replaced or its entries change."""
    info = source.stat()
    return info.st_dev, info.st_ino, info.st_mtime_ns


def _open_inside(source: Path) -> bool:
    for folder, _, names in os.walk(source):
        if (Path(folder).stat().st_mode & 0o005) != 0o005:
            return False
        for name in names:
            path = Path(folder, name)
            if not path.is_symlink() and not path.stat().st_mode & 0o004:
                return False
    return source.is_dir() or bool(source.stat().st_mode & 0o004)


def _copy(source: Path) -> Path:
    files = files_of(source) if source.is_dir() else (Path(),)
    listing = [[str(path), sha256((source / path).read_bytes()), _executable(source / path)] for path in files]
    target = cache_root() / "mounts" / digest_json(listing)[:16]

    def fill(scratch: Path) -> None:
        if not source.is_dir():
            shutil.copyfile(source, scratch)
            return
        scratch.mkdir()
        for path in files:
            copy = scratch / path
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / path, copy)
            copy.chmod(0o755 if _executable(source / path) else 0o644)

    made = install(target, fill)
    if not open_path(made):
        raise MachineError(
            f"{made}: sandbox users cannot reach it\nset SELFHARNESS_CACHE to a folder that everybody can read"
        )
    return made


def _executable(path: Path) -> bool:
    return bool(path.stat().st_mode & 0o100)
