"""A seccomp filter for bubblewrap: system calls that no task needs and that kernels get wrong answer EPERM.

Assembled here as classic BPF (seccomp(2), linux/filter.h, linux/audit.h), because there is no library for it among our
dependencies. A call of another architecture or of the x32 table is refused as well.
"""

from __future__ import annotations

import errno
import os
import platform
import struct

_LOAD, _JEQ, _JGE, _RETURN = 0x20, 0x15, 0x35, 0x06
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_DENIED = {
    "x86_64": (101, 134, 135, 136, 139, 153, 154, 155, 156, 159, 161, 163, 164, 165, 166, 167, 168, 169, 170, 171, 172,
               173, 174, 175, 176, 177, 178, 179, 180, 212, 227, 237, 238, 239, 246, 248, 249, 250, 256, 272, 279, 298,
               303, 304, 305, 308, 310, 311, 312, 313, 320, 321, 323, 425, 426, 427, 428, 429, 430, 431, 432, 433, 442),
    "aarch64": (39, 40, 41, 42, 51, 58, 60, 97, 104, 105, 106, 112, 117, 142, 170, 171, 180, 217, 218, 219, 224, 225,
                235, 236, 237, 238, 239, 241, 264, 265, 266, 268, 270, 271, 272, 273, 280, 282, 294, 425, 426, 427,
                428, 429, 430, 431, 432, 433, 442),
}  # fmt: skip
"""By number: ptrace, process_vm_*, kexec, modules, mount family, namespaces, keyrings, bpf, perf, userfaultfd, io_uring,
clocks, swap, quota, NUMA policy, open_by_handle_at, acct, personality-like legacy calls."""


def program(machine: str) -> bytes | None:
    """The filter for an architecture, or None where we have no table."""
    if machine not in _ARCH:
        return None
    denied = _DENIED[machine]
    code = [_statement(_LOAD, 0, 0, 4), _statement(_JEQ, 1, 0, _ARCH[machine]), _refuse(), _statement(_LOAD, 0, 0, 0)]
    if machine == "x86_64":
        code += [_statement(_JGE, 0, 1, 0x40000000), _refuse()]
    for number in denied:
        code += [_statement(_JEQ, 0, 1, number), _refuse()]
    return b"".join([*code, _statement(_RETURN, 0, 0, _ALLOW)])


def _statement(code: int, yes: int, no: int, value: int) -> bytes:
    return struct.pack("HBBI", code, yes, no, value)


def _refuse() -> bytes:
    return _statement(_RETURN, 0, 0, _ERRNO | errno.EPERM)


def filter_descriptor() -> int | None:
    """A readable descriptor with the filter for this machine; the caller closes it."""
    code = program(platform.machine())
    if code is None:
        return None
    read, write = os.pipe()
    os.write(write, code)
    os.close(write)
    return read
