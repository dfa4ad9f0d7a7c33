"""Images: found, pulled, built or completed, and named by their content from then on.

What an image lacks is added as one layer, once: a Python for the in-sandbox agent, taken out of the default image with
the libraries that it needs; and in the default image the task runtime (runtime.lock). Neither needs a network.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import re
import tarfile
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from harness.digest import folder_files
from harness.errors import MachineError, SandboxFault
from harness.hashing import digest_json, sha256
from harness.sandboxes.docker.engine import Engine, Progress, Refused
from harness.sandboxes.docker.owner import MARK
from harness.sandboxes.runtime import LOCK, install_packages
from harness.seams import File

DEFAULT_IMAGE = "python:3.12-slim-bookworm"
REPOSITORY = "selfharness"
PORTABLE = "/opt/harness-python"
BUILD_LIMIT = 600
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class Image:
    """What a container needs to know of its image. `python`: the command that starts the agent's interpreter."""

    id: str
    user: str = ""
    workdir: str = "/"
    environment: tuple[tuple[str, str], ...] = ()
    machine: str = "x86_64"
    python: tuple[str, ...] = ("python3",)
    runtime: bool = False


class Images:
    """The images of one engine. `mapping` is [sandbox.images]: what to use instead of a name."""

    def __init__(self, engine: Engine, mapping: Mapping[str, str], progress: Progress) -> None:
        self.mapping = dict(mapping)
        self._engine, self._progress = engine, progress
        self._found: dict[str, Image] = {}
        self._folders: dict[tuple[str, str, str], tuple[str, str]] = {}
        """Listing and image by (image, host folder, place): what was added already."""
        self._busy = asyncio.Lock()

    async def find(self, name: str, *, pull: bool = False) -> Image:
        """The image of this name or id, as it is on the engine. Raises MachineError when it cannot be had."""
        wanted = self.mapping.get(name, name)
        if wanted in self._found:
            return self._found[wanted]
        async with self._busy:
            if wanted not in self._found:
                details = await self._inspect(wanted)
                if details is None and pull:
                    await self._pull(name, wanted)
                    details = await self._inspect(wanted)
                if details is None:
                    raise MachineError(_absent(name, wanted, self._engine.url))
                self._found[wanted] = _image(details)
            return self._found[wanted]

    async def is_here(self, name: str) -> bool:
        """Whether the engine has it, without fetching anything."""
        return await self._inspect(self.mapping.get(name, name)) is not None

    def replace(self, name: str, image: Image) -> None:
        """Use a completed image from now on."""
        self._found[self.mapping.get(name, name)] = image

    def completed(self, image: str, by: Image) -> None:
        """Use `by` for every name of this image from now on."""
        for name in [name for name, known in self._found.items() if known.id == image]:
            self._found[name] = by

    def forget(self, image: str) -> None:
        """An image that is being removed."""
        self._found.pop(image, None)

    async def _inspect(self, name: str) -> dict[str, object] | None:
        try:
            return dict(await self._engine.call("inspect_image", name))
        except Refused as error:
            if error.status == 404:
                return None
            raise

    async def _pull(self, name: str, wanted: str) -> None:
        self._progress(f"pulling {wanted}")
        repository, tag = wanted, None
        if "@" not in wanted and ":" in wanted.rpartition("/")[2]:
            repository, _, tag = wanted.rpartition(":")
        try:
            await self._engine.consume("pull", self._progress, repository, tag=tag, stream=True)
        except SandboxFault as error:
            raise MachineError(_absent(name, wanted, self._engine.url, str(error))) from None

    async def build(self, folder: Path) -> Image:
        """The image of a task's environment/Dockerfile, built once per content. Raises MachineError with the failing step."""
        files = await asyncio.to_thread(self._context, folder)
        content = {path: [sha256(file.data), file.executable] for path, file in files.items()}
        bases = [await self._inspect(name) for name in _bases(files["Dockerfile"].data)]
        tag = f"{REPOSITORY}/task:{digest_json([content, [base and base['Id'] for base in bases]])[:20]}"
        async with self._busy:
            if await self._inspect(tag) is None:
                self._progress(f"building {folder}")
                await self._build(folder, pack(files), tag)
        return await self.find(tag)

    async def _build(self, folder: Path, context: bytes, tag: str) -> None:
        said: list[str] = []

        def hear(line: str) -> None:
            said.append(line)
            if line.startswith("Step "):
                self._progress(line)

        try:
            async with asyncio.timeout(BUILD_LIMIT):
                await self._engine.consume(
                    "build", hear, fileobj=io.BytesIO(context), custom_context=True, tag=tag, rm=True, forcerm=True,
                    labels={MARK: "1"},
                )  # fmt: skip
        except TimeoutError:
            raise MachineError(f"{folder}: the image was not built in {BUILD_LIMIT} s (last: {said[-1:]})") from None
        except SandboxFault as error:
            steps = [at for at, line in enumerate(said) if line.startswith("Step ")]
            step = said[steps[-1]] if steps else "the build"
            heard = " | ".join(_plain(line) for line in said[steps[-1] + 1 :] if _plain(line))[-300:] if steps else ""
            raise MachineError(
                f"{folder}/Dockerfile: {step} failed: {str(error)[:300]}: {heard}\n"
                "mend the Dockerfile, or map its FROM image under [sandbox.images]"
            ) from None

    def _context(self, folder: Path) -> dict[str, File]:
        """The files of the folder; FROM lines are mapped as image names are."""
        files = folder_files(folder)
        lines = files.get("Dockerfile", File(data=b"")).data.decode("utf-8", "replace").splitlines()
        text = "\n".join(self._mapped(line) for line in lines) + "\n"
        return {**files, "Dockerfile": File(data=text.encode())}

    def _mapped(self, line: str) -> str:
        words = line.split()
        if words and words[0].upper() == "FROM":
            return " ".join(self.mapping.get(word, word) for word in words)
        return line

    async def complete(
        self, image: Image, files: Mapping[str, File], purpose: str, links: Mapping[str, str] | None = None
    ) -> Image:
        """`image` with one more layer, made once per content. `links`: symbolic links by path."""
        content = digest_json([image.id, {path: sha256(file.data) for path, file in files.items()}, dict(links or {})])
        tag = f"{REPOSITORY}/{purpose}:{content[:20]}"
        details = await self._inspect(tag)
        if details is None:
            await self._layer(image, pack(files, links), tag)
            details = await self._inspect(tag)
        return replace(image, id=str((details or {})["Id"]))

    async def _layer(self, image: Image, data: bytes, tag: str) -> None:
        """Lay a tar over an image and give the result a name."""
        made = await self._engine.call(
            "create_container_from_config", {"Image": image.id, "Cmd": ["none"], "Labels": {MARK: "1"}}
        )
        try:
            await self._engine.call("put_archive", made["Id"], "/", data)
            repository, _, label = tag.partition(":")
            await self._engine.call("commit", made["Id"], repository, label)
        finally:
            with contextlib.suppress(SandboxFault):
                await self._engine.call("remove_container", made["Id"], force=True, v=True)

    async def with_folder(self, image: Image, source: Path, target: str) -> Image:
        """`image` with a host folder as one more layer: for what is too large to be copied into every container."""
        listing, data = await asyncio.to_thread(
            _folder_tar, source, target, self._folders.get((image.id, str(source), target))
        )
        key = (image.id, str(source), target)
        if data is None:
            return replace(image, id=self._folders[key][1])
        tag = f"{REPOSITORY}/folder:{digest_json([image.id, target, listing])[:20]}"
        async with self._busy:
            details = await self._inspect(tag)
            if details is None:
                self._progress(f"adding {source} to an image")
                await self._layer(image, data, tag)
                details = await self._inspect(tag)
        self._folders[key] = (listing, str((details or {})["Id"]))
        return replace(image, id=self._folders[key][1])

    async def with_runtime(self, image: Image, python: tuple[int, ...], executable: str) -> Image:
        """The default image with the task runtime for its interpreter. Raises MachineError."""
        self._progress("adding the task runtime to the default image")
        files = await asyncio.to_thread(_runtime_files, python, image.machine)
        links = {f"opt/runtime/bin/{name}": executable for name in ("python3", "python")}
        return replace(await self.complete(image, files, "runtime", links), runtime=True)

    async def with_python(self, image: Image, harvest: Callable[[], Awaitable[dict[str, File]]]) -> Image:
        """An image that has no Python of its own, with a private one for the agent."""
        self._progress("adding a Python for the in-sandbox agent to an image that has none")
        files = {f"{PORTABLE.strip('/')}/{path}": file for path, file in (await harvest()).items()}
        made = await self.complete(image, files, "agent")
        start = (f"{PORTABLE}/libs/ld.so", "--library-path", f"{PORTABLE}/libs", f"{PORTABLE}/bin/python3")
        return replace(made, python=start)


