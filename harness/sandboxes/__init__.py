"""Sandboxes: where untrusted code runs. One provider per module, opened by kind.

frames.py client.py process.py   one sandbox = one in-sandbox agent, spoken to in frames over its standard streams
inside/                          the in-sandbox agent (standard library only)
bwrap.py jail.py slots.py cgroups.py seccomp.py mounts.py pool.py   bubblewrap
runtime.py cache.py runtime.lock the task runtime of sandboxes on the host's /usr
layout.py                        what is writable, and how much memory that takes
docker/                          containers
local.py                         no isolation, for tests of trusted code
probe.py                         what a provider really enforces on this machine
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path

from harness.errors import UsageError, did_you_mean
from harness.seams import Sandboxes

__all__ = ["choose_provider", "open_provider"]


def open_provider(
    kind: str,
    *,
    root: Path | str | None = None,
    image: str | None = None,
    images: Mapping[str, str] | None = None,
    concurrency: int = 2,
    unsafe: bool = False,
    pull: bool = True,
) -> Sandboxes:
    """The provider of a [sandbox] kind other than `auto` (choose.py). Close it when done.

    `root` is a full root folder for bwrap instead of the host's /usr; `image` the default image for docker, `images`
    what it uses instead of a name; `concurrency` sizes the warm pool; `pull` allows docker to fetch its default image. Raises
    UsageError for an unknown kind and for `local` without `unsafe`.
    """
    made: Sandboxes
    if kind == "bwrap":
        made = importlib.import_module("harness.sandboxes.bwrap").BwrapSandboxes(root=root, concurrency=concurrency)
    elif kind == "docker":
        provider = importlib.import_module("harness.sandboxes.docker.provider")
        made = provider.DockerSandboxes(image=image, images=images, concurrency=concurrency, pull=pull)
    elif kind == "local":
        if not unsafe:
            raise UsageError(
                "sandbox.kind = local isolates nothing and is for tests of trusted code only\n"
                "use bwrap, or set HARNESS_UNSAFE_LOCAL=1 if that is really what you want"
            )
        made = importlib.import_module("harness.sandboxes.local").LocalSandboxes()
    else:
        raise UsageError(f'sandbox.kind = "{kind}": unknown{did_you_mean(kind, ["auto", "bwrap", "docker", "local"])}')
    return made


async def choose_provider(
    kind: str,
    *,
    root: Path | str | None = None,
    image: str | None = None,
    images: Mapping[str, str] | None = None,
    concurrency: int = 2,
    unsafe: bool = False,
) -> Sandboxes:
    """As open_provider; `auto` is docker when an engine answers and has the default image, else bwrap.

    Raises MachineError where `auto` finds neither.
    """
    if kind == "auto":
        docker = importlib.import_module("harness.sandboxes.docker.choose")
        kind = "docker" if root is None and await docker.is_ready(image, images or {}) else "bwrap"
    return open_provider(kind, root=root, image=image, images=images, concurrency=concurrency, unsafe=unsafe)
