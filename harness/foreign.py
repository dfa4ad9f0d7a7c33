"""Foreign tasks: Harbor's folders in their own images, step by step, verified where the agent never was.

Harbor verifies in the agent's own container by default (`shared`). Here that is a snapshot of the quiesced container: it has
everything that the agent left and nothing that still runs, and the tests are laid into the copy only, so that no later step
sees them. A `separate` verifier gets a fresh container and the artefacts. Rewards are read from outside after every process
is gone: reward.json before reward.txt, as Harbor reads them; links and what was there before are not believed.
"""

from __future__ import annotations

import asyncio
import fnmatch
import json
import math
import os
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from harness.digest import folder_files
from harness.errors import SandboxFault, UsageError
from harness.records import Foreign, Healthcheck, Kept, Place, Step, Task
from harness.seams import ExecResult, File, GetLimits, Mount, Sandbox, Sandboxes, SandboxSpec
from harness.verification import MAX_LOG, close_quietly

LOGS = ("/logs/agent", "/logs/verifier", "/logs/artifacts")
SHM = "/dev/shm"
"""The one folder of these containers that is memory, and so in no snapshot."""
EMPTY = 'set -e; find /tests /logs/verifier -mindepth 1 -delete; [ -z "$(find /tests /logs/verifier -mindepth 1)" ]'
TAKEN = GetLimits(files=20_000, file_mb=256, total_mb=1024)
"""What is carried from one container to another."""
SETUP_LIMIT = 600.0
FILE_LIMIT = 64 << 20
_TEMPLATE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
_SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSW|CREDENTIAL", re.IGNORECASE)
Rewards = Mapping[str, float]
Act = Callable[[Step, Sandbox, str], Awaitable[bool]]
"""What an agent does in a step: (step, the task's sandbox, working folder) -> whether there is something to verify."""


@dataclass(frozen=True)
class Graded:
    """A verified step. `rewards` is None when the verifier said nothing that can be believed (`problem` tells)."""

    step: str
    rewards: Rewards | None
    problem: str = ""
    log: str = ""


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

    async def run(self, act: Act) -> list[Graded]:
        """Raises SandboxFault, UsageError (the task is broken or wants what it must not have), and what `act` raises."""
        foreign = _foreign_of(self.task)
        box = await self._start(foreign.place, foreign.steps[0], self.mounts)
        now = foreign.steps[0]
        try:
            await _healthy(box, foreign.place.healthcheck)
            for step in foreign.steps:
                box = await self._as_wanted(box, now, step)
                now = step
                workdir = await self._prepare(box, step)
                if not await act(step, box, workdir):
                    break
                self.graded.append(await self._verify(box, step))
                if below_minimum(step, self.graded[-1].rewards):
                    break
        finally:
            await close_quietly(box)
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

    async def _as_wanted(self, box: Sandbox, now: Step, step: Step) -> Sandbox:
        """The agent's container as this step wants it: another user or network is another container from a snapshot."""
        if (now.user, now.network) == (step.user, step.network):
            return box
        other = await self._again(box, step, self.mounts)
        await close_quietly(box)
        return other

    async def _again(
        self, box: Sandbox, step: Step, mounts: tuple[Mount, ...] = (), *, verifier: bool = False
    ) -> Sandbox:
        """A container from a snapshot of this one, with what lived in memory."""
        image = await box.snapshot()
        self._images.append(image)
        other = await self._start(_foreign_of(self.task).place, step, mounts, image=image, verifier=verifier)
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

    async def _verify(self, box: Sandbox, step: Step) -> Graded:
        await box.quiesce()
        for command, limit in step.collect:
            await box.exec(["bash", "-c", command], time_limit=limit)
        await box.quiesce()
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
        fresh = await self._again(box, step, verifier=True)
        emptied = await fresh.exec(["sh", "-c", EMPTY])
        if emptied.returncode != 0:
            await close_quietly(fresh)
            raise UsageError(f"what the agent left in /tests or /logs/verifier cannot be removed: {_tail(emptied)}")
        return fresh

    async def _fresh(self, box: Sandbox, step: Step) -> Sandbox:
        """A container of the verifier's own, with the artefacts where they were."""
        assert step.verifier_place is not None
        fresh = await self._start(step.verifier_place, step, verifier=True)
        try:
            for kept in step.artifacts:
                folder, files = await _taken(box, kept)
                if files:
                    await fresh.put(files, folder, trusted=True)
        except BaseException:
            await close_quietly(fresh)
            raise
        return fresh

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
        found = await fresh.get("/logs/verifier", limits=GetLimits(files=200, file_mb=1, total_mb=16))
        try:
            return Graded(step.name, read_rewards(found), "", log)
        except UsageError as error:
            return Graded(step.name, None, f"{error} (exit code {ran.returncode})", log)


def read_rewards(found: Mapping[str, File]) -> dict[str, float]:
    """Rewards by name from the files of /logs/verifier; reward.json goes before reward.txt. Raises UsageError."""
    name = next((name for name in ("reward.json", "reward.txt") if name in found), None)
    if name is None:
        raise UsageError("the verifier wrote neither reward.json nor reward.txt")
    text = found[name].data.decode("utf-8", "replace")
    if not text.strip():
        raise UsageError(f"the verifier's {name} is empty")
    try:
        values = json.loads(text) if name == "reward.json" else {"reward": float(text)}
    except ValueError:
        raise UsageError(f"the verifier's {name} cannot be read: {text[:80]!r}") from None
    if not isinstance(values, dict):
        values = {"reward": values}
    for key, value in values.items():
        if not isinstance(value, int | float) or not math.isfinite(value):
            raise UsageError(f"the verifier's {name}: {key} is {str(value)[:40]}, not a finite number")
    return {str(key): float(value) for key, value in values.items()}


