"""A seccomp filter for sandboxes: system calls that no task needs and that kernels get wrong answer EPERM.

Assembled here as classic BPF (seccomp(2), linux/filter.h, linux/audit.h), because there is no library for it among our
dependencies. A call of another architecture's or of the x32 table is refused too. clone() may not make namespaces, and
clone3(), whose flags no filter can see, does not exist (ENOSYS: libc falls back to clone).
"""

from __future__ import annotations

import errno
import platform
import struct
from functools import lru_cache

_LOAD, _JEQ, _JGE, _JSET, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_NUMBER, _ARCH, _ARGUMENT_0 = 0, 4, 16
"""Offsets in struct seccomp_data."""
_MACHINES = {"x86_64": (0, 0xC000003E, 56), "aarch64": (1, 0xC00000B7, 220)}
"""Column of the table below, AUDIT_ARCH, number of clone."""
_NEW_NAMESPACES = 0x7E020000
_CLONE3 = 435
DENIED: dict[str, tuple[int | None, int | None]] = {
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272),
    "pidfd_getfd": (438, 438), "process_madvise": (440, 440),
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51), "open_tree": (428, 428),
    "move_mount": (429, 429), "fsopen": (430, 430), "fsconfig": (431, 431), "fsmount": (432, 432),
    "fspick": (433, 433), "mount_setattr": (442, 442), "open_tree_attr": (467, 467),
    "unshare": (272, 97), "setns": (308, 268),
    "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219),
    "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282), "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426), "io_uring_register": (427, 427), "memfd_secret": (447, 447),
    "kexec_load": (246, 104), "kexec_file_load": (320, 294), "init_module": (175, 105), "finit_module": (313, 273),
    "delete_module": (176, 106), "create_module": (174, None), "reboot": (169, 142),
    "swapon": (167, 224), "swapoff": (168, 225), "acct": (163, 89), "quotactl": (179, 60), "quotactl_fd": (443, 443),
    "nfsservctl": (180, 42), "lookup_dcookie": (212, 18), "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265), "settimeofday": (164, 170), "clock_settime": (227, 112), "adjtimex": (159, 171),
    "clock_adjtime": (305, 266), "sethostname": (170, 161), "setdomainname": (171, 162), "vhangup": (153, 58),
    "personality": (135, 92), "mbind": (237, 235), "set_mempolicy": (238, 237), "get_mempolicy": (239, 236),
    "migrate_pages": (256, 238), "move_pages": (279, 239), "iopl": (172, None), "ioperm": (173, None),
    "modify_ldt": (154, None), "uselib": (134, None), "ustat": (136, None), "sysfs": (139, None), "sysctl": (156, None),
}  # fmt: skip
"""Name: numbers on x86_64 and aarch64 (asm/unistd_64.h, asm-generic/unistd.h)."""


SHARED_MEMORY: dict[str, tuple[int | None, int | None]] = {
    "shmget": (29, 194),
    "msgget": (68, 186),
    "semget": (64, 190),
}
"""System V objects outlive their processes; refused where the agent cannot bound them otherwise."""


@lru_cache(maxsize=8)
def program(machine: str = platform.machine(), *, shared_memory: bool = True, tracing: bool = False) -> bytes | None:
    """The filter for an architecture, as an array of struct sock_filter; None where we have no table.

    `tracing` allows ptrace, for debuggers in foreign images; the agent is undumpable, which refuses it for itself.
    """
    if machine not in _MACHINES:
        return None
    column, arch, clone = _MACHINES[machine]
    code = [_statement(_LOAD, _ARCH), _jump(_JEQ, arch, 1, 0), _refuse(), _statement(_LOAD, _NUMBER)]
    if machine == "x86_64":
        code += [_jump(_JGE, 0x40000000, 0, 1), _refuse()]
    code += [_jump(_JEQ, _CLONE3, 0, 1), _refuse(errno.ENOSYS)]
    denied = {**DENIED, **({} if shared_memory else SHARED_MEMORY)}
    for numbers in (numbers for name, numbers in denied.items() if not (tracing and name == "ptrace")):
        if (number := numbers[column]) is not None:
            code += [_jump(_JEQ, number, 0, 1), _refuse()]
    code += [_jump(_JEQ, clone, 0, 3), _statement(_LOAD, _ARGUMENT_0), _jump(_JSET, _NEW_NAMESPACES, 0, 1), _refuse()]
    return b"".join([*code, _statement(_RETURN, _ALLOW)])


def _jump(test: int, value: int, yes: int, no: int) -> bytes:
    return struct.pack("HBBI", test, yes, no, value)


def _statement(what: int, value: int) -> bytes:
    return struct.pack("HBBI", what, 0, 0, value)


def _refuse(number: int = errno.EPERM) -> bytes:
    return _statement(_RETURN, _ERRNO | number)
