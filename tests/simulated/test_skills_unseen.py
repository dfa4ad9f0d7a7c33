"""Every skill solves instances that no author looked at, and fails them without its facts, by the real verifiers."""

import ast
import asyncio
import hashlib
from pathlib import Path

import pytest

from harness.instances import Instances
from harness.models.simulated.skills import all_skills, find_skill
from harness.sandboxes import open_provider
from harness.tasks import load_tasks, task_folders
from harness.trial import task_spec
from harness.verification import collect, verify

TASKS = load_tasks(tuple(task_folders()))


def unseen(name, number):
    """A seed that hangs on nothing that anybody chose."""
    return int.from_bytes(hashlib.blake2b(f"unseen {name} {number}".encode(), digest_size=4).digest(), "big")


async def grade(sandboxes, task, seed, command):
    instance = await Instances(sandboxes, None, "").get(task, seed)
    box = await sandboxes.start(task_spec(task, "skill"))
    try:
        await box.put(instance.files, task.workdir)
        await box.exec(["bash", "-c", command], cwd=task.workdir)
        collected = await collect(task, box)
    finally:
        await box.close()
    return (await verify(task, instance, collected, sandboxes, label="skill")).score


@pytest.mark.parametrize("name", sorted(TASKS))
def test_all_facts_solve_unseen_seeds_and_none_do_not(name):
    task, skill = TASKS[name], find_skill(TASKS[name].instruction)
    every = frozenset(fact.name for fact in skill.facts)
    obvious = frozenset(fact.name for fact in skill.facts if fact.obvious)

    async def main():
        sandboxes = open_provider("bwrap")
        try:
            for number in range(3):
                seed = unseen(name, number)
                assert await grade(sandboxes, task, seed, skill.draft(every)) == 1.0, seed
                assert await grade(sandboxes, task, seed, skill.draft(obvious)) == 0.0, seed
        finally:
            await sandboxes.close()

    asyncio.run(main())


def test_every_task_has_its_own_skill():
    found = [find_skill(task.instruction).name for task in TASKS.values()]
    assert len(set(found)) == len(found) == len(all_skills())


def test_skills_never_look_at_tasks_or_evals():
    for path in (Path(__file__).resolve().parents[2] / "harness" / "models" / "simulated").rglob("*.py"):
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom):
                assert node.module.startswith(("harness.models.simulated", "harness.records", "harness.errors", "__future__",
                                               "collections", "dataclasses", "functools", "typing")), (path, node.module)  # fmt: skip
        text = path.read_text()
        assert not any(task in text for task in TASKS), path
