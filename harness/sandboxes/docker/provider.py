"""The docker provider: one container per sandbox, through a Docker engine that is local, rootless or remote.

The in-sandbox agent is the container's first process; its standard streams are ours (attach.py), so a container ends when
the harness does. Commands run as a user id that no other live sandbox has. Every container is used once and removed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from collections.abc import Coroutine, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.errors import ImageFault, MachineError, SandboxFault
from harness.sandboxes.client import Client
from harness.sandboxes.docker import portable, settings
from harness.sandboxes.docker.attach import MuxReader
from harness.sandboxes.docker.engine import Engine, Progress, Refused
from harness.sandboxes.docker.images import DEFAULT_IMAGE, Image, Images
from harness.sandboxes.docker.owner import MARK, is_left_over
from harness.sandboxes.docker.sandbox import DockerSandbox
from harness.sandboxes.mounts import identity
from harness.sandboxes.pool import WarmPool
from harness.sandboxes.process import ProcessSandbox
from harness.sandboxes.slots import LOW_ID, Slots
from harness.seams import Capabilities, File, Sandbox, SandboxSpec

START_LIMIT = 60.0
STARTS = 4
"""Lifecycles at once: two cores are busy from two on, and an engine serialises much of them."""
COPIED = 8 << 20
"""Bytes of a host folder that are copied into each container; what is larger becomes a layer of the image, once."""
BURIAL = 0.25
"""Seconds until the engine is asked whether it has removed what has ended: asking costs it as much as doing."""
_LOG = logging.getLogger(__name__)


class DockerSandboxes:
    """Implements seams.Sandboxes. `image`: of tasks that name none; `images`: what to use instead of a name.

    `pull`: whether the default image may be fetched; `url`: the engine, when it is not the docker command's.
    """

    name = "docker"

    def __init__(
        self,
        *,
        image: str | None = None,
        images: Mapping[str, str] | None = None,
        concurrency: int = 2,
        warm: int | None = None,
        pull: bool = True,
        url: str | None = None,
        progress: Progress | None = None,
    ) -> None:
        self._default, self._pull = image or DEFAULT_IMAGE, pull
        self._engine = Engine(url)
        self.images = Images(self._engine, images or {}, progress or _say)
        self._opening = asyncio.Lock()
        self._slots: Slots | None = None
        self._starts = asyncio.Semaphore(STARTS)
        self._live: set[ProcessSandbox] = set()
        self._ending: set[asyncio.Task[None]] = set()
        self._snapshots: set[str] = set()
        self._absent: set[str] = set()
        """Images that could not be had and are built instead."""
        self._laid: dict[tuple[str, str], dict[str, File]] = {}
        self._pool = WarmPool(self._launch, concurrency if warm is None else warm)

    async def probe(self) -> Capabilities:
        from harness.sandboxes.probe import probe_provider

        await self.prepare()
        opening = {"kind": "docker", "image": self._default, "images": self.images.mapping}
        return await probe_provider(self, opening, self._alive, {"DOCKER_HOST": self._engine.url})

    async def _alive(self, ident: str) -> bool:
        """Whether the container of a sandbox runs, whoever started it."""
        try:
            found = await self._engine.call("inspect_container", ident.removeprefix("docker-"))
        except Refused:
            return False
        return bool(found["State"]["Running"])

    async def digest(self) -> str:
        return (await self.prepare()).id

    async def prepare(self) -> Image:
        """Open the engine and have the default image complete, pulled if need be. Raises MachineError."""
        slots = await self._open()
        image = await self.images.find(self._default, pull=self._pull)
        if image.runtime:
            return image
        async with self._opening:
            sandbox = await self._start(SandboxSpec(label="image"), image, slots)
            try:
                found = await sandbox.about()
            finally:
                await sandbox.close()
            if found["runtime"]:
                image = replace(image, runtime=True)
            else:
                image = await self.images.with_runtime(image, tuple(found["python"]), str(found["executable"]))
            self.images.replace(self._default, image)
        return image

    async def _open(self) -> Slots:
        async with self._opening:
            if self._slots is None:
                await self._engine.open()
                self._slots = Slots(first_uid=LOW_ID if self._engine.rootless else None)
            return self._slots

    async def start(self, spec: SandboxSpec) -> Sandbox:
        """A running sandbox. Raises MachineError for what this engine cannot give, SandboxFault otherwise."""
        if spec.profile == "hardened" and (spec.network != "none" or spec.user is not None):
            raise MachineError("docker: profile hardened has no network and no user of the image's\nuse profile compat")
        if spec.profile == "hardened" and spec.env:
            raise MachineError("docker: profile hardened has no variables of a task's\nuse profile compat")
        if spec.image in self._snapshots:
            return await self._launch(spec, [(Path(m.source), m.target) for m in spec.mounts])
        found = [identity(Path(mount.source)) for mount in spec.mounts]
        return await self._pool.take(spec, [(Path(m.source), m.target) for m in spec.mounts], repr(found))

    async def _launch(self, spec: SandboxSpec, mounts: list[tuple[Path, str]]) -> ProcessSandbox:
        slots = await self._open()
        image = await self._image(spec)
        large = [mount for mount in mounts if await asyncio.to_thread(portable.size_of, mount[0]) > COPIED]
        for source, target in large:
            image = await self.images.with_folder(image, source, target)
        kept = tuple(m for m in spec.mounts if (Path(m.source), m.target) not in large)
        async with self._starts:
            sandbox = await self._start_with_python(spec.model_copy(update={"mounts": kept}), image, slots)
        try:
            for source, target in (mount for mount in mounts if mount not in large):
                files = await asyncio.to_thread(portable.folder, source)
                await sandbox.put(files, target, trusted=True)
            if spec.profile == "hardened" and spec.image is not None:
                await sandbox.put(await self._content(image, spec.workdir), spec.workdir)
        except BaseException:
            await asyncio.shield(sandbox.close())
            raise
        return sandbox

    async def _image(self, spec: SandboxSpec) -> Image:
        """What this sandbox runs on. Raises ImageFault for an image that only this spec asks for."""
        if spec.image is None and spec.build is None:
            return await self.prepare()
        try:
            if spec.image is not None and spec.image not in self._absent:
                return await self.images.find(spec.image, pull=self._pull)
        except MachineError as error:
            if spec.build is None:
                raise ImageFault(str(error)) from None
            self._absent.add(spec.image or "")
            _say(f"docker: {spec.image} cannot be had; building {spec.build}")
        try:
            return await self.images.build(Path(spec.build or ""))
        except MachineError as error:
            raise ImageFault(str(error)) from None

    async def drop(self, image: str) -> None:
        """In the background: a container that was just closed may hold it for a moment. What fails waits for close()."""
        self.images.forget(image)
        task = asyncio.create_task(self._drop(image))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def _drop(self, image: str) -> None:
        for _ in range(50):
            try:
                await self._engine.call("remove_image", image)
            except Refused as error:
                if error.status == 409:
                    await asyncio.sleep(BURIAL)
                    continue
            except SandboxFault:
                return
            self._snapshots.discard(image)
            return

    async def _start_with_python(self, spec: SandboxSpec, image: Image, slots: Slots) -> DockerSandbox:
        """Start on an image, after adding a Python for the agent if it turns out to have none."""
        try:
            return await self._start(spec, image, slots)
        except _NoPython:
            if spec.image is None and spec.build is None:
                raise
        known = image.id
        image = await self.images.with_python(image, self._harvest)
        self.images.completed(known, image)
        return await self._start(spec, image, slots)

    async def _harvest(self) -> dict[str, File]:
        """A Python that runs anywhere, out of the default image."""
        slots = await self._open()
        sandbox = await self._start(SandboxSpec(label="harvest", disk_mb=128), await self.prepare(), slots)
        try:
            return await portable.harvest(sandbox)
        finally:
            await sandbox.close()

    async def _start(self, spec: SandboxSpec, image: Image, slots: Slots) -> DockerSandbox:
        slot = slots.take()
        uid = slots.uids(slot)[1]
        config = settings.container(spec, image, uid, tuple(mount.target for mount in spec.mounts))
        # A task of its own: a cancelled call still makes its container, and somebody must hear of it.
        creating = asyncio.create_task(self._create(config, spec))
        reader: MuxReader | None = None
        client: Client | None = None
        try:
            async with asyncio.timeout(START_LIMIT):
                ident = await asyncio.shield(creating)
                reader, writer = await self._engine.attach(ident)
                client = Client(reader, writer)
                await self._engine.call("start", ident)
                writer.write(settings.agent(spec, image, uid))
                await asyncio.shield(client.hello)
        except BaseException as error:
            fault = _fault(error, reader.complaints() if reader is not None else "")
            await self._finally(self._end(creating, client, slot, slots))
            raise fault from None

        async def end() -> None:
            self._live.discard(sandbox)
            await self._finally(self._end(creating, client, slot, slots))

        sandbox = DockerSandbox(ident, client, settings.environment(spec, image), spec, image, self._engine,
                                self._snapshots, end)  # fmt: skip
        self._live.add(sandbox)
        return sandbox

    async def _create(self, config: dict[str, object], spec: SandboxSpec) -> str:
        try:
            made = await self._engine.call("create_container_from_config", config)
        except Refused as error:
            if error.status == 404:
                raise SandboxFault(f"{error}: the image is gone") from None
            if error.status == 400 and spec.profile == "compat":
                raise ImageFault(f"{error}: this engine cannot give what the task asks for") from None
            if error.status == 400:
                raise MachineError(f"{error}\nthis engine cannot give what the sandbox needs") from None
            raise
        return str(made["Id"])

    async def _finally(self, work: Coroutine[Any, Any, None]) -> None:
        """Do this, even if whoever waits for it is cancelled; close() waits for it too."""
        task = asyncio.create_task(work)
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)
        await asyncio.shield(task)

    async def _end(self, creating: asyncio.Task[str], client: Client | None, slot: int, slots: Slots) -> None:
        """Kill at once; the engine removes what has ended by itself, and is asked again in the background."""
        await asyncio.wait({creating})
        ident = "" if creating.cancelled() or creating.exception() else creating.result()
        if client is not None:
            await client.close()
        if ident:
            with contextlib.suppress(SandboxFault):
                await self._engine.call("kill", ident)
        task = asyncio.create_task(self._bury(ident, slot, slots))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def _bury(self, ident: str, slot: int, slots: Slots) -> None:
        """The slot is free when the container is gone: its user id may be given again then."""
        try:
            for _ in range(50 if ident else 0):
                await asyncio.sleep(BURIAL)
                try:
                    await self._engine.call("remove_container", ident, force=True, v=True)
                except Refused as error:
                    if error.status == 404:
                        break
        except SandboxFault as error:
            _LOG.warning("a container may be left: %s; harness check --reap removes it", error)
        finally:
            slots.free(slot)

    async def _content(self, image: Image, workdir: str) -> dict[str, File]:
        """What the image holds in the working folder, which a bounded, empty one hides."""
        key = (image.id, workdir)
        if key not in self._laid:
            self._laid[key] = await portable.image_folder(self._engine, image, workdir)
        return self._laid[key]

    async def reap(self) -> int:
        """Remove containers and snapshots whose owners are gone."""
        await self._open()
        removed = 0
        wanted = {"label": [f"{MARK}=1"]}
        for found in await self._engine.call("containers", all=True, filters=wanted):
            if is_left_over(found.get("Labels") or {}):
                with contextlib.suppress(Refused):
                    await self._engine.call("remove_container", found["Id"], force=True, v=True)
                    removed += 1
        for found in await self._engine.call("images", filters={"label": ["selfharness.snapshot=1"]}):
            if is_left_over(found.get("Labels") or {}):
                with contextlib.suppress(Refused):
                    await self._engine.call("remove_image", found["Id"], force=True)
                    removed += 1
        return removed

    async def close(self) -> None:
        """Close every sandbox that is still there, and wait until all are gone."""
        await self._pool.close()
        await asyncio.gather(*(sandbox.close() for sandbox in list(self._live)))
        while self._ending:
            await asyncio.gather(*self._ending, return_exceptions=True)
        for name in self._snapshots:
            with contextlib.suppress(SandboxFault):
                await self._engine.call("remove_image", name, force=True)
        if self._slots is not None:
            self._slots.close()
            self._slots = None
            await self._engine.close()


class _NoPython(SandboxFault):
    """The image has no Python that the agent could run on."""


def _fault(error: BaseException, said: str) -> BaseException:
    """What to raise when a start failed: the engine's or the agent's own words."""
    text = f"{said} {error}"
    if isinstance(error, SandboxFault) and any(
        sign in text
        for sign in ("executable file not found", "no such file or directory", "is too old", "stat python3")
    ):
        return _NoPython(f"docker: the image has no Python for the agent: {text.strip()[:200]}")
    if isinstance(error, TimeoutError):
        return SandboxFault(f"docker: no sandbox within {START_LIMIT:.0f} s")
    if isinstance(error, SandboxFault) and said:
        return SandboxFault(f"docker: {said.strip().splitlines()[-1][:300]}")
    return error


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
