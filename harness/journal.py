"""The journal: one JSON line per event, appended and synced, one writer, a torn last line tolerated.

It is the truth of a run. A line counts once it ends with a newline; anything after the last newline was being written
when the writer died, and is cut off by the next writer.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import time
from collections.abc import Iterator
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import IO

from pydantic import ValidationError

from harness.errors import MachineError, UsageError
from harness.records.events import EVENTS, SCHEMA, Event


def replay(path: Path) -> Iterator[Event]:
    """The events of a journal, in order. Raises UsageError for a damaged line or another schema number."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise UsageError(f"{path}: no journal here; is this the folder of a run?") from None
    whole = data[: data.rfind(b"\n") + 1]
    for number, line in enumerate(whole.splitlines(), start=1):
        try:
            yield EVENTS.validate_json(line)
        except ValidationError as error:
            raise UsageError(_unreadable(path, number, line, error)) from None


def _unreadable(path: Path, number: int, line: bytes, error: ValidationError) -> str:
    try:
        schema = json.loads(line).get("schema", SCHEMA)
    except (ValueError, AttributeError):
        return f"{path}:{number}: not a JSON object; the journal is damaged here\nrestore it from a copy"
    if schema != SCHEMA:
        return (f"{path}: written with journal schema {schema}; this version reads schema {SCHEMA}\n"
                f"use the version of selfharness named in lock.json")  # fmt: skip
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{path}:{number}: {where}: {first['msg']}; the journal is damaged here"


class Journal:
    """The one writer of a run's journal. Use it as a context manager.

    Raises UsageError when another process writes this run, MachineError when the disk is full or read-only: what was
    written before stays whole.
    """

    def __init__(self, path: Path, lock: Path) -> None:
        self._path = path
        self._lock_path = lock
        self._lock: IO[str] | None = None
        self._file: FileIO | None = None
        self._seq = 0

    def __enter__(self) -> Journal:
        try:
            self._lock = self._lock_path.open("a+")
        except OSError as error:
            raise MachineError(f"{self._lock_path}: {error.strerror}; make the run's folder writable") from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock.seek(0)
            owner = self._lock.read().strip() or "unknown"
            self._lock.close()
            self._lock = None
            raise UsageError(f"{self._path.parent}: another process (pid {owner}) is writing this run\n"
                             f"wait for it, or stop it first; readers (show, diff) need no lock") from None  # fmt: skip
        self._lock.truncate(0)
        self._lock.write(str(os.getpid()))
        self._lock.flush()
        self._open()
        return self

    def _open(self) -> None:
        self._file = self._path.open("a+b", buffering=0)
        self._file.seek(0)
        data = self._file.read()
        end = data.rfind(b"\n") + 1
        if end < len(data):
            self._file.truncate(end)
        self._seq = data.count(b"\n")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def append(self, event: Event) -> Event:
        """Write one event and sync it; the event as written, with its number and time."""
        if self._file is None:
            raise RuntimeError("the journal is not open")
        written = event.model_copy(update={"seq": self._seq + 1, "at": time.time()})
        line = EVENTS.dump_json(written, by_alias=True, exclude_defaults=False) + b"\n"
        start = self._file.seek(0, os.SEEK_END)
        try:
            written_bytes = self._file.write(line)
            if written_bytes != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(self._file.fileno())
        except OSError as error:
            self._undo(start)
            raise MachineError(f"{self._path}: {error.strerror}; nothing that was journalled is lost\n"
                               f"make room, then: harness run --resume {self._path.parent}") from None  # fmt: skip
        self._seq += 1
        return written

    def _undo(self, start: int) -> None:
        """Drop a half-written line, and write no more: a reader would skip the line anyhow."""
        file, self._file = self._file, None
        if file is not None:
            with contextlib.suppress(OSError):
                os.ftruncate(file.fileno(), start)
            file.close()