def combine(foreign: Foreign, graded: list[Graded]) -> dict[str, float] | None:
    """The rewards of a trial: of the last step that was run, or per key the mean over verified steps, as Harbor makes them."""
    if foreign.strategy == "final":
        return dict(graded[-1].rewards) if graded and graded[-1].rewards is not None else None
    verified = [each.rewards for each in graded if each.rewards is not None]
    keys = sorted({key for rewards in verified for key in rewards})
    return {key: sum(rewards.get(key, 0.0) for rewards in verified) / len(verified) for key in keys} or None


def score_of(rewards: Rewards) -> float:
    """One number out of rewards: `reward`, else the mean of all. Raises UsageError when it is not in 0..1."""
    score = rewards["reward"] if "reward" in rewards else sum(rewards.values()) / len(rewards)
    if not 0.0 <= score <= 1.0:
        raise UsageError(f"the reward is {score:g}; a score is within 0 and 1")
    return score


def as_json(graded: list[Graded]) -> bytes:
    """What verifier.json holds."""
    steps = [{"step": each.step, "rewards": each.rewards, "problem": each.problem, "log": each.log} for each in graded]
    return json.dumps({"steps": steps}, indent=1).encode()


def below_minimum(step: Step, rewards: Rewards | None) -> bool:
    """Whether later steps are left out: no rewards, or one below what the step asks for (a missing one counts as -inf)."""
    if rewards is None:
        return True
    return any(rewards.get(key, -math.inf) < least for key, least in step.min_reward)


def resolve(pairs: tuple[tuple[str, str], ...], environ: Mapping[str, str] = os.environ) -> tuple[tuple[str, str], ...]:
    """Fill in ${VAR} and ${VAR:-default} from this process. What is named like a secret never enters a sandbox.

    Raises UsageError for a variable that is missing, or secret, and has no default.
    """

    def value(found: re.Match[str]) -> str:
        name, default = found[1], found[2]
        if not _SECRET.search(name) and name in environ:
            return environ[name]
        if default is not None:
            return default
        what = "is a secret, and keys stay outside of sandboxes" if _SECRET.search(name) else "is not set"
        raise UsageError(f"the task wants the variable {name}, which {what}")

    return tuple((key, _TEMPLATE.sub(value, text)) for key, text in pairs)


def tests_of(task: Task, step: Step) -> dict[str, File]:
    """The shared tests with the step's own over them; scripts can be run."""
    found = dict(folder_files(task.folder / "tests"))
    if step.name:
        found.update(folder_files(task.folder / "steps" / step.name / "tests"))
    return {
        path: file.model_copy(update={"executable": True}) if path.endswith(".sh") else file
        for path, file in found.items()
    }


def solution_of(task: Task, step: Step) -> dict[str, File]:
    """What the oracle of a step brings: the step's solution, else the task's."""
    own = folder_files(task.folder / "steps" / step.name / "solution") if step.name else {}
    return own or folder_files(task.folder / "solution")


async def _taken(box: Sandbox, kept: Kept) -> tuple[str, dict[str, File]]:
    """An artefact as it is put elsewhere: a folder, and the files below it. What is not there is nothing."""
    if (await box.exec(["test", "-d", kept.source])).returncode == 0:
        found = await box.get(kept.source, limits=TAKEN)
        return kept.source, {name: file for name, file in found.items() if not _excluded(name, kept.exclude)}
    path = PurePosixPath(kept.source)
    ran = await box.exec(["cat", "--", kept.source], split_streams=True, max_output=FILE_LIMIT)
    if ran.returncode != 0:
        return str(path.parent), {}
    return str(path.parent), {path.name: File(data=ran.stdout)}


async def _healthy(box: Sandbox, check: Healthcheck | None) -> None:
    """Wait until the check passes. Raises SandboxFault after its retries."""
    if check is None:
        return
    begun, failed = time.monotonic(), 0
    while True:
        ran = await box.exec(["bash", "-c", check.command], time_limit=check.timeout_sec)
        if ran.returncode == 0:
            return
        starting = time.monotonic() - begun < check.start_period_sec
        failed += not starting
        if failed >= check.retries:
            raise SandboxFault(f"healthcheck: {check.command[:80]!r} failed {failed} times: {_tail(ran)}")
        await asyncio.sleep(check.start_interval_sec if starting else check.interval_sec)


def _excluded(name: str, patterns: tuple[str, ...]) -> bool:
    """As tar --exclude: a pattern fits a whole path or any part of it, and everything below that."""
    parts = PurePosixPath(name).parts
    paths = ["/".join(parts[:end]) for end in range(1, len(parts) + 1)]
    return any(
        fnmatch.fnmatch(each, pattern.strip("/").removeprefix("./"))
        for pattern in patterns
        for each in (*paths, *parts)
    )


def _foreign_of(task: Task) -> Foreign:
    assert task.foreign is not None
    return task.foreign


def _tail(ran: ExecResult) -> str:
    return ran.output.decode("utf-8", "replace").strip()[-200:]
