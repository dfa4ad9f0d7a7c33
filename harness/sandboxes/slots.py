"""User ids for sandboxes: one of its own per live sandbox, never one that another run on this machine is using.

A slot is a locked byte of one file (open file description locks, fcntl(2)): the kernel releases it with the process that
held it, however that ended, so a slot that can be locked has no owner, and what it left can be removed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.errors import MachineError

SLOTS = 2000
HIGH_ID, LOW_ID = 1_900_000_000, 20_000
"""First ids: in the range that nobody allocates, or a low one where this machine's own user namespace is small."""


def lock_file() -> Path:
    """One per machine and user, wherever the cache is: control groups and user ids are shared by all runs."""
    if os.geteuid() == 0 and Path("/run").is_dir():
        return Path("/run/selfharness.slots")
    return Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()) / f"selfharness-{os.geteuid()}.slots"


class Slots:
    """Slots of one machine, by one lock file. Needs no daemon and no clean-up.

    `first_uid` where the ids will be used in another namespace than ours.
    """

    def __init__(self, first_uid: int | None = None) -> None:
        file = lock_file()
        try:
            self._fd = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise MachineError(
                f"{file}: {error.strerror}\nthe harness keeps its locks there; remove it or make it writable"
            ) from None
        self._mine: set[int] = set()
        self._next = os.getpid() % SLOTS
        self.first_uid = first_uid or _first_uid()

    def take(self) -> int:
        """A slot that nobody on this machine has. Raises MachineError when there is none."""
        for step in range(SLOTS):
            slot = (self._next + step) % SLOTS
            if slot not in self._mine and self._lock(slot):
                self._next = slot + 1
                self._mine.add(slot)
                return slot
        raise MachineError(f"all {SLOTS} sandbox slots of this machine are taken")

    def free(self, slot: int) -> None:
        self._mine.discard(slot)
        with contextlib.suppress(OSError):
            self._set(fcntl.F_UNLCK, slot)

    def uids(self, slot: int) -> tuple[int, int]:
        """Of the in-sandbox agent and of untrusted code."""
        return self.first_uid + 2 * slot, self.first_uid + 2 * slot + 1

    def slot_of(self, uid: int) -> int | None:
        """The slot that a user id belongs to."""
        slot = (uid - self.first_uid) // 2
        return slot if 0 <= slot < SLOTS else None

    @contextmanager
    def abandoned(self, slot: int) -> Iterator[bool]:
        """Whether the slot has no owner; if so it is held meanwhile."""
        held = slot not in self._mine and self._lock(slot)
        try:
            yield held
        finally:
            if held:
                self.free(slot)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _lock(self, slot: int) -> bool:
        try:
            self._set(fcntl.F_WRLCK, slot)
        except OSError:
            return False
        return True

    def _set(self, kind: int, slot: int) -> None:
        fcntl.fcntl(self._fd, fcntl.F_OFD_SETLK, struct.pack("@hhqqi4x", kind, os.SEEK_SET, slot, 1, 0))


def _first_uid() -> int:
    """Above everything that is in use, if this process's user namespace reaches there."""
    for line in Path("/proc/self/uid_map").read_text().splitlines():
        inside, _, count = map(int, line.split())
        if inside <= HIGH_ID and inside + count > HIGH_ID + 2 * SLOTS:
            return HIGH_ID
    return LOW_ID
