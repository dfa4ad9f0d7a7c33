"""Integrity: a scan of added lines for leaks and tampering, and a hash manifest of protected files.

What it finds is a verdict (`invalid(leak)`, `invalid(tamper)`), never a score of 0.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from harness.digest import digest_folder
from harness.records import Rejection, Task

PROTECTED = re.compile(r"/logs\b|/tests\b|/solution\b|\breward\.(txt|json)\b|\bverify\.py\b|\btest\.sh\b|/opt/agent\b")
REACHING = re.compile(r"\bimport (socket|urllib|http|requests|ctypes)\b|\bfrom (socket|urllib|http|requests|ctypes)\b"
                      r"|/proc/\d|/proc/1\b|\bLD_PRELOAD\b|\bHARNESS_FD_(IN|OUT)\b")  # fmt: skip
PHRASE = 7
"""So many consecutive words of a task's instruction are a phrase of it."""
_WORD = re.compile(r"[A-Za-z0-9_'\-]+")
_VALUE = re.compile(r"[A-Za-z0-9_.\-/]*(?:\d[A-Za-z0-9_.\-/]*){4,}")
_NAME = re.compile(r"\b[\w\-]+\.(?:csv|json|xlsx|docx|db|sql|log|gz|toml|txt|md)\b")


class Scanner:
    """Knows every task of a suite, val and test included, so that no proposal can carry any of them."""

    def __init__(self, tasks: Iterable[Task]) -> None:
        self._ids: dict[str, str] = {}
        self._phrases: dict[tuple[str, ...], str] = {}
        self._names: dict[str, str] = {}
        for task in tasks:
            self._ids[task.id.lower()] = task.id
            self._ids[task.family.lower()] = task.id
            words = _WORD.findall(task.instruction.lower())
            for i in range(len(words) - PHRASE + 1):
                self._phrases[tuple(words[i : i + PHRASE])] = task.id
            for name in _NAME.findall(task.instruction):
                if name.lower() not in _COMMON:
                    self._names[name.lower()] = task.id
            for value in _VALUE.findall(task.instruction):
                self._names[value.lower()] = task.id

    def scan(self, before: Mapping[str, str], after: Mapping[str, str]) -> Rejection | None:
        """The first breach in the lines that a proposal added, or None."""
        for path, text in sorted(after.items()):
            old = set(before.get(path, "").splitlines())
            for number, line in enumerate(text.splitlines(), start=1):
                if line not in old and (found := self._line(line)):
                    breach, reason = found
                    return Rejection(
                        breach="leak" if breach == "leak" else "tamper", reason=reason, where=f"{path}:{number}"
                    )
        return None

    def _line(self, line: str) -> tuple[str, str] | None:
        lowered = line.lower()
        for ident in self._ids:
            if ident in lowered:
                return "leak", "names a task"
        for name in self._names:
            if name in lowered:
                return "leak", f"names a file or value of a task ({name})"
        words = _WORD.findall(lowered)
        for i in range(len(words) - PHRASE + 1):
            if tuple(words[i : i + PHRASE]) in self._phrases:
                return "leak", f"repeats {PHRASE} words of a task"
        if found := PROTECTED.search(line):
            return "tamper", f"reaches for what is protected ({found.group(0)})"
        if found := REACHING.search(line):
            return "tamper", f"reaches out of the sandbox ({found.group(0)})"
        return None


_COMMON = frozenset({"readme.md", "notes.txt", "readme.txt", "requirements.txt", "pyproject.toml", "scaffold.toml"})


class Protected:
    """Digests of folders that no run may change: tasks, the package itself. `broken` names what did."""

    def __init__(self, folders: Mapping[str, Path]) -> None:
        self._folders = dict(folders)
        self._before = {name: digest_folder(folder) for name, folder in self._folders.items()}

    def broken(self) -> tuple[str, ...]:
        """Names of folders whose content is not what it was."""
        return tuple(name for name, folder in self._folders.items() if digest_folder(folder) != self._before[name])
