"""Programs as scaffolds: agents that people have already, with their files, behind the model port.

`placement = "own"`: the program runs in the scaffold's sandbox and reaches the task through the SDK. `"task"`: scaffold and
runtime are read-only overlays in the task's sandbox, for agents that run their own shell. Neither has a network or a key.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from harness.broker import text_files
from harness.errors import SandboxFault, UsageError
from harness.hashing import digest_json
from harness.port.handler import ModelPort
from harness.port.program import run_program
from harness.sandboxes.cache import cache_root, install
from harness.sandboxes.runtime import install_lock
from harness.scaffold import Scaffold
from harness.seams import ExecResult, Mount, Sandbox, Sandboxes, SandboxSpec

SDK = Path(__file__).resolve().parent / "sdk"
OVERLAY, RUNTIME, HOME = "/opt/scaffold", "/opt/program", "/tmp/home"
_PYTHONS: dict[str, tuple[str, ...]] = {}
"""Version and machine of a provider's Python, by what its sandboxes run on."""


async def mounts_of(scaffold: Scaffold, sandboxes: Sandboxes) -> tuple[Mount, ...]:
    """What a program's sandbox shows, read-only: the SDK, its runtime, and in the task's sandbox the scaffold itself.

    Raises UsageError for a runtime that is not there, MachineError for one that cannot be installed, SandboxFault.
    """
    program = scaffold.settings.program
    found = [Mount(source=str(SDK), target="/opt/sdk")]
    if program is None:
        return tuple(found)
    if image_of(scaffold) and program.placement == "task":
        raise UsageError(
            "scaffold.toml: program.runtime: an image is for placement = \"own\"\nin the task's sandbox the image is the task's"
        )
    if program.runtime and not image_of(scaffold):
        found.append(Mount(source=str(await _runtime(scaffold, sandboxes)), target=RUNTIME))
    if program.placement == "task":
        found.append(Mount(source=str(await asyncio.to_thread(_overlay, scaffold)), target=OVERLAY))
    return tuple(found)


def image_of(scaffold: Scaffold) -> str:
    """The image that a program's own sandbox is started from (docker), by name or digest; '' for the default."""
    program = scaffold.settings.program
    return (
        program.runtime.removeprefix("image:") if program is not None and program.runtime.startswith("image:") else ""
    )


async def _runtime(scaffold: Scaffold, sandboxes: Sandboxes) -> Path:
    assert scaffold.settings.program is not None
    named = scaffold.settings.program.runtime
    if named.startswith("/"):
        if not await asyncio.to_thread(Path(named).is_dir):
            raise UsageError(
                f"scaffold.toml: program.runtime: no folder {named}\nname a folder, or a lock in the scaffold"
            )
        return Path(named)
    python, machine = await _python(sandboxes)
    return await asyncio.to_thread(install_lock, scaffold.files[named], tuple(map(int, python.split("."))), machine)


async def _python(sandboxes: Sandboxes) -> tuple[str, ...]:
    """Version and machine of the Python that sandboxes have."""
    digest = await sandboxes.digest()
    if digest not in _PYTHONS:
        box = await sandboxes.start(SandboxSpec(label="python", disk_mb=16))
        try:
            script = "import os, sys; print('%d.%d.%d' % sys.version_info[:3], os.uname().machine)"
            done = await box.exec(["python3", "-I", "-c", script])
        finally:
            await asyncio.shield(box.close())
        if done.returncode != 0:
            raise SandboxFault(f"no Python in the sandbox: {done.output[-200:]!r}")
        _PYTHONS[digest] = tuple(done.output.decode().split())
    return _PYTHONS[digest]


def _overlay(scaffold: Scaffold) -> Path:
    """The scaffold's files as a folder that can be mounted."""
    files = text_files(scaffold.files)

    def fill(folder: Path) -> None:
        for path, file in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(file.data)

    key = digest_json([scaffold.digest, sorted(files)])[:24]
    return install(cache_root() / "scaffolds" / key, fill)


async def run(
    scaffold: Scaffold, sandbox: Sandbox, port: ModelPort, *, instruction: str, workdir: str, time_limit: float
) -> ExecResult:
    """Run the entry behind the port. {instruction}, {scaffold} and {workdir} in it are filled in; the instruction is also
    in HARNESS_INSTRUCTION and in a file named by HARNESS_INSTRUCTION_FILE. Raises SandboxFault.
    """
    program = scaffold.settings.program
    assert program is not None
    here = OVERLAY if program.placement == "task" else "/scaffold"
    values = {"instruction": instruction, "scaffold": here, "workdir": workdir}
    await sandbox.put(text_files({"instruction.md": instruction, "home/.keep": ""}), "/tmp")
    env = {
        "HOME": HOME, "HARNESS_INSTRUCTION": instruction[:100_000], "HARNESS_INSTRUCTION_FILE": "/tmp/instruction.md",
        "PYTHONPATH": f"{here}:{RUNTIME}:/opt/sdk" if program.placement == "own" else f"{here}:{RUNTIME}",
        **{name: _filled(value, values) for name, value in program.env.items()},
    }  # fmt: skip
    argv = [_filled(word, values) for word in scaffold.settings.entry]
    cwd = workdir if program.placement == "task" else "/scaffold"
    return await run_program(sandbox, argv, port, cwd=cwd, env=env, time_limit=time_limit)


def _filled(text: str, values: dict[str, str]) -> str:
    for name, value in values.items():
        text = text.replace("{" + name + "}", value)
    return text
