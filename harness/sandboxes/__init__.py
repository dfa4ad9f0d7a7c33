"""Sandboxes: where untrusted code runs. One provider per module, opened by kind.

frames.py client.py process.py   one sandbox = one in-sandbox agent, spoken to in frames over its standard streams
inside/                          the in-sandbox agent (standard library only)
bwrap.py jail.py slots.py cgroups.py seccomp.py mounts.py pool.py   bubblewrap
runtime.py cache.py runtime.lock the task runtime of sandboxes on the host's /usr
local.py                         no isolation, for tests of trusted code
probe.py                         what a provider really enforces on this machine
"""

from __future__ import annotations

import importlib
from pathlib import Path

from harness.errors import MachineError, UsageError, did_you_mean
from harness.seams import Sandboxes

__all__ = ["open_provider"]


def open_provider(
    kind: str, *, root: Path | str | None = None, concurrency: int = 2, unsafe: bool = False
) -> Sandboxes:
    """The provider of a [sandbox] kind; `auto` is the best that there is. Close it when done.

    `root` is a full root folder instead of the host's /usr; `concurrency` sizes the warm pool. Raises MachineError for
    what this version lacks, UsageError for an unknown kind and for `local` without `unsafe`.
    """
    if kind in ("auto", "bwrap"):
        made: Sandboxes = importlib.import_module("harness.sandboxes.bwrap").BwrapSandboxes(
            root=root, concurrency=concurrency
        )
        return made
    if kind == "local":
        if not unsafe:
            raise UsageError(
                "sandbox.kind = local isolates nothing and is for tests of trusted code only\n"
                "use bwrap, or set HARNESS_UNSAFE_LOCAL=1 if that is really what you want"
            )
        plain: Sandboxes = importlib.import_module("harness.sandboxes.local").LocalSandboxes()
        return plain
    if kind == "docker":
        raise MachineError(
            "sandbox.kind = docker: the docker provider is not in this version yet\nuse --set sandbox.kind=bwrap"
        )
    raise UsageError(f'sandbox.kind = "{kind}": unknown{did_you_mean(kind, ["auto", "bwrap", "docker", "local"])}')
