"""What the agent asks of the kernel for itself, before anything untrusted runs: prctl(2), capset(2), mount(2), seccomp(2).

With a user id of its own (`uid` in the configuration) the agent is root of the user namespace and nobody outside it: it
mounts the writable folders with their inode limit, forbids further user namespaces, and keeps the few capabilities that
switching to the untrusted user and killing it need.
"""

# ruff: noqa: PTH123
from __future__ import annotations

import ctypes
import os

LIBC = ctypes.CDLL(None, use_errno=True)
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 1, 4, 22, 38
MS_NOSUID, MS_NODEV = 2, 4
CAPABILITY_VERSION_3 = 0x20080522
KEPT = 1 << 5 | 1 << 6 | 1 << 7
"""CAP_KILL, CAP_SETGID, CAP_SETUID."""


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def hide() -> None:
    """Close memory, descriptors and tracing to other processes. Again after a change of uid."""
    LIBC.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)


def die_with_parent() -> None:
    """Again after a change of uid. Not under an engine, where the parent may end a thread at any time (prctl(2))."""
    LIBC.prctl(PR_SET_PDEATHSIG, 9, 0, 0, 0)


def mount_tmpfs(path: str, size: int, inodes: int, mode: str, uid: int) -> None:
    """A bounded writable folder that belongs to the untrusted user. Raises OSError."""
    options = f"size={size},nr_inodes={inodes},mode={mode},uid={uid},gid={uid}"
    _check(LIBC.mount(b"tmpfs", path.encode(), b"tmpfs", MS_NOSUID | MS_NODEV, options.encode()), "mount " + path)


def bound_namespaces() -> None:
    """No further user namespaces; little System V memory, which would outlive its processes. Raises OSError."""
    settings = {"user/max_user_namespaces": "0", "kernel/shmall": "8192", "kernel/msgmni": "16", "kernel/shmmni": "64",
                "kernel/sem": "250 8000 32 32"}  # fmt: skip
    for name, value in settings.items():
        with open("/proc/sys/" + name, "w") as file:
            file.write(value)


SIOCSIFFLAGS, IFF_UP = 0x8914, 1


def raise_loopback() -> None:
    """Bring up the loopback of a network namespace that has nothing else (netdevice(7)). Raises OSError, ValueError."""
    with open("/proc/net/route") as file:
        if len(file.readlines()) > 1:
            raise ValueError("the engine gave this sandbox a network")
    fd = LIBC.socket(2, 2, 0)
    try:
        _check(
            LIBC.ioctl(fd, SIOCSIFFLAGS, b"lo".ljust(16, b"\0") + IFF_UP.to_bytes(2, "little") + bytes(22)), "loopback"
        )
    finally:
        os.close(fd)


def keep_few_capabilities() -> None:
    """Effective and permitted: three; inheritable and, with it, ambient: none. Raises OSError."""
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    data = (ctypes.c_uint32 * 6)(KEPT, KEPT, 0, 0, 0, 0)
    _check(LIBC.capset(header, data), "capset")


class Program(ctypes.Structure):
    """struct sock_fprog of linux/filter.h."""

    _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_char_p)]


def filter_calls(code: bytes) -> None:
    """Install a seccomp filter on this process and all that it will start. Raises OSError."""
    _check(LIBC.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
    _check(LIBC.prctl(PR_SET_SECCOMP, 2, ctypes.byref(Program(len(code) // 8, code)), 0, 0), "seccomp")


def oom_kills() -> int | None:
    """How many processes of the control group were killed for memory; None where that is not to be seen in here."""
    for path in ("/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control"):
        try:
            with open(path) as file:
                for line in file:
                    if line.startswith("oom_kill "):
                        return int(line.split()[1])
        except OSError:
            continue
    return None
