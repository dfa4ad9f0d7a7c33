"""The lineage: a bare git repository with one commit per candidate, written with plumbing commands.

Branch c0007 points at candidate c0007, whose parent commit is its parent candidate, so `git diff c0003 c0009` and
`git log --graph` work on a run's lineage.git. Objects are written from bytes, without a work tree or an index that a
scaffold's own .gitignore or attributes could steer, and without the user's configuration.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from harness.errors import MachineError, UsageError

_ENV = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "HOME": "/nonexistent",
    "LC_ALL": "C",
    "GIT_AUTHOR_NAME": "selfharness",
    "GIT_AUTHOR_EMAIL": "selfharness@localhost",
    "GIT_COMMITTER_NAME": "selfharness",
    "GIT_COMMITTER_EMAIL": "selfharness@localhost",
    "GIT_AUTHOR_DATE": "1700000000 +0000",
    "GIT_COMMITTER_DATE": "1700000000 +0000",
}
"""Fixed author and date: the same candidate has the same commit in every run."""


class Lineage:
    """The scaffolds of one run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def create(self) -> None:
        """Make the repository if it is not there. Raises MachineError without git."""
        if not (self.folder / "HEAD").exists():
            self._git("init", "--quiet", "--bare", "--initial-branch=c0000", str(self.folder), bare=False)

    def add(self, name: str, files: Mapping[str, str], parent: str | None, message: str) -> str:
        """Commit `files` as branch `name` on top of branch `parent`; the commit's id. Adding it again is harmless."""
        tree = self._tree({path: text.encode() for path, text in files.items()})
        parents = ["-p", self.commit(parent)] if parent else []
        commit = self._git("commit-tree", tree, *parents, stdin=message.encode()).strip()
        self._git("update-ref", f"refs/heads/{name}", commit)
        return commit

    def commit(self, name: str) -> str:
        """The commit of a branch. Raises UsageError for an unknown one."""
        try:
            return self._git("rev-parse", "--verify", "--quiet", f"refs/heads/{name}").strip()
        except subprocess.CalledProcessError:
            raise UsageError(f"{self.folder.parent}: no candidate {name} in this run") from None

    def files(self, name: str) -> dict[str, str]:
        """Path -> text of every file of a candidate."""
        commit = self.commit(name)
        listing = self._git("ls-tree", "-r", "-z", "--name-only", commit)
        paths = [path for path in listing.split("\0") if path]
        return {path: self._git("cat-file", "blob", f"{commit}:{path}") for path in paths}

    def checkout(self, name: str, folder: Path) -> None:
        """Write a candidate's files into `folder`, replacing what is there in one rename."""
        scratch = folder.with_name(folder.name + ".new")
        shutil.rmtree(scratch, ignore_errors=True)
        for path, text in self.files(name).items():
            target = scratch / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(text.encode())
        shutil.rmtree(folder, ignore_errors=True)
        scratch.rename(folder)

    def diff(self, old: str, new: str) -> str:
        """Unified diff between two candidates."""
        return self._git("diff", "--no-color", "--no-ext-diff", self.commit(old), self.commit(new))

    def _tree(self, files: Mapping[str, bytes]) -> str:
        folders: dict[str, dict[str, bytes]] = {}
        entries: list[bytes] = []
        for path, data in files.items():
            head, slash, rest = path.partition("/")
            if slash:
                folders.setdefault(head, {})[rest] = data
            else:
                blob = self._git("hash-object", "-w", "--stdin", stdin=data).strip()
                entries.append(f"100644 blob {blob}\t{head}".encode())
        entries += [f"040000 tree {self._tree(inner)}\t{name}".encode() for name, inner in folders.items()]
        return self._git("mktree", "-z", stdin=b"".join(entry + b"\0" for entry in entries)).strip()

    def _git(self, *arguments: str, stdin: bytes = b"", bare: bool = True) -> str:
        command = ["git", *(["--git-dir", str(self.folder)] if bare else []), *arguments]
        env = {**_ENV, "PATH": os.environ.get("PATH", os.defpath)}
        try:
            done = subprocess.run(command, input=stdin, capture_output=True, check=True, env=env)
        except FileNotFoundError:
            raise MachineError("git: not found; install git") from None
        except subprocess.CalledProcessError as error:
            if arguments[0] == "rev-parse":
                raise
            said = error.stderr.decode("utf-8", "replace").strip().splitlines()
            raise MachineError(f"{self.folder}: git {arguments[0]}: {said[-1] if said else 'failed'}\n"
                               "what was journalled is kept; mend it, then go on with --resume") from None  # fmt: skip
        return done.stdout.decode("utf-8")
