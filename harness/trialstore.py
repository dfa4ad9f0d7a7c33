"""Finished trials on disk, shared by runs: one zip per (trial key, grading), whole or not at all, oldest use goes first.

<cache>/trials/ab/<key>-<grading>.zip    trial.json, evidence (trajectory.json, verifier.json), and the artefacts that were graded

A zip has its index at the end and a checksum per member, so a torn or damaged file is found when it is read; it is then
removed and counts as absent. Nothing here can fail a trial: a store that cannot be written is said once and left alone.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import os
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from harness.records import Trial
from harness.seams import File

DEFAULT_MB = 2048
UNGRADED = frozenset({"agent_error", "time_up"})
"""Outcomes that no verifier was asked for."""
LOW_WATER = 0.9
"""What is left of the cap after old entries went: so that not every store has to look for more."""
Collected = Mapping[str, Mapping[str, File]]
"""Artefacts by root, then by relative path."""
_LOG = logging.getLogger(__name__)
_BROKEN = (OSError, zipfile.BadZipFile, zlib.error, KeyError, ValueError, EOFError, NotImplementedError)
_SCRATCH = itertools.count()


@dataclass(frozen=True)
class Measured:
    """A finished trial with its evidence; `collected` is None when it cannot be graded again."""

    trial: Trial
    evidence: Mapping[str, bytes] = field(default_factory=dict)
    collected: Collected | None = None


@dataclass(frozen=True)
class StoreSize:
    """What `harness show --cache` says."""

    folder: Path
    entries: int
    bytes: int
    cap: int
    oldest: float | None
    """Seconds since the epoch of the longest unused entry."""


class TrialStore:
    """The store below one folder, at most `cap` bytes. Any number of processes may use it at once."""

    def __init__(self, folder: Path, cap: int) -> None:
        self._folder, self._cap = folder, cap
        self._size: int | None = None
        self._failed = False

    def get(self, key: str, grading: str) -> Measured | None:
        """The entry, without its artefacts; None when there is none that can be read."""
        return self._read(self._path(key, grading), artefacts=False)

    def same_work(self, key: str) -> Measured | None:
        """An entry under any grading that no verifier was asked for, or with the artefacts to grade again."""
        for path in sorted(self._folder.glob(f"{key[:2]}/{key}-*.zip")):
            found = self._read(path, artefacts=True)
            if found is not None and (found.collected is not None or found.trial.outcome in UNGRADED):
                return found
        return None

    def put(self, key: str, grading: str, measured: Measured) -> None:
        """Keep an entry. A full or read-only disk costs a warning, not the trial."""
        path = self._path(key, grading)
        scratch = path.with_name(f".{path.name}.{os.getpid()}-{next(_SCRATCH)}.new")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _write(scratch, measured)
            size = scratch.stat().st_size
            scratch.replace(path)
        except OSError as error:
            with contextlib.suppress(OSError):
                scratch.unlink()
            if not self._failed:
                self._failed = True
                _LOG.warning("the trial cache in %s cannot be written: %s; trials go on without", self._folder, error.strerror)  # fmt: skip
            return
        self._size = (self.size().bytes if self._size is None else self._size + size)  # fmt: skip
        if self._size > self._cap:
            self._evict()

    def lock_path(self, key: str) -> Path:
        """The file that whoever does this work holds."""
        return self._folder / "flight" / f"{key}.lock"

    def size(self) -> StoreSize:
        """What is there now."""
        found = list(self._entries())
        return StoreSize(self._folder, len(found), sum(size for _, size, _ in found), self._cap,
                         min((used for used, _, _ in found), default=None))  # fmt: skip

    def _evict(self) -> None:
        """Remove what was not used for longest, and scratch files that a killed process left, down to the low water mark."""
        found = sorted(self._entries())
        left = sum(size for _, size, _ in found)
        for _, size, path in found:
            if left <= self._cap * LOW_WATER:
                break
            with contextlib.suppress(OSError):
                path.unlink()
            left -= size
        self._size = left

    def _entries(self) -> Iterator[tuple[float, int, Path]]:
        """(last use, bytes, path) of every file, scratch included."""
        for path in self._folder.glob("??/*"):
            with contextlib.suppress(OSError):
                about = path.stat()
                yield about.st_mtime, about.st_size, path

    def _path(self, key: str, grading: str) -> Path:
        return self._folder / key[:2] / f"{key}-{grading[:16]}.zip"

    def _read(self, path: Path, *, artefacts: bool) -> Measured | None:
        try:
            file = path.open("rb")
        except OSError:  # not there, not ours to read, or no file can be opened now: no reason to remove it
            return None
        try:
            with file, zipfile.ZipFile(file) as archive:
                found = _load(archive, artefacts)
        except _BROKEN:
            with contextlib.suppress(OSError):
                path.unlink()
            return None
        with contextlib.suppress(OSError):  # another user's entry, or a read-only cache: it serves all the same
            os.utime(path)
        return found


def _write(path: Path, measured: Measured) -> None:
    roots = None if measured.collected is None else list(measured.collected)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("trial.json", json.dumps({"trial": measured.trial.model_dump(mode="json"), "roots": roots}))
        for name, data in measured.evidence.items():
            archive.writestr(f"evidence/{name}", data)
        for number, files in enumerate((measured.collected or {}).values()):
            for path_below, file in files.items():
                entry = zipfile.ZipInfo(f"artefacts/{number}/{'x' if file.executable else '-'}/{path_below}")
                entry.compress_type = zipfile.ZIP_DEFLATED
                archive.writestr(entry, file.data)


def _load(archive: zipfile.ZipFile, artefacts: bool) -> Measured:
    head = json.loads(archive.read("trial.json"))
    names = archive.namelist()
    evidence = {name.removeprefix("evidence/"): archive.read(name) for name in names if name.startswith("evidence/")}
    collected: dict[str, dict[str, File]] | None = None
    if artefacts and head["roots"] is not None:
        roots = list(head["roots"])
        collected = {root: {} for root in roots}
        for name in names:
            kind, _, rest = name.partition("/")
            if kind == "artefacts":
                number, mode, path = rest.split("/", 2)
                collected[roots[int(number)]][path] = File(data=archive.read(name), executable=mode == "x")
    return Measured(Trial.model_validate(head["trial"]), evidence, collected)
