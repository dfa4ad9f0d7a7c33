"""harness check: what this machine can do, by trying, and what to do about the rest."""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import shutil
import sys
import sysconfig
from pathlib import Path

from harness.cli.reading import as_json, print_json
from harness.config import runs_folder
from harness.errors import HarnessError, MachineError
from harness.models.keys import KEYS
from harness.sandboxes import open_provider
from harness.seams import Capabilities
from harness.tasks import task_folders

_WHAT = {
    "net_none": "no network", "ro_root": "read-only root", "host_hidden": "host files and environment hidden",
    "tree_kill": "nothing outlives its deadline", "dies_with_parent": "dies with the harness", "disk_quota": "disk bounded",
    "userns_blocked": "no nested user namespaces", "mem_limit": "memory limited", "pids_limit": "processes limited",
    "uid_separation": "commands under a uid of their own", "seccomp": "system calls filtered", "inode_quota": "inodes bounded",
}  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--reap", action="store_true", help="remove what crashed runs left behind")
    as_json(parser)


def run(arguments: argparse.Namespace) -> int:
    found, problem = asyncio.run(_sandboxes(arguments.reap))
    lines: list[tuple[str, bool, str]] = [
        ("python", sys.version_info >= (3, 11), platform.python_version()),
        ("git", shutil.which("git") is not None, shutil.which("git") or "missing: install git"),
        ("runs folder", *_writable(runs_folder())),
        ("tasks", True, f"{len(task_folders())} shipped"),
        (
            "keys",
            True,
            ", ".join(sorted(k for k in KEYS.values() if os.environ.get(k))) or "none set; simulated models need none",
        ),
        ("start-up files", *_startup_files()),
    ]
    if arguments.json:
        print_json({"checks": [{"name": n, "ok": ok, "detail": d} for n, ok, d in lines],
                    "sandbox": found.model_dump(mode="json") | {"grade": found.grade} if found else None, "problem": problem})  # fmt: skip
    else:
        _print(lines, found, problem)
    if problem:
        raise MachineError(problem)
    return 0 if all(ok for _, ok, _ in lines) else 3


def _print(lines: list[tuple[str, bool, str]], found: Capabilities | None, problem: str) -> None:
    for name, ok, detail in lines:
        print(f"{'ok  ' if ok else 'BAD '} {name:16} {detail}")
    if found is None:
        print(f"BAD  sandbox          {problem.splitlines()[0]}")
        return
    print(f"ok   sandbox          {found.provider}, isolation grade {found.grade}")
    for field, what in _WHAT.items():
        print(f"     {'yes' if getattr(found, field) else 'no ':3}  {what}")
    for note in found.notes:
        print(f"          {note}")


async def _sandboxes(reap: bool) -> tuple[Capabilities | None, str]:
    try:
        provider = open_provider("auto")
        try:
            if reap:
                print(f"removed {await provider.reap()} leftovers", file=sys.stderr)
            return await provider.probe(), ""
        finally:
            await provider.close()
    except HarnessError as error:
        return None, str(error)


def _writable(folder: Path) -> tuple[bool, str]:
    base = folder if folder.exists() else folder.parent
    if os.access(base, os.W_OK):
        return True, str(folder)
    return False, f"{folder}: cannot be written; run the command in another folder"


def _startup_files() -> tuple[bool, str]:
    """Executable .pth files run at every interpreter start; a stolen package once shipped one (MAL-2026-2144)."""
    known = (
        "distutils-precedence.pth",
        "__editable__",
        "_virtualenv.pth",
        "selfharness",
        "a1_coverage.pth",
        "matplotlib",
    )
    site = Path(sysconfig.get_paths()["purelib"])
    odd = [p.name for p in site.glob("*.pth") if not p.name.startswith(known) and not p.name.startswith("_selfharness")
           and any(line.startswith("import ") for line in p.read_text("utf-8", "replace").splitlines())]  # fmt: skip
    return (
        not odd,
        f"unknown .pth files that run code: {', '.join(odd)}" if odd else "no unknown .pth files that run code",
    )
