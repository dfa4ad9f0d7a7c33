"""The task runtime: what a sandbox on the host's /usr offers beyond it (openpyxl, python-docx, pytest).

Installed once into a content-addressed folder for the interpreter in /usr, mounted read-only at /opt/runtime, first on
PATH. The lock (exact versions, hashes, no address) and the interpreter's version are its image digest.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

from harness.errors import MachineError
from harness.hashing import digest_json

LOCK = Path(__file__).with_name("runtime.lock")
PYTHON = Path("/usr/bin/python3")


def cache_root() -> Path:
    """Where shared, rebuildable things lie: SELFHARNESS_CACHE, else a folder that sandbox users can read."""
    given = os.environ.get("SELFHARNESS_CACHE")
    if given:
        return Path(given)
    return Path("/var/cache/selfharness") if os.geteuid() == 0 else Path.home() / ".cache" / "selfharness"


@lru_cache(maxsize=1)
def interpreter() -> str:
    """major.minor of the Python in /usr. Raises MachineError when there is none or it is too old."""
    try:
        done = subprocess.run([PYTHON, "-I", "-c", "import sys; print('%d.%d' % sys.version_info[:2])"],
                              capture_output=True, text=True, check=True, env={})  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        raise MachineError(f"{PYTHON}: no Python there, and the sandboxes need one\n"
                           "install it: apt-get install python3") from None  # fmt: skip
    version = done.stdout.strip()
    if tuple(map(int, version.split("."))) < (3, 9):
        raise MachineError(f"{PYTHON}: Python {version} is too old for the sandboxes; 3.9 or newer is needed")
    return version


def image_digest() -> str:
    """What the sandboxes run on: the runtime's lock and the interpreter's version."""
    return digest_json(["runtime", interpreter(), LOCK.read_text("utf-8")])


def ensure_runtime() -> Path:
    """The runtime's folder, installed if it is not there yet. Safe for concurrent callers. Raises MachineError."""
    target = cache_root() / f"runtime-{image_digest()[:16]}"
    if (target / "bin" / "python3").exists():
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with (target.parent / "runtime.lock").open("w") as guard:
            fcntl.flock(guard, fcntl.LOCK_EX)
            if not (target / "bin" / "python3").exists():
                _install(target)
    except OSError as error:
        raise MachineError(f"{target}: {error.strerror}\nset SELFHARNESS_CACHE to a folder that can be written") from None
    return target


def _install(target: Path) -> None:
    """Lay out a virtual environment by hand (no ensurepip needed) and fill it with this interpreter's pip."""
    scratch = target.with_name(f"{target.name}.{os.getpid()}.new")
    shutil.rmtree(scratch, ignore_errors=True)
    version = interpreter()
    site = scratch / "lib" / f"python{version}" / "site-packages"
    site.mkdir(parents=True)
    (scratch / "bin").mkdir()
    for name in ("python3", "python"):
        (scratch / "bin" / name).symlink_to(PYTHON)
    (scratch / "pyvenv.cfg").write_text("home = /usr/bin\ninclude-system-site-packages = false\n")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps",
               "--require-hashes", "--only-binary", ":all:", "--python-version", version, "--implementation", "cp",
               "--target", str(site), "-r", str(LOCK)]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        shutil.rmtree(scratch, ignore_errors=True)
        last = (done.stderr.strip().splitlines() or ["pip failed"])[-1]
        raise MachineError(f"task runtime: {last}\nit is installed once, with pip, and needs the package index for that")
    subprocess.run([PYTHON, "-I", "-m", "compileall", "-q", str(site)], capture_output=True, check=False)
    for path in (scratch, *scratch.rglob("*")):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | (0o555 if path.is_dir() else 0o444))
    scratch.rename(target)


def readable_copy(folder: Path) -> Path:
    """`folder` itself when every user may read it, else a copy in the cache: a sandbox's user is nobody in particular."""
    if os.geteuid() != 0 or _open_to_all(folder):
        return folder
    files = sorted(p for p in folder.rglob("*") if p.is_file() and not p.is_symlink() and "__pycache__" not in p.parts)
    key = digest_json([[str(p.relative_to(folder)), p.read_bytes().hex()] for p in files])[:16]
    target = cache_root() / "shared" / key
    if not target.exists():
        scratch = target.with_name(f"{key}.{os.getpid()}.new")
        for path in files:
            copy = scratch / path.relative_to(folder)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
        try:
            scratch.rename(target)
        except OSError:
            shutil.rmtree(scratch, ignore_errors=True)
    return target


def _open_to_all(folder: Path) -> bool:
    if any(not parent.stat().st_mode & 0o001 for parent in folder.resolve().parents):
        return False
    inside = [folder, *folder.rglob("*")]
    return all(path.is_symlink() or path.stat().st_mode & (0o005 if path.is_dir() else 0o004) for path in inside)