def pack(files: Mapping[str, File], links: Mapping[str, str] | None = None) -> bytes:
    """A tar of files and symbolic links, owned by root, without times."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path, file in sorted(files.items()):
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode = len(file.data), 0o755 if file.executable else 0o644
            archive.addfile(entry, io.BytesIO(file.data))
        for path, target in sorted((links or {}).items()):
            entry = tarfile.TarInfo(path)
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            archive.addfile(entry)
    return buffer.getvalue()


def _plain(line: str) -> str:
    """What a program said in a build, without colours; nothing for what the builder says itself."""
    return "" if line.startswith(("---> ", "Removing intermediate")) else _COLOUR.sub("", line).strip()


def _bases(dockerfile: bytes) -> list[str]:
    """Names of the images that a Dockerfile starts from."""
    lines = [line.split() for line in dockerfile.decode("utf-8", "replace").splitlines()]
    return [
        words[1] for words in lines if len(words) > 1 and words[0].upper() == "FROM" and not words[1].startswith("-")
    ]


def _folder_tar(source: Path, target: str, known: tuple[str, str] | None) -> tuple[str, bytes | None]:
    """A listing of a host folder by path, size and time, and the folder as a tar unless that listing is known."""
    rows = []
    for folder, _, names in os.walk(source):
        for name in sorted(names):
            info = Path(folder, name).lstat()
            rows.append([str(Path(folder, name).relative_to(source)), info.st_size, info.st_mtime_ns])
    listing = digest_json(sorted(rows))
    if known is not None and known[0] == listing:
        return listing, None
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.add(source, arcname=target.strip("/"), filter=_of_root)
    return listing, buffer.getvalue()


def _of_root(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mode |= 0o555 if entry.isdir() else 0o444
    return entry


def _image(details: Mapping[str, object]) -> Image:
    config = details.get("Config") or {}
    assert isinstance(config, dict)
    pairs = tuple(tuple(item.partition("=")[::2]) for item in config.get("Env") or ())
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(str(details["Architecture"]), str(details["Architecture"]))
    return Image(id=str(details["Id"]), user=str(config.get("User") or ""), workdir=str(config.get("WorkingDir") or "/"),
                 environment=tuple((str(k), str(v)) for k, v in pairs), machine=machine)  # fmt: skip


def _absent(name: str, wanted: str, url: str, said: str = "") -> str:
    mapped = f" (mapped to {wanted})" if wanted != name else ""
    if name == DEFAULT_IMAGE:
        remedy = "name another: --set sandbox.image=NAME; make image makes selfharness/base without a registry"
    else:
        remedy = f'use another: [sandbox.images] "{name}" = "NAME"'
    return (
        f"docker: image {name}{mapped} is not on the engine at {url}{': ' + said[:200] if said else ''}\n"
        f"docker pull {wanted}, or {remedy}"
    )


def _runtime_files(python: tuple[int, ...], machine: str) -> dict[str, File]:
    """The task runtime as files below /, for an interpreter that is not this machine's."""
    with tempfile.TemporaryDirectory(prefix="selfharness-runtime-") as scratch:
        folder = Path(scratch, "runtime")
        install_packages(folder, python, machine)
        found = {f"opt/runtime/{path}": file for path, file in folder_files(folder).items()}
    found["opt/runtime/lock"] = File(data=LOCK.read_bytes())
    return found
