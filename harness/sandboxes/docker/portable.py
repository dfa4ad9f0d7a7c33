"""A Python that runs in any image of its architecture, and other things that are carried into containers as files."""

from __future__ import annotations

import contextlib
import io
import os
import tarfile
from pathlib import Path, PurePosixPath

from harness.digest import folder_files
from harness.errors import SandboxFault
from harness.sandboxes.docker.engine import Engine, Refused
from harness.sandboxes.docker.images import Image
from harness.sandboxes.docker.sandbox import DockerSandbox
from harness.seams import File, GetLimits

_HARVEST = r"""
import os, shutil, sys
for name in ("__future__", "os", "site", "encodings.utf_8", "encodings.ascii", "encodings.latin_1", "encodings.idna", "_signal", "fcntl",
             "resource", "select", "ctypes", "ctypes.util", "_struct", "struct", "_json", "json", "time", "stat", "_stat"):
    __import__(name)
out, version = "/app/python", "python%d.%d" % sys.version_info[:2]
home = os.path.dirname(os.__file__)
def copy(source, target):
    os.makedirs(os.path.dirname(target), exist_ok=True)
    shutil.copyfile(os.path.realpath(source), target)
    os.chmod(target, 0o755)
for module in list(sys.modules.values()):
    path = getattr(module, "__file__", None)
    if path and path.startswith(home):
        copy(path, "%s/lib/%s/%s" % (out, version, os.path.relpath(path, home)))
    elif path:
        copy(path, "%s/lib/%s/lib-dynload/%s" % (out, version, os.path.basename(path)))
os.makedirs("%s/lib/%s/lib-dynload" % (out, version), exist_ok=True)
open("%s/lib/%s/lib-dynload/.keep" % (out, version), "w").close()
copy(sys.executable, out + "/bin/python3")
for line in open("/proc/self/maps"):
    path = line.rstrip("\n").partition("/")[2]
    if path and ".so" in path and "/lib-dynload/" not in path and os.path.exists("/" + path):
        name = os.path.basename(path)
        copy("/" + path, "%s/libs/%s" % (out, "ld.so" if name.startswith(("ld-", "ld.")) else name))
        # a library is asked for by its short name, which is a link to the file that is mapped
        for other in os.listdir(os.path.dirname("/" + path)):
            full = os.path.join(os.path.dirname("/" + path), other)
            if os.path.islink(full) and os.path.realpath(full) == os.path.realpath("/" + path) and ".so" in other:
                copy(full, "%s/libs/%s" % (out, other))
"""


async def harvest(sandbox: DockerSandbox) -> dict[str, File]:
    """The interpreter of a sandbox with the libraries and modules that the agent needs. Raises SandboxFault."""
    done = await sandbox.exec(["python3", "-I", "-c", _HARVEST], time_limit=60)
    if done.returncode != 0:
        raise SandboxFault(f"docker: no portable Python: {done.output.decode('utf-8', 'replace')[-300:]}")
    return await sandbox.get("/app/python", limits=GetLimits(files=4000, file_mb=64, total_mb=200))


def folder(source: Path) -> dict[str, File]:
    """A host folder or file, as it is put into a container. Raises SandboxFault."""
    try:
        if source.is_dir():
            return folder_files(source)
        return {source.name: File(data=source.read_bytes(), executable=bool(source.stat().st_mode & 0o100))}
    except OSError as error:
        raise SandboxFault(f"mount: {error.filename or source}: {error.strerror}") from None


def size_of(source: Path) -> int:
    """Bytes below a host folder."""
    if not source.is_dir():
        return source.stat().st_size if source.exists() else 0
    return sum((Path(folder) / name).lstat().st_size for folder, _, names in os.walk(source) for name in names)


async def image_folder(engine: Engine, image: Image, path: str) -> dict[str, File]:
    """Regular files below a folder of an image that is not running; nothing when it is not there."""
    made = await engine.call("create_container_from_config", {"Image": image.id, "Cmd": ["none"]})
    try:
        data = await engine.archive(made["Id"], path)
    except Refused as error:
        if error.status == 404:
            return {}
        raise
    finally:
        with contextlib.suppress(SandboxFault):
            await engine.call("remove_container", made["Id"], force=True, v=True)
    found: dict[str, File] = {}
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        for entry in archive:
            name = "/".join(PurePosixPath(entry.name).parts[1:])
            content = archive.extractfile(entry) if entry.isreg() and name else None
            if content is not None:
                found[name] = File(data=content.read(), executable=bool(entry.mode & 0o100))
    return found
