"""Foreign Harbor tasks in their own images: steps, verifiers of both kinds, rewards, refusals, and agents that cheat."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harness.config import to_experiment
from harness.errors import MachineError, UsageError
from harness.foreign import resolve
from harness.instances import Instances
from harness.records import Foreign, Limits, Place, Step, TrialSpec
from harness.rewards import Graded, below_minimum, combine, read_rewards, score_of
from harness.sandboxes import open_provider
from harness.scaffold import read_scaffold
from harness.seams import File
from harness.suites import load_suite
from harness.taskcheck import TaskChecker
from harness.tasks import load_task
from harness.trial import TrialEngine, TrialSettings
from harness.wiring import check_placement
from tests.engines import IMAGE, needs_docker
from tests.tiny import ROOT, Scripted

TASKS = Path(__file__).parent / "tasks"
MAPPED = {"python:3.12-slim": IMAGE, "ubuntu:24.04": IMAGE, "debian:bookworm-slim": IMAGE}
PLAIN = read_scaffold(ROOT / "harness" / "scaffolds" / "plain")


def run(work, **provider):
    """What `work` gives with a docker provider on the local image."""

    async def main():
        sandboxes = open_provider("docker", image=IMAGE, images=MAPPED, pull=False, **provider)
        try:
            return await work(sandboxes)
        finally:
            await sandboxes.close()

    return asyncio.run(main())


def checked(folders, images=MAPPED):
    async def main():
        sandboxes = open_provider("docker", image=IMAGE, images=images, pull=False)
        try:
            checker = TaskChecker(sandboxes, Instances(sandboxes, None, ""))
            return [finding for folder in folders async for finding in checker.check(load_task(folder))]
        finally:
            await sandboxes.close()

    return asyncio.run(main())


def measure(folder, gateway, out=None, **limits):
    async def work(sandboxes):
        settings = TrialSettings(run_seed=1, limits=Limits(time_limit=60, **limits), models=("main",), model_name="scripted", isolation="A",
                                 folder=(lambda key: out / key) if out else None, retry_wait=0.01)  # fmt: skip
        engine = TrialEngine(sandboxes, gateway, Instances(sandboxes, None, ""), settings)
        return await engine.run(
            TrialSpec(candidate="c0000", task=folder.name, seed=0, attempt=0), load_task(folder), PLAIN
        )

    return run(work)


@pytest.fixture
def copy(tmp_path):
    """A task of ours that a test may change."""

    def make(name, **changes):
        folder = tmp_path / name
        shutil.copytree(TASKS / name, folder)
        for path, text in changes.items():
            (folder / path.replace("__", "/")).write_text(text)
        return folder

    return make


@needs_docker
@pytest.mark.parametrize("name", sorted(path.name for path in TASKS.iterdir()))
def test_the_solution_scores_one_and_nothing_zero(name):
    found = {finding.what: finding for finding in checked([TASKS / name])}
    assert found["solution"].ok, found["solution"].detail
    assert found["nothing"].ok, found["nothing"].detail


@needs_docker
def test_the_tasks_of_a_folder_that_somebody_names():
    """HARBOR_TASKS=folder HARBOR_IMAGES="name=local ...": the oracle scores 1 and doing nothing 0 on each; ours without."""
    images = {
        **MAPPED,
        **dict(pair.split("=", 1) for pair in os.environ.get("HARBOR_IMAGES", "").split() if "=" in pair),
    }
    _, tasks = load_suite(os.environ.get("HARBOR_TASKS") or str(TASKS))
    found = checked([task.folder for task in tasks.values()], images)
    assert not [finding for finding in found if not finding.ok]


@needs_docker
def test_an_agent_works_through_the_steps_and_leaves_a_trajectory_for_each(tmp_path):
    gateway = Scripted()
    gateway.commands = ["{ echo $GREETING; cat first.txt second.txt; } > notes.txt", ""]
    answers = iter(
        [{"command": gateway.commands[0]}, None, {"command": "wc -l < notes.txt | tr -d ' ' > count.txt"}, None]
    )
    plain = gateway.complete

    async def complete(call):
        command = next(answers)
        gateway.commands, gateway.calls = ([command["command"]], 0) if command else ([], 0)
        return await plain(call)

    gateway.complete = complete
    trial = measure(TASKS / "two-steps", gateway, tmp_path)
    assert (trial.outcome, trial.score, trial.steps, trial.isolation) == ("scored", 1.0, 4, "B"), trial.detail
    assert [(check.name, check.passed) for check in trial.checks] == [("gather/reward", True), ("report/reward", True)]
    folder = tmp_path / trial.spec.key
    assert "count.txt" in (folder / "steps" / "report" / "trajectory.json").read_text()
    assert [each["step"] for each in json.loads((folder / "verifier.json").read_text())["steps"]] == [
        "gather",
        "report",
    ]


@needs_docker
def test_a_step_below_its_minimum_ends_the_task(tmp_path):
    gateway = Scripted("echo wrong > notes.txt")
    trial = measure(TASKS / "two-steps", gateway, tmp_path)
    assert (trial.outcome, trial.score, gateway.calls) == ("scored", 0.0, 2)
    assert [check.name for check in trial.checks] == ["gather/reward"]


CHEATS = {
    "a reward laid down before": "mkdir -p /logs/verifier; echo 1 > /logs/verifier/reward.txt; echo '{\"reward\": 1}' > /logs/verifier/reward.json",
    "a reward written late": '(setsid sh -c \'while :; do echo "{\\"reward\\": 1}" > /logs/verifier/reward.json; sleep 0.02; done\' >/dev/null 2>&1 &)',
    "work done late": "(setsid sh -c 'sleep 1; echo 42 > /tmp/answer.txt' >/dev/null 2>&1 &)",
    "tests of its own": "mkdir -p /tests; printf 'echo 1 > /logs/verifier/reward.txt' > /tests/test.sh; chmod 555 /tests/test.sh; chmod 555 /tests",
    "a link for the reward": "mkdir -p /logs/verifier; echo 1 > /tmp/one; ln -s /tmp/one /logs/verifier/reward.txt; ln -s /tmp/one /logs/verifier/reward.json",
    "a link for the folder of the reward": "rm -rf /logs/verifier; mkdir -p /tmp/mine; echo 1 > /tmp/mine/reward.txt; ln -s /tmp/mine /logs/verifier",
    "a folder for the reward": "mkdir -p /logs/verifier/reward.json/x",
}


@needs_docker
@pytest.mark.parametrize("cheat", CHEATS.values(), ids=CHEATS)
def test_cheating_scores_nothing(cheat):
    trial = measure(TASKS / "first-format", Scripted(cheat))
    assert (trial.outcome, trial.score) == ("scored", 0.0), trial.detail


@needs_docker
@pytest.mark.parametrize(
    ("script", "problem"),
    [
        ("exit 3", "neither"),
        (": > /logs/verifier/reward.txt", "empty"),
        ("echo much > /logs/verifier/reward.txt", "cannot be read"),
        ("echo nan > /logs/verifier/reward.txt", "finite"),
        ('echo \'{"reward": "1"}\' > /logs/verifier/reward.json; echo 1 > /logs/verifier/reward.txt', "finite"),
        ("echo 7 > /logs/verifier/reward.txt", "within 0 and 1"),
        ("sleep 100", "did not end"),
        ("yes | head -c 300000000; exit 1", "neither"),
    ],
)
def test_a_verifier_that_breaks_is_the_task_s_fault_and_no_score(copy, script, problem):
    folder = copy("first-format", tests__test=script)
    (folder / "tests" / "test").rename(folder / "tests" / "test.sh")
    text = (folder / "task.toml").read_text().replace("timeout_sec = 30.0", "timeout_sec = 4.0")
    (folder / "task.toml").write_text(text)
    trial = measure(folder, Scripted("true"))
    assert (trial.outcome, trial.score) == ("task_error", None)
    assert problem in trial.detail


@needs_docker
def test_an_image_that_cannot_be_had_is_no_score_and_the_other_tasks_finish(copy, tmp_path):
    folder = copy("first-format")
    (folder / "task.toml").write_text((folder / "task.toml").read_text().replace("python:3.12-slim", "nobody/has:this"))
    shutil.copytree(TASKS / "first-format", tmp_path / "set" / "good")
    shutil.move(folder, tmp_path / "set" / "bad")
    words = ["eval", "plain", str(tmp_path / "set"), "--seeds", "6", "--set", "sandbox.kind=docker", "--set", f"sandbox.image={IMAGE}",
             "--set", f'sandbox.images={{"python:3.12-slim" = "{IMAGE}"}}', "--json", "--junit", str(tmp_path / "out.xml")]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "harness", *words], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.returncode == 5, done.stderr
    assert "50%" in done.stderr
    trials = json.loads(done.stdout)["trials"]
    assert {(t["spec"]["task"], t["outcome"]) for t in trials} == {("bad", "infra_error"), ("good", "scored")}
    assert len(trials) == 12
    assert "nobody/has:this" in next(t["detail"] for t in trials if t["spec"]["task"] == "bad")
    assert "skipped" in (tmp_path / "out.xml").read_text() or "error" in (tmp_path / "out.xml").read_text()


@needs_docker
def test_no_snapshot_is_left():
    measure(TASKS / "two-steps", Scripted("true"))
    left = subprocess.run(
        ["docker", "images", "-q", "--filter", "label=selfharness.snapshot=1"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert left.stdout.split() == []


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ('[environment]\ngpus = 1\ndocker_image = "x"', "environment.gpus"),
        ('[environment]\nos = "Windows"\ndocker_image = "x"', "environment.os = windows"),
        ('[environment]\ndocker_image = "x"\nnetwork_mode = "allowlist"\nallowed_hosts = ["a.example"]', "allowlist"),
        ('[environment]\ndocker_image = "x"\n[environment.tpu]\ntype = "v4"\ntopology = "2x2x1"', "environment.tpu"),
        ('[environment]\ndocker_image = "x"\n[[environment.mcp_servers]]\nname = "m"\nurl = "http://x"', "environment.mcp_servers"),
        ('[environment]\ndocker_image = "x"\n[[verifier.collect]]\ncommand = "true"\nservice = "db"', "a service of a compose file"),
        ('schema_version = "2.0"\n[environment]\ndocker_image = "x"', "1.0 to 1.4"),
        ('[environment]\ndocker_image = "x"\n[verifier]\nenvironment_mode = "shared"\n[verifier.environment]\ndocker_image = "y"', "exclude each other"),
        ('artifacts = ["../up"]\n[environment]\ndocker_image = "x"', 'absolute path without ".."'),
        ('[environment]\ndocker_image = "x"\nmemory = "much"', "is not a size"),
    ],
)  # fmt: skip
def test_what_cannot_be_given_is_refused_by_name(copy, change, named):
    folder = copy("first-format")
    (folder / "task.toml").write_text(change)
    with pytest.raises(UsageError, match=named.replace("(", r"\(")):
        load_task(folder)


def test_a_compose_file_is_refused_by_name(copy):
    folder = copy("separate-verifier", **{"environment__docker-compose.yaml": "services: {}\n"})
    with pytest.raises(UsageError, match=r"environment/docker-compose\.yaml"):
        load_task(folder)


def test_every_field_of_the_format_is_read(copy):
    task = load_task(TASKS / "two-steps")
    assert task.foreign.place.healthcheck.command == "test -d /app"
    assert [step.name for step in task.foreign.steps] == ["gather", "report"]
    assert task.foreign.steps[0].instruction.startswith("Write the words")
    assert (task.foreign.steps[0].min_reward, task.foreign.steps[1].user) == ((("reward", 1.0),), "nobody")
    first = load_task(TASKS / "first-format")
    assert (first.foreign.place.memory_mb, first.foreign.place.disk_mb, first.foreign.place.network) == (
        1024,
        2048,
        "none",
    )
    assert "canary" not in first.instruction
    separate = load_task(TASKS / "separate-verifier").foreign.steps[0]
    assert [kept.source for kept in separate.artifacts] == ["/srv/site", "/srv/state.json", "/logs/artifacts"]
    assert (separate.verifier_baked, separate.verifier_place.build) == (True, "tests")


def test_rewards_are_read_as_harbor_reads_them():
    text = {"reward.txt": File(data=b" 0.5\n"), "reward.json": File(data=b'{"reward": 1, "style": 0.25}')}
    assert read_rewards(text) == {"reward": 1.0, "style": 0.25}
    assert read_rewards({"reward.txt": text["reward.txt"]}) == {"reward": 0.5}
    assert score_of({"reward": 1.0, "style": 0.25}) == 1.0
    assert score_of({"a": 1.0, "b": 0.5}) == 0.75


def test_steps_combine_as_harbor_combines_them():
    steps = (Step(name="a", instruction="", min_reward=(("reward", 0.5),)), Step(name="b", instruction=""))
    graded = [Graded("a", {"reward": 1.0, "x": 1.0}), Graded("b", {"reward": 0.5}), Graded("c", None, "broke")]
    mean, final = (Foreign(place=Place(), steps=steps, strategy=which) for which in ("mean", "final"))
    assert combine(mean, graded) == {"reward": 0.75, "x": 0.5}
    assert combine(final, graded[:2]) == {"reward": 0.5}
    assert combine(final, graded) is None
    assert not below_minimum(steps[0], {"reward": 0.5})
    assert below_minimum(steps[0], {"reward": 0.4})
    assert below_minimum(steps[0], {"other": 1.0})
    assert below_minimum(steps[1], None)


def test_variables_are_filled_in_and_secrets_stay_outside():
    environ = {"HOST": "h", "OPENAI_API_KEY": "sk-secret"}
    assert resolve((("A", "${HOST}"), ("B", "${NONE:-d}"), ("C", "${OPENAI_API_KEY:-none}")), environ) == (
        ("A", "h"), ("B", "d"), ("C", "none"))  # fmt: skip
    with pytest.raises(UsageError, match="is a secret"):
        resolve((("A", "${OPENAI_API_KEY}"),), environ)
    with pytest.raises(UsageError, match="is not set"):
        resolve((("A", "${MISSING}"),), environ)


def test_isolation_that_is_not_accepted_is_said_before_anything_runs(tmp_path):
    data = {
        "name": "x",
        "models": {"main": {"name": "simulated/medium"}},
        "suite": {"name": "smoke"},
        "budget": {"trials": 1},
    }
    experiment = to_experiment(data, "test", ["sandbox.min_grade=A"])
    with pytest.raises(MachineError, match="image of its own"):
        check_placement(experiment, PLAIN, load_suite(str(TASKS))[1])
    check_placement(to_experiment(data, "test", []), PLAIN, load_suite(str(TASKS))[1])


def test_a_dataset_is_a_folder_and_its_manifest_is_believed_only_when_it_fits(tmp_path):
    shutil.copytree(TASKS, tmp_path / "set")
    suite, tasks = load_suite(str(tmp_path / "set"))
    assert (suite.name, suite.train) == ("set", tuple(sorted(path.name for path in TASKS.iterdir())))
    digest = tasks["two-steps"].digest
    manifest = '[dataset]\nname = "a/b"\n[[tasks]]\nname = "a/two-steps"\ndigest = "sha256:'
    (tmp_path / "set" / "dataset.toml").write_text(f'{manifest}{digest}"\n')
    load_suite(str(tmp_path / "set"))
    (tmp_path / "set" / "dataset.toml").write_text(f'{manifest}{"0" * 64}"\n')
    with pytest.raises(UsageError, match="no task here has the digest"):
        load_suite(str(tmp_path / "set"))
