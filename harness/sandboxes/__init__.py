"""Sandboxes: where untrusted code runs. One provider per module, opened by kind."""

from __future__ import annotations

from harness.errors import MachineError, UsageError
from harness.sandboxes.bwrap import BwrapSandboxes
from harness.sandboxes.local import LocalSandboxes
from harness.seams import Sandboxes


def open_provider(kind: str, *, root: str | None = None, concurrency: int = 2, unsafe: bool = False) -> Sandboxes:
    """The provider of a [sandbox] kind. `auto` is the best that there is, today bwrap.

    Raises MachineError for what this version or machine lacks, UsageError for `local` without the explicit flag.
    """
    if kind in ("auto", "bwrap"):
        return BwrapSandboxes(root=root, concurrency=concurrency)
    if kind == "local":
        if not unsafe:
            raise UsageError("sandbox.kind = local isolates nothing and is for tests of trusted code only\n"
                             "use bwrap, or set HARNESS_UNSAFE_LOCAL=1 if that is really what you want")  # fmt: skip
        return LocalSandboxes()
    raise MachineError(f'sandbox "{kind}": this version has bwrap only\nuse --set sandbox.kind=bwrap')
