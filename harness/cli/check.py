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

PROVIDERS = ("docker", "bwrap")
_WHAT = {
    "net_none": "no network", "ro_root": "read-only root", "host_hidden": "host files and environment hidden",
    "tree_kill": "nothing outlives its deadline", "dies_with_parent": "dies with the harness", "disk_quota": "disk bounded",
    "userns_blocked": "no nested user namespaces", "mem_limit": "memory limited", "pids_limit": "processes limited",
    "uid_separation": "commands under a uid of their own", "seccomp": "system calls filtered", "inode_quota": "inodes bounded",
}  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--sandbox", choices=("auto", *PROVIDERS), default="auto", help="try this provider only")
    parser.add_argument("--image", help="docker: the default image to try, as sandbox.image")
    parser.add_argument("--reap", action="store_true", help="remove what crashed runs left behind")
    as_json(parser)


def run(arguments: argparse.Namespace) -> int:
    asked = tuple(name for name in PROVIDERS if arguments.sandbox in ("auto", name))
    found = asyncio.run(_sandboxes(asked, arguments))
    lines: list[tuple[str, bool, str]] = [
        ("python", sys.version_info >= (3, 11), platform.python_version()),
        ("git", shutil.which("git") is not None, shutil.which("git") or "missing: install git"),
        ("runs folder", *_writable(runs_folder())),
        ("tasks", True, f"{len(task_folders())} shipped"),
        ("keys", True, ", ".join(sorted(k for k in KEYS.values() if os.environ.get(k))) or "none set; simulated models need none"),
        ("start-up files", *_startup_files()),
    ]  # fmt: skip
    chosen = next((answer for answer in found.values() if isinstance(answer, Capabilities)), None)
    if arguments.json:
        print_json({"checks": [{"name": n, "ok": ok, "detail": d} for n, ok, d in lines],
                    "sandbox": _as_json(chosen) if chosen else None,
                    "providers": {name: _as_json(answer) for name, answer in found.items()}})  # fmt: skip
    else:
        for name, ok, detail in lines:
            print(f"{'ok  ' if ok else 'BAD '} {name:16} {detail}")
        _print(found, chosen)
    if chosen is None:
        raise MachineError(
            "no sandbox can be started here\n" + "\n".join(str(answer).splitlines()[-1] for answer in found.values())
        )
    return 0 if all(ok for _, ok, _ in lines) else 3


Answer = Capabilities | str
"""What a provider enforces, or why it is not there."""


def _as_json(answer: Answer) -> dict[str, object]:
    if isinstance(answer, str):
        return {"problem": answer}
    return answer.model_dump(mode="json") | {"grade": answer.grade}


def _print(found: dict[str, Answer], chosen: Capabilities | None) -> None:
    """A table: one row per thing enforced, one column per provider that is there; then why others are not."""
    there = [answer for answer in found.values() if isinstance(answer, Capabilities)]
    for answer in there:
        note = ", which kind = auto takes" if answer is chosen and len(found) > 1 else ""
        print(f"ok   sandbox          {answer.provider}, isolation grade {answer.grade}{note}")
    for problem in found.values():
        if isinstance(problem, str):
            for number, line in enumerate(problem.splitlines()):
                print(f"{'--   sandbox' if number == 0 else '':21} {line}")
    if there:
        print(" " * 48 + "  ".join(f"{answer.provider:6}" for answer in there))
    for field, what in _WHAT.items() if there else ():
        print(f"     {what:43}" + "  ".join(f"{'yes' if getattr(answer, field) else 'NO':6}" for answer in there))
    for answer in there:
        for line in answer.notes:
            print(f"     {answer.provider}: {line}")


async def _sandboxes(asked: tuple[str, ...], arguments: argparse.Namespace) -> dict[str, Answer]:
    """Every provider tried, the one that `auto` prefers first."""
    found: dict[str, Answer] = {}
    for name in asked:
        try:
            provider = open_provider(name, image=arguments.image, pull=False)
            try:
                if arguments.reap:
                    print(f"{name}: removed {await provider.reap()} leftovers", file=sys.stderr)
                found[name] = await provider.probe()
            finally:
                await provider.close()
        except HarnessError as error:
            found[name] = str(error)
    return found


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
