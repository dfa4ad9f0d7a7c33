"""Digests that name content, and nothing but content: never a path, port, time, uuid or secret.

One function lists the files of a folder; digests, copies into sandboxes and locks all use it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from harness.errors import UsageError
from harness.hashing import digest_files, digest_json, sha256
from harness.seams import File

__all__ = ["digest_files", "digest_folder", "digest_json", "files_of", "folder_files", "sha256"]

_LITTER = ("__pycache__", ".DS_Store", ".git", ".pytest_cache", ".mypy_cache", ".ruff_cache")
_LITTER_SUFFIXES = (".pyc", ".swp", ".swo", "~")


def files_of(folder: Path) -> tuple[Path, ...]:
    """The regular files below `folder`, as relative paths in posix order, without caches and editor litter.

    Raises UsageError for a symbolic link, device or fifo, wherever it points: nothing we digest may lead elsewhere.
    """
    found: list[Path] = []
    stack = [folder]
    while stack:
        for entry in stack.pop().iterdir():
            if entry.name in _LITTER or entry.name.endswith(_LITTER_SUFFIXES):
                continue
            if entry.is_symlink():
                raise UsageError(f"{entry}: a symbolic link; replace it by the file itself")
            if entry.is_dir():
                stack.append(entry)
            elif entry.is_file():
                found.append(entry.relative_to(folder))
            else:
                raise UsageError(f"{entry}: neither a file nor a folder; remove it")
    return tuple(sorted(found, key=lambda path: path.as_posix()))


def digest_folder(folder: Path, paths: Iterable[Path] | None = None) -> str:
    """sha256 over `relpath NUL filehash NL` of each file, in posix order: Harbor's task digest (publisher/packager)."""
    outer = hashlib.sha256()
    for path in files_of(folder) if paths is None else paths:
        outer.update(f"{path.as_posix()}\0{sha256((folder / path).read_bytes())}\n".encode())
    return outer.hexdigest()


def folder_files(folder: Path) -> dict[str, File]:
    """The regular files of a host folder as a sandbox takes them; nothing when it is not there."""
    if not folder.is_dir():
        return {}
    return {
        path.as_posix(): File(
            data=(folder / path).read_bytes(), executable=bool((folder / path).stat().st_mode & 0o100)
        )
        for path in files_of(folder)
    }
