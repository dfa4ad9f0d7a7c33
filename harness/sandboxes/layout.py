"""What is writable in a sandbox, how large it is, and how much memory that needs: equal for all providers."""

from __future__ import annotations

from harness.seams import SandboxSpec

SHM_MB = 32
EXTRA_MB = 64
INODES_PER_MB = 128
AGENT_MB = 128
"""What the agent and System V memory may need while all folders are full."""
RESERVED_PIDS = 16
"""Processes beyond the untrusted user's, so that the agent can always fork."""


def writable(spec: SandboxSpec) -> dict[str, int]:
    """Writable folders and their sizes in MB."""
    extra = dict.fromkeys(spec.extra_dirs, min(EXTRA_MB, spec.disk_mb))
    return {"/dev/shm": SHM_MB, **extra, "/tmp": spec.disk_mb, spec.workdir: spec.disk_mb}


def mode(path: str) -> str:
    """Octal permissions of a writable folder."""
    return "1777" if path in ("/tmp", "/dev/shm") else "0755"


def memory_limit(spec: SandboxSpec) -> int:
    """MB for the control group: programs, and all writable folders full, which are memory too, inodes included."""
    return max(spec.memory_mb + spec.disk_mb, int(1.2 * sum(writable(spec).values())) + AGENT_MB)
