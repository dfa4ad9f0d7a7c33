"""Instances: the files of (task, seed), made by the task's environment/build.py in a build sandbox, cached by digest."""

from __future__ import annotations

import asyncio
import io
import tarfile
from dataclasses import dataclass
from pathlib import Path

from harness.digest import folder_files
from harness.errors import UsageError
from harness.hashing import digest_json
from harness.records import Task
from harness.runs import write_atomic
from harness.seams import File, Sandboxes, SandboxSpec

BUILD_LIMIT = 60.0


@dataclass(frozen=True)
class Instance:
    """`files` go into the working folder before the agent starts; `private` to /tests/instance, for the verifier only."""

    files: dict[str, File]
    private: dict[str, File]


class Instances:
    """Builds instances once each; concurrent callers wait for one build. `cache` keeps them across runs."""

    def __init__(self, sandboxes: Sandboxes, cache: Path | None, runtime: str) -> None:
        self._sandboxes = sandboxes
        self._cache = cache
        self._runtime = runtime
        self._building: dict[tuple[str, int], asyncio.Task[Instance]] = {}

    async def get(self, task: Task, seed: int) -> Instance:
        """The instance. Raises UsageError when the build fails (the task is broken), SandboxFault, MachineError."""
        key = (task.id, seed)
        if key not in self._building:
            self._building[key] = asyncio.create_task(self._load(task, seed))
        building = self._building[key]
        try:
            return await asyncio.shield(building)
        except BaseException:
            if building.done() and self._building.get(key) is building:  # else another waiter took it out
                del self._building[key]
            raise

    async def _load(self, task: Task, seed: int) -> Instance:
        if not task.seeded:
            folder = task.folder
            return Instance(folder_files(folder / "environment" / "files"), folder_files(folder / "tests" / "instance"))
        stored = self._stored(task, seed)
        if stored is not None and stored.is_file():
            return _unpack(stored.read_bytes())
        instance = await self._build(task, seed)
        if stored is not None:
            write_atomic(stored, _pack(instance))
        return instance

    def _stored(self, task: Task, seed: int) -> Path | None:
        if self._cache is None:
            return None
        key = digest_json(["instance", 1, task.agent_digest, seed, self._runtime])
        return self._cache / "instances" / f"{key}.tar"

    async def _build(self, task: Task, seed: int) -> Instance:
        spec = SandboxSpec(label=f"build {task.id}/{seed}", workdir="/app", memory_mb=1024, disk_mb=256)
        sandbox = await self._sandboxes.start(spec)
        try:
            await sandbox.put(
                {"build.py": File(data=(task.folder / "environment" / "build.py").read_bytes())}, "/app/env"
            )
            argv = ["python3", "-I", "/app/env/build.py", "--seed", str(seed), "--out", "/app/out"]
            ran = await sandbox.exec(argv, cwd="/app", env={"PYTHONHASHSEED": "0"}, time_limit=BUILD_LIMIT)
            if ran.returncode != 0:
                said = ran.output.decode("utf-8", "replace").strip().splitlines() or ["it said nothing"]
                raise UsageError(f"task {task.id}: build.py --seed {seed} failed: {said[-1][:300]}")
            made = await sandbox.get("/app/out")
        finally:
            await asyncio.shield(sandbox.close())
        return Instance(_below(made, "files/"), _below(made, "instance/"))


def _below(files: dict[str, File], prefix: str) -> dict[str, File]:
    return {path.removeprefix(prefix): file for path, file in sorted(files.items()) if path.startswith(prefix)}


def _pack(instance: Instance) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for prefix, files in (("files/", instance.files), ("instance/", instance.private)):
            for path, file in files.items():
                entry = tarfile.TarInfo(prefix + path)
                entry.size, entry.mode = len(file.data), 0o755 if file.executable else 0o644
                archive.addfile(entry, io.BytesIO(file.data))
    return buffer.getvalue()


def _unpack(data: bytes) -> Instance:
    found: dict[str, File] = {}
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        for entry in archive:
            content = archive.extractfile(entry)
            if content is not None:
                found[entry.name] = File(data=content.read(), executable=bool(entry.mode & 0o100))
    return Instance(_below(found, "files/"), _below(found, "instance/"))
