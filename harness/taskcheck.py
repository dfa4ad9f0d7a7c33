"""The task quality gate: proof that a task's verifier can tell right from wrong, on several seeds, in real sandboxes."""

from __future__ import annotations

import asyncio
import tomllib
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.attackers import ATTACKERS
from harness.digest import folder_files
from harness.errors import SandboxFault, UsageError
from harness.foreign import ForeignTrial, resolve, solution_of
from harness.instances import Instance, Instances
from harness.records import Foreign, Step, Task
from harness.rewards import combine, score_of
from harness.seams import File, Sandbox, Sandboxes
from harness.trial import task_spec
from harness.verification import Verdict, close_quietly, collect, verify

SEEDS = (0, 1, 2)
SOLVE_LIMIT = 60.0


@dataclass(frozen=True)
class Finding:
    """One thing that was tried on a task, and whether it came out as it must."""

    task: str
    seed: int | None
    what: str
    ok: bool
    detail: str = ""


class TaskChecker:
    """Runs the gate. `build` makes instances without a cache, so that reproducibility is really tried."""

    def __init__(self, sandboxes: Sandboxes, instances: Instances, concurrency: int = 2) -> None:
        self._sandboxes, self._instances = sandboxes, instances
        self._slots = asyncio.Semaphore(concurrency)

    async def check(self, task: Task, seeds: tuple[int, ...] = SEEDS) -> AsyncIterator[Finding]:
        """Every finding of one task, as it comes. A foreign task has its solution, and no more is asked of it."""
        if task.foreign is not None:
            for what, solved, wanted in (("solution", True, 1.0), ("nothing", False, 0.0)):
                yield await self._slot(self._foreign(task, task.foreign, what, solved, wanted))
            return
        folder = task.folder
        jobs: list[Coroutine[Any, Any, Finding]] = []
        if task.seeded:
            jobs += [self._reproducible(task, seed) for seed in seeds] + [self._checked_in(task)]
        for seed in seeds:
            jobs.append(self._solved(task, seed, folder / "solution", "reference", 1.0))
            jobs.append(self._graded(task, seed, "nothing", None, 0.0))
            jobs += [self._solved(task, seed, path, f"alt/{path.name}", 1.0) for path in _subfolders(folder / "alt")]
            jobs += [self._wrong(task, seed, path) for path in _subfolders(folder / "wrong")]
            jobs += [self._graded(task, seed, f"attack/{name}", command, 0.0) for name, command in ATTACKERS.items()]
        yield Finding(
            task.id,
            None,
            "at least 3 wrong and 1 alt",
            len(_subfolders(folder / "wrong")) >= 3 and bool(_subfolders(folder / "alt")),
        )
        for done in asyncio.as_completed([self._slot(job) for job in jobs]):
            yield await done

    async def _slot(self, job: Coroutine[Any, Any, Finding]) -> Finding:
        async with self._slots:
            return await job

    async def _foreign(self, task: Task, foreign: Foreign, what: str, solved: bool, wanted: float) -> Finding:
        """The solution as Harbor's oracle runs it, or nothing. A task that cannot be run is a finding, and the next one goes on."""

        async def act(step: Step, box: Sandbox, workdir: str) -> bool:
            if solved:
                await box.put(solution_of(task, step), "/solution", trusted=True)
                env = {"DEBIAN_FRONTEND": "noninteractive", **dict(resolve(foreign.solution_env))}
                ran = await box.exec(["bash", "-c", "(/solution/solve.sh)"], cwd=workdir, env=env,
                                     time_limit=step.agent_time_limit or 3600.0)  # fmt: skip
                said.append(ran.output.decode("utf-8", "replace")[-300:])
            return True

        said: list[str] = []
        try:
            graded = await ForeignTrial(task, self._sandboxes, f"check {task.id}").run(act)
            rewards = combine(foreign, graded) if graded[-1].rewards is not None else None
            score = score_of(rewards) if rewards else None
        except (UsageError, SandboxFault) as error:
            return Finding(task.id, None, what, False, str(error))
        detail = f"score {score}" + (f", {graded[-1].problem}" if graded[-1].problem else "")
        if score != wanted:
            if graded[-1].stopped and foreign.steps[len(graded) - 1].verifier_place is None:
                detail += f"; {graded[-1].stopped} programs that it left running are not there for the tests (--live, docs/tasks.md)"
            detail += f"; solution: {''.join(said)[-200:]!r}; verifier: {graded[-1].log[-300:]!r}"
        return Finding(task.id, None, what, score == wanted, detail)

    async def _reproducible(self, task: Task, seed: int) -> Finding:
        first = await Instances(self._sandboxes, None, "").get(task, seed)
        second = await Instances(self._sandboxes, None, "").get(task, seed)
        return Finding(task.id, seed, "build is reproducible", first == second and bool(first.files))

    async def _checked_in(self, task: Task) -> Finding:
        built = await Instances(self._sandboxes, None, "").get(task, 0)
        files = _data(folder_files(task.folder / "environment" / "files"))
        private = _data(folder_files(task.folder / "tests" / "instance"))
        same = files == _data(built.files) and private == _data(built.private)
        return Finding(task.id, 0, "environment/files and tests/instance are seed 0", same)

    async def _solved(self, task: Task, seed: int, solution: Path, what: str, wanted: float) -> Finding:
        verdict = await self._run(task, seed, _solver(solution))
        return Finding(task.id, seed, what, verdict.score == wanted, _explain(verdict))

    async def _graded(self, task: Task, seed: int, what: str, command: str | None, wanted: float) -> Finding:
        verdict = await self._run(task, seed, None if command is None else (lambda: ({}, ["bash", "-c", command])))
        return Finding(task.id, seed, what, verdict.score == wanted, _explain(verdict))

    async def _wrong(self, task: Task, seed: int, folder: Path) -> Finding:
        try:
            fails = str(tomllib.loads((folder / "wrong.toml").read_text("utf-8"))["fails"])
        except (OSError, KeyError, tomllib.TOMLDecodeError) as error:
            raise UsageError(f"{folder}/wrong.toml: {error}; it names the check that must fail") from None
        verdict = await self._run(task, seed, _solver(folder))
        failed = {check.name for check in verdict.checks if not check.passed}
        detail = "" if fails in failed else f"failed {', '.join(sorted(failed)) or 'nothing'}, not {fails}"
        return Finding(
            task.id, seed, f"wrong/{folder.name}", verdict.score == 0.0 and fails in failed, detail or _explain(verdict)
        )

    async def _run(
        self, task: Task, seed: int, solver: Callable[[], tuple[dict[str, File], list[str]]] | None
    ) -> Verdict:
        instance: Instance = await self._instances.get(task, seed)
        spec = task_spec(task, f"check {task.id}/{seed}")
        box = await self._sandboxes.start(spec.model_copy(update={"extra_dirs": (*spec.extra_dirs, "/solution")}))
        try:
            await box.put(instance.files, task.workdir)
            if solver is not None:
                files, argv = solver()
                if files:
                    await box.put(files, "/solution")
                await box.exec(argv, cwd=task.workdir, time_limit=SOLVE_LIMIT)
            collected = await collect(task, box)
        finally:
            await close_quietly(box)
        return await verify(task, instance, collected, self._sandboxes, label=f"check {task.id}")


def _solver(folder: Path) -> Callable[[], tuple[dict[str, File], list[str]]]:
    return lambda: (folder_files(folder), ["bash", "/solution/solve.sh"])


def _subfolders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []


def _data(files: dict[str, File]) -> dict[str, bytes]:
    return {path: file.data for path, file in files.items()}


def _explain(verdict: Verdict) -> str:
    if verdict.problem:
        return verdict.problem
    failed = [check.name for check in verdict.checks if not check.passed]
    return f"score {verdict.score}" + (f", failed {', '.join(failed)}" if failed else "")
