"""Foreign tasks: Harbor's folders in their own images, step by step, verified where the agent never was.

Harbor verifies in the agent's own container by default (`shared`). Here that is a snapshot of the quiesced container: it has
everything that the agent left and nothing that still runs, and the tests are laid into the copy only, so that no later step
sees them; unless the experiment names the task as `live`. A `separate` verifier gets a fresh container and the artefacts. Rewards are read from outside after every process
is gone; links and what was there before are not believed.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace

from harness.artefacts import TAKEN, Taken, take
from harness.digest import folder_files
from harness.errors import SandboxFault, UsageError
from harness.records import Foreign, Healthcheck, Place, Step, Task
from harness.rewards import Graded, below_minimum, read_rewards
from harness.seams import ExecResult, File, GetLimits, Mount, Sandbox, Sandboxes, SandboxSpec
from harness.verification import MAX_LOG, close_quietly

LOGS = ("/logs/agent", "/logs/verifier", "/logs/artifacts")
SHM = "/dev/shm"
"""The one folder of these containers that is memory, and so in no snapshot."""
EMPTY = (
    "sh",
    "-c",
    'set -e; for d in /tests /logs/verifier; do rm -rf "$d"; mkdir -p "$d"; done; chmod 777 /logs/verifier',
)
CLEAR = 'set -e; mkdir -p "$1"; find "$1/" -mindepth 1 -delete; chmod 777 "$1"'
SETUP_LIMIT = 600.0
_TEMPLATE = re.compile(r"\$\{([^}:]+)(?::-(.*))?\}", re.DOTALL)
_SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSW|CREDENTIAL", re.IGNORECASE)
Act = Callable[[Step, Sandbox, str], Awaitable[bool]]
"""What an agent does in a step: (step, the task's sandbox, working folder) -> whether there is something to verify."""


@dataclass
class ForeignTrial:
    """One pass over a foreign task. `run` returns what was verified, in order; fewer than there are steps when it ended early."""

    task: Task
    sandboxes: Sandboxes
    label: str
    mounts: tuple[Mount, ...] = ()
    """Read-only folders in the agent's container, for programs that run there."""
    graded: list[Graded] = field(default_factory=list)
    _images: list[str] = field(default_factory=list)
    _box: Sandbox | None = None
    """The agent's container; `_now` says whose it is."""
    _now: Step | None = None

    async def run(self, act: Act) -> list[Graded]:
        """Raises SandboxFault, UsageError (the task is broken or wants what it must not have), and what `act` raises."""
        foreign = _foreign_of(self.task)
        _all_variables(foreign)
        place, first = foreign.place, foreign.steps[0]
        try:
            # A container's own health check is the image's user's affair, whoever the agent is.
            self._now = first.model_copy(update={"user": None}) if place.healthcheck else first
            self._box = await self._start(place, self._now, self.mounts)
            await _healthy(self._box, place.healthcheck)
            for step in foreign.steps:
                box = await self._as_wanted(step)
                workdir = await self._prepare(box, step)
                if not await act(step, box, workdir):
                    break
                box, stopped = await self._collected(step)
                self.graded.append(replace(await self._verify(box, step), stopped=stopped))
                if below_minimum(step, self.graded[-1].rewards):
                    break
        finally:
            await close_quietly(self._box)
            for image in self._images:
                await self.sandboxes.drop(image)
        return self.graded

    async def _start(
        self,
        place: Place,
        step: Step,
        mounts: tuple[Mount, ...] = (),
        *,
        image: str | None = None,
        verifier: bool = False,
    ) -> Sandbox:
        build = str(self.task.folder / place.build) if place.build and image is None else None
        spec = SandboxSpec(
            label=self.label, profile="compat", image=image or place.image, build=build, workdir=place.workdir,
            cpus=place.cpus, memory_mb=place.memory_mb, disk_mb=place.disk_mb, pids=1024, mounts=mounts,
            user=step.verifier_user if verifier else step.user,
            network=step.verifier_network if verifier else step.network,
            env=resolve(place.env), extra_dirs=(*LOGS, "/tests") if verifier else LOGS,
        )  # fmt: skip
        return await self.sandboxes.start(spec)

    async def _as_wanted(self, step: Step) -> Sandbox:
        """The agent's container as this step wants it: another user or network is another container from a snapshot."""
        assert self._box is not None and self._now is not None
        if (self._now.user, self._now.network) != (step.user, step.network):
            before = self._box
            self._box = await self._again(before, _foreign_of(self.task).place, step, self.mounts)
            await close_quietly(before)
        self._now = step
        return self._box

    async def _again(
        self, box: Sandbox, place: Place, step: Step, mounts: tuple[Mount, ...] = (), *, verifier: bool = False
    ) -> Sandbox:
        """A container from a snapshot of this one, with what lived in memory."""
        image = await box.snapshot()
        self._images.append(image)
        other = await self._start(place, step, mounts, image=image, verifier=verifier)
        try:
            if shared := await box.get(SHM, limits=TAKEN):
                await other.put(shared, SHM)
        except BaseException:
            await close_quietly(other)
            raise
        return other

    async def _prepare(self, box: Sandbox, step: Step) -> str:
        """Lay the step's files, run its setup, wait until it is healthy; the working folder. Raises UsageError."""
        workdir = (await box.exec(["pwd"])).output.decode("utf-8", "replace").strip() or "/"
        if not step.name:
            return workdir
        files = folder_files(self.task.folder / "steps" / step.name / "workdir")
        if files:
            await box.put(files, workdir, trusted=True)
        if "setup.sh" in files:
            ran = await box.exec(["bash", f"{workdir.rstrip('/')}/setup.sh"], time_limit=SETUP_LIMIT)
            if ran.returncode != 0:
                raise UsageError(f"step {step.name}: setup.sh ended with {ran.returncode}: {_tail(ran)}")
        await _healthy(box, step.healthcheck)
        return workdir

    async def _collected(self, step: Step) -> tuple[Sandbox, int]:
        """The agent's container after the collect hooks, and how many programs were ended in it. A hook sees what the agent
        left running, as in Harbor, unless it wants another user, which means another container. A live verifier sees it too."""
        assert self._box is not None
        for hook in step.collect:
            box = await self._as_wanted(step.model_copy(update={"user": hook.user}))
            await box.exec(["bash", "-c", hook.command], time_limit=hook.timeout_sec)
        return self._box, 0 if _foreign_of(self.task).live else await self._box.quiesce()

    async def _verify(self, box: Sandbox, step: Step) -> Graded:
        if _foreign_of(self.task).live:
            emptied = await box.exec(EMPTY)
            if emptied.returncode != 0:
                return Graded(step.name, None, f"/tests and /logs/verifier cannot be made anew: {_tail(emptied)}")
            return await self._judge(box, step)
        try:
            fresh = await (self._copy(box, step) if step.verifier_place is None else self._fresh(box, step))
        except UsageError as error:
            return Graded(step.name, None, str(error))
        try:
            return await self._judge(fresh, step)
        finally:
            await close_quietly(fresh)

    async def _copy(self, box: Sandbox, step: Step) -> Sandbox:
        """A container from a snapshot of the agent's, without what lay where tests and rewards will be."""
        place = _foreign_of(self.task).place
        return await self._swept(await self._again(box, place, step, verifier=True), place, step, EMPTY)

    async def _fresh(self, box: Sandbox, step: Step) -> Sandbox:
        """A container of the verifier's own, with the artefacts where they were: a folder is what the agent left, no more."""
        assert step.verifier_place is not None
        taken = [await take(box, kept) for kept in step.artifacts]
        fresh = await self._start(step.verifier_place, step, verifier=True)
        for each in taken:
            if each.whole:
                fresh = await self._swept(fresh, step.verifier_place, step, ("sh", "-c", CLEAR, "sh", each.folder))
            await _lay(fresh, each)
        return fresh

    async def _swept(self, box: Sandbox, place: Place, step: Step, script: tuple[str, ...]) -> Sandbox:
        """The verifier's container after a script. What its user may not do, root does in a copy; then it is another copy."""
        try:
            if (await box.exec(script)).returncode == 0:
                return box
            as_root = step.model_copy(update={"verifier_user": "0"})
            root = await self._again(box, place, as_root, verifier=True)
        except BaseException:
            await close_quietly(box)
            raise
        await close_quietly(box)
        try:
            ran = await root.exec(script)
            if ran.returncode != 0:
                raise UsageError(f"what lies where the verifier needs room cannot be removed: {_tail(ran)}")
            return await self._again(root, place, step, verifier=True)
        finally:
            await close_quietly(root)

    async def _judge(self, fresh: Sandbox, step: Step) -> Graded:
        if not step.verifier_baked:
            await fresh.put(tests_of(self.task, step), "/tests", trusted=True)
        ran = await fresh.exec(
            ["bash", "-c", "(/tests/test.sh)"],
            env=dict(resolve(step.verifier_env)),
            time_limit=step.verifier_time_limit,
        )
        await fresh.quiesce()
        log = ran.output.decode("utf-8", "replace")[-MAX_LOG:]
        if ran.timed_out:
            return Graded(step.name, None, f"the verifier did not end in {step.verifier_time_limit:.0f} s", log)
        found = await fresh.get("/logs/verifier", limits=GetLimits(files=20_000, file_mb=1, total_mb=64))
        try:
            return Graded(step.name, read_rewards(found), "", log)
        except UsageError as error:
            return Graded(step.name, None, f"{error} (exit code {ran.returncode})", log)


def resolve(pairs: tuple[tuple[str, str], ...], environ: Mapping[str, str] = os.environ) -> tuple[tuple[str, str], ...]:
    """Fill in values that are ${VAR} or ${VAR:-default} from this process; a value with more around it is left, as in Harbor.

    What is named like a secret never enters a sandbox. Raises UsageError for a variable that is missing, or secret, and has
    no default.
    """

    def value(text: str) -> str:
        found = _TEMPLATE.fullmatch(text)
        if found is None:
            return text
        name, default = found[1], found[2]
        if not _SECRET.search(name) and name in environ:
            return environ[name]
        if default is not None:
            return str(default)
        what = "is a secret, and keys stay outside of sandboxes" if _SECRET.search(name) else "is not set"
        raise UsageError(f"the task wants the variable {name}, which {what}")

    return tuple((key, value(text)) for key, text in pairs)


def _all_variables(foreign: Foreign) -> None:
    """Raises UsageError for a variable that a verifier would miss, before an agent has cost anything."""
    for step in foreign.steps:
        resolve(step.verifier_env)
        if step.verifier_place is not None:
            resolve(step.verifier_place.env)


def tests_of(task: Task, step: Step) -> dict[str, File]:
    """The shared tests with the step's own over them; scripts can be run."""
    found = dict(folder_files(task.folder / "tests"))
    if step.name:
        found.update(folder_files(task.folder / "steps" / step.name / "tests"))
    return _runnable(found)


def solution_of(task: Task, step: Step) -> dict[str, File]:
    """What the oracle of a step brings: the step's solution, else the task's. Raises UsageError when it has no solve.sh."""
    own = folder_files(task.folder / "steps" / step.name / "solution") if step.name else {}
    found = own or folder_files(task.folder / "solution")
    if "solve.sh" not in found:
        raise UsageError(f"{task.folder}: there is no solution/solve.sh{f' for step {step.name}' if step.name else ''}")
    return _runnable(found)


def _runnable(files: Mapping[str, File]) -> dict[str, File]:
    return {
        path: file.model_copy(update={"executable": True}) if path.endswith(".sh") else file
        for path, file in files.items()
    }


async def _lay(fresh: Sandbox, taken: Taken) -> None:
    """Put an artefact into the verifier's container, and close that when it breaks."""
    try:
        if taken.files:
            await fresh.put(taken.files, taken.folder, trusted=True)
    except BaseException:
        await close_quietly(fresh)
        raise


async def _healthy(box: Sandbox, check: Healthcheck | None) -> None:
    """Wait until the check passes. Raises SandboxFault after its retries."""
    if check is None:
        return
    begun, failed = time.monotonic(), 0
    while True:
        starting = time.monotonic() - begun < check.start_period_sec
        ran = await box.exec(["bash", "-c", check.command], time_limit=check.timeout_sec)
        if ran.returncode == 0:
            return
        failed += not starting
        if failed >= check.retries:
            raise SandboxFault(f"healthcheck: {check.command[:80]!r} failed {failed} times: {_tail(ran)}")
        await asyncio.sleep(check.start_interval_sec if starting else check.interval_sec)


def _foreign_of(task: Task) -> Foreign:
    assert task.foreign is not None
    return task.foreign


def _tail(ran: ExecResult) -> str:
    return ran.output.decode("utf-8", "replace").strip()[-200:]
