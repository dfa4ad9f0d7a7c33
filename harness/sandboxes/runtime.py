"""The task runtime: what a sandbox on the host's /usr offers beyond it (openpyxl, python-docx, pytest).

Installed once into a content-addressed folder for the interpreter in /usr, mounted read-only at /opt/runtime, first on
PATH. The lock (exact versions, hashes, no address), the interpreter's version and the system's release are its image
digest.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import subprocess
from functools import lru_cache
from pathlib import Path

from harness.errors import MachineError
from harness.hashing import digest_json
from harness.sandboxes.cache import cache_root, install, open_path

__all__ = ["cache_root", "ensure_runtime", "image_digest", "interpreter"]

LOCK = Path(__file__).with_name("runtime.lock")
PYTHON = Path("/usr/bin/python3")
OLDEST = (3, 9)


@lru_cache(maxsize=1)
def interpreter() -> str:
    """Full version of the Python in /usr. Raises MachineError when there is none or it is too old."""
    program = "import sys; print('%d.%d.%d' % sys.version_info[:3])"
    try:
        done = subprocess.run([PYTHON, "-I", "-S", "-c", program], capture_output=True, text=True, check=True, env={})
    except (OSError, subprocess.CalledProcessError):
        raise MachineError(
            f"{PYTHON}: no Python there, and the sandboxes need one\n"
            "install it: apt-get install python3   (Fedora: dnf install python3)"
        ) from None
    version = done.stdout.strip()
    if tuple(map(int, version.split(".")))[:2] < OLDEST:
        raise MachineError(
            f"{PYTHON}: Python {version} is too old for the sandboxes; 3.9 or newer is needed\n"
            "update the system, or name a full root:  --set sandbox.root=FOLDER"
        )
    return version


def image_digest(root: Path | None = None) -> str:
    """What sandboxes run on. Of the host's /usr: lock, interpreter, system release, machine. Of a full root: its files
    by path, size and mode. Raises MachineError.
    """
    if root is not None:
        return _root_digest(root)
    return digest_json(["runtime", interpreter(), _release(), platform.machine(), LOCK.read_text("utf-8")])


def _release() -> str:
    """ID and VERSION_ID of os-release(5): the tools of /usr are those of a release."""
    try:
        lines = Path("/usr/lib/os-release").read_text("utf-8").splitlines()
    except OSError:
        return ""
    return " ".join(sorted(line for line in lines if line.startswith(("ID=", "VERSION_ID="))))


@lru_cache(maxsize=4)
def _root_digest(root: Path) -> str:
    listing: list[tuple[str, int, int]] = []
    for folder, _, names in os.walk(root):
        for name in names:
            info = os.lstat(Path(folder, name))
            listing.append((str(Path(folder, name).relative_to(root)), info.st_size, info.st_mode))
    if not listing:
        raise MachineError(f"{root}: no root file system there\nsandbox.root names a folder with usr, bin, lib, etc")
    return digest_json(["root", sorted(listing)])


def ensure_runtime() -> Path:
    """The runtime's folder, installed if it is not there yet. Safe for concurrent callers. Raises MachineError."""
    target = cache_root() / f"runtime-{image_digest()[:16]}"
    made = install(target, _fill)
    if os.geteuid() == 0 and not open_path(made):
        raise MachineError(
            f"{made}: sandbox users cannot reach it\nset SELFHARNESS_CACHE to a folder that everybody can read"
        )
    return made


def _fill(folder: Path) -> None:
    install_packages(folder, tuple(map(int, interpreter().split("."))))
    for name in ("python3", "python"):
        (folder / "bin" / name).symlink_to(PYTHON)


def install_packages(folder: Path, python: tuple[int, ...], machine: str | None = None) -> None:
    """Lay out a virtual environment by hand (Debian's /usr often lacks venv and ensurepip) and fill it from the lock.

    For the interpreter in /usr, or with `machine` for one of that version elsewhere. The links in bin/ are the caller's.
    Raises MachineError.
    """
    version = f"{python[0]}.{python[1]}"
    site = folder / "lib" / f"python{version}" / "site-packages"
    site.mkdir(parents=True)
    (folder / "bin").mkdir()
    (folder / "pyvenv.cfg").write_text("home = /usr/bin\ninclude-system-site-packages = false\n")
    command = [*_installer(), "--quiet", "--no-deps", "--require-hashes", "--only-binary", ":all:",
               "--target", str(site), "-r", str(LOCK)]  # fmt: skip
    if machine is not None:
        platforms = [
            f"{kind}_{machine}" for kind in ("manylinux2014", "manylinux_2_17", "manylinux_2_26", "manylinux_2_28")
        ]
        command += [word for name in platforms for word in ("--platform", name)]
        command += ["--python-version", version, "--implementation", "cp"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["pip failed"])[-1]
        raise MachineError(
            f"task runtime: {last}\nit is installed once, with pip, from the package index that pip is configured for"
        )
    shutil.rmtree(site / "bin", ignore_errors=True)
    if machine is None:
        subprocess.run([PYTHON, "-I", "-m", "compileall", "-q", str(site)], capture_output=True, check=False)
    (folder / "bin" / "pytest").write_text('#!/bin/sh\nexec /opt/runtime/bin/python3 -m pytest "$@"\n')
    (folder / "bin" / "pytest").chmod(0o755)


def install_lock(lock: str, python: tuple[int, ...], machine: str) -> Path:
    """The packages of a requirements lock as one folder, installed once per lock and interpreter. Raises MachineError.

    Nothing is resolved and nothing is built: the lock names everything, with hashes or at least exact versions.
    """
    version = f"{python[0]}.{python[1]}"
    target = cache_root() / "programs" / digest_json([lock, version, machine])[:24]

    def fill(folder: Path) -> None:
        listed = folder.with_suffix(".txt")
        listed.write_text(lock)
        platforms = [
            f"{kind}_{machine}" for kind in ("manylinux2014", "manylinux_2_17", "manylinux_2_26", "manylinux_2_28")
        ]
        command = [*_installer(), "--quiet", "--no-deps", "--only-binary", ":all:", "--target", str(folder), "-r", str(listed),
                   *(word for name in platforms for word in ("--platform", name)),
                   "--python-version", version, "--implementation", "cp"]  # fmt: skip
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        finally:
            listed.unlink()
        if done.returncode:
            said = [line for line in done.stderr.strip().splitlines() if line.startswith("ERROR")] or ["pip failed"]
            raise MachineError(
                f"a program's runtime: {said[-1][:300]}\nits lock names exact versions that the package index has"
            )

    return install(target, fill)


def _installer() -> list[str]:
    """A command that installs packages for the interpreter in /usr: our pip run by it, its own, or uv.

    pip judges markers by the interpreter that runs it, so it must be that one.
    """
    ours = importlib.util.find_spec("pip")
    if ours is not None and ours.origin:
        return [str(PYTHON), str(Path(ours.origin).parent), "install", "--disable-pip-version-check"]
    if subprocess.run([PYTHON, "-m", "pip", "--version"], capture_output=True, check=False).returncode == 0:
        return [str(PYTHON), "-m", "pip", "install", "--disable-pip-version-check"]
    if uv := shutil.which("uv"):
        return [uv, "pip", "install", "--python", str(PYTHON)]
    raise MachineError(
        "task runtime: neither pip nor uv is there to install it\n"
        "install one: python -m ensurepip, or apt-get install python3-pip"
    )
