"""Where Harbor 0.25 decides in a way that is easily missed, we decide as it does: each of these went wrong once."""

import json
import shutil

import pytest

from harness.artefacts import excluded
from harness.errors import UsageError
from harness.foreign import resolve
from harness.rewards import read_rewards
from harness.seams import File
from harness.tasks import load_task
from tests.engines import needs_docker
from tests.foreign.test_foreign import TASKS, checked, measure
from tests.tiny import Scripted

IMAGE = '[environment]\ndocker_image = "agents"\n'
SEPARATE = 'environment_mode = "separate"\n'


def folder_with(root, toml, *files, name="made"):
    """A task folder with this task.toml and these files, all of them short."""
    folder = root / name
    for path in ("instruction.md", "tests/test.sh", *files):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text("echo 1 > /logs/verifier/reward.txt\n")
    (folder / "task.toml").write_text(toml)
    return folder


def changed(root, **files):
    """The smallest task of ours with other files."""
    folder = root / "changed"
    shutil.copytree(TASKS / "first-format", folder)
    for path, text in files.items():
        (folder / path.replace("__", "/").replace("_sh", ".sh")).write_text(text)
    return folder


@pytest.mark.parametrize("version", ["0.0", "1", "1.0", "1.4", "1.0.2"])
def test_an_old_version_is_read(tmp_path, version):
    assert load_task(folder_with(tmp_path, f'version = "{version}"\n{IMAGE}')).foreign is not None


@pytest.mark.parametrize("version", ["1.5", "2.0", "next"])
def test_a_newer_version_is_refused(tmp_path, version):
    with pytest.raises(UsageError, match=r"1\.0 to 1\.4"):
        load_task(folder_with(tmp_path, f'schema_version = "{version}"\n{IMAGE}'))


@pytest.mark.parametrize(
    ("toml", "named"),
    [
        (f'{IMAGE}allowed_hosts = ["a.example"]', "allowed_hosts"),
        (f'{IMAGE}[agent]\nallowed_hosts = ["a.example"]', "allowed_hosts"),
        (f'{IMAGE}[verifier]\nallowed_hosts = ["a.example"]', "allowed_hosts"),
        (f'{IMAGE}memory = "2G"\nmemory_mb = 1024', "different things"),
    ],
)
def test_what_would_be_weakened_is_refused(tmp_path, toml, named):
    with pytest.raises(UsageError, match=named):
        load_task(folder_with(tmp_path, toml))


def test_the_context_of_a_first_step_is_refused_too(tmp_path):
    files = ("steps/a b/instruction.md", "steps/a b/trajectory.json")
    with pytest.raises(UsageError, match="prior context"):
        load_task(folder_with(tmp_path, f'{IMAGE}[[steps]]\nname = "a b"', *files))


OWN = '[[steps]]\nname = "a"\n[steps.verifier]\n'


@pytest.mark.parametrize(
    ("toml", "files", "image", "build", "baked"),
    [
        (f"[verifier]\n{SEPARATE}", (), "agents", "", False),
        (f"[verifier]\n{SEPARATE}", ("tests/Dockerfile",), None, "tests", True),
        ("[verifier.environment]\nmemory_mb = 64", (), "agents", "", False),
        ("[verifier.environment]\nmemory_mb = 64", ("tests/Dockerfile",), None, "tests", True),
        ('[verifier.environment]\ndocker_image = "tests"', ("environment/Dockerfile",), "tests", "", True),
        (f'[verifier.environment]\ndocker_image = "tests"\n{OWN}', ("steps/a/tests/Dockerfile",), None, "steps/a/tests", True),
        (f'{OWN}environment.docker_image = "step"', ("tests/Dockerfile",), "step", "", True),
        (f"{OWN}environment.memory_mb = 64", ("tests/Dockerfile",), None, "tests", True),
    ],
)  # fmt: skip
def test_where_a_separate_verifier_runs(tmp_path, toml, files, image, build, baked):
    folder = folder_with(tmp_path, f"{IMAGE}{toml}", "steps/a/instruction.md", *files)
    step = load_task(folder).foreign.steps[0]
    place = step.verifier_place
    assert (place.image, place.build, step.verifier_baked) == (image, build, baked)
    assert place.memory_mb == (64 if "memory_mb" in toml else 2048)


@pytest.mark.parametrize(
    ("name", "pattern", "out"),
    [
        ("a/b.log", "*.log", True),
        ("x/cache/tmp/file", "cache/tmp", True),
        ("x/cache/tmp/file", "./x", True),
        ("node_modules/a/b.js", "node_modules", True),
        ("x/cachet/tmp", "cache", False),
        ("a/b.logs", "*.log", False),
    ],
)
def test_patterns_leave_out_what_tar_would(name, pattern, out):
    assert excluded(name, (pattern,)) is out


@pytest.mark.parametrize("text", ["{}", "[" * 100_000, '{"reward": 1' + "0" * 400 + "}", "null", '{"reward": NaN}'])
def test_rewards_that_are_none_are_the_task_s_fault(text):
    with pytest.raises(UsageError, match=r"reward\.json"):
        read_rewards({"reward.json": File(data=text.encode()), "reward.txt": File(data=b"1")})


def test_only_a_value_that_is_a_template_is_filled_in():
    pairs = (("A", "/opt/bin:${PATH}"), ("B", "${NONE:-}"), ("C", "${NONE:-a b}"))
    assert resolve(pairs, {"PATH": "/host"}) == (("A", "/opt/bin:${PATH}"), ("B", ""), ("C", "a b"))


@needs_docker
def test_a_variable_that_the_verifier_would_miss_is_found_before_the_agent_runs(tmp_path):
    text = (TASKS / "first-format" / "task.toml").read_text()
    folder = changed(tmp_path)
    (folder / "task.toml").write_text(text.replace("[agent]", '[verifier.env]\nJUDGE = "${JUDGE_API_KEY}"\n[agent]'))
    gateway = Scripted("true")
    trial = measure(folder, gateway)
    assert (trial.outcome, gateway.calls) == ("task_error", 0)
    assert "JUDGE_API_KEY" in trial.detail


@needs_docker
def test_a_reward_among_many_files_is_found(tmp_path):
    script = "cd /logs/verifier; for i in $(seq 300); do echo x > a$i; done; echo 1 > reward.txt"
    assert measure(changed(tmp_path, tests__test_sh=script), Scripted("true")).score == 1.0


@needs_docker
def test_a_large_artefact_is_whole(tmp_path):
    script = (
        "test $(stat -c %s /tmp/big) = 41000000 && tail -c 1 /tmp/big | grep -q z && echo 1 > /logs/verifier/reward.txt"
    )
    folder = changed(tmp_path, tests__test_sh=script)
    text = 'artifacts = ["/tmp/big"]\n' + (folder / "task.toml").read_text()
    (folder / "task.toml").write_text(text.replace("[verifier]", f"[verifier]\n{SEPARATE}"))
    command = "head -c 40999999 /dev/urandom > /tmp/big; printf z >> /tmp/big"
    trial = measure(folder, Scripted(command))
    assert trial.score == 1.0, trial.detail


@needs_docker
def test_a_task_that_cannot_be_checked_is_a_finding_and_the_next_goes_on(tmp_path):
    bare = changed(tmp_path)
    shutil.rmtree(bare / "solution")
    absent = folder_with(
        tmp_path, '[environment]\ndocker_image = "nobody/has:this"\n', "solution/solve.sh", name="absent"
    )
    greedy = folder_with(
        tmp_path, '[environment]\ndocker_image = "python:3.12-slim"\ncpus = 4000', "solution/solve.sh", name="greedy"
    )
    broken = changed(tmp_path / "odd", tests__test_sh="echo 7 > /logs/verifier/reward.txt")
    tasks = [bare, absent, greedy, broken]
    found = [(finding.task, finding.what, finding.ok, finding.detail) for finding in checked(tasks)]
    assert [each[:3] for each in found] == [
        ("changed", "solution", False), ("changed", "nothing", True),
        ("absent", "solution", False), ("absent", "nothing", False),
        ("greedy", "solution", False), ("greedy", "nothing", False),
        ("changed", "solution", False), ("changed", "nothing", False),
    ]  # fmt: skip
    assert "solution/solve.sh" in found[0][3]
    assert "nobody/has:this" in found[2][3]
    assert "CPUs" in found[4][3]
    assert "within 0 and 1" in found[6][3]


@needs_docker
def test_a_last_step_whose_verifier_broke_is_not_made_good_by_the_first(tmp_path):
    folder = tmp_path / "two-steps"
    shutil.copytree(TASKS / "two-steps", folder)
    (folder / "steps" / "report" / "tests" / "test.sh").write_text("exit 1\n")
    solution = next(finding for finding in checked([folder]) if finding.what == "solution")
    assert not solution.ok, json.dumps(solution.detail)


@needs_docker
def test_a_build_that_fails_says_what_it_said_last(tmp_path):
    folder = folder_with(tmp_path, "", "solution/solve.sh", "environment/Dockerfile")
    (folder / "environment" / "Dockerfile").write_text("FROM python:3.12-slim\nRUN echo no such package; exit 3\n")
    detail = next(finding.detail for finding in checked([folder]))
    assert "code: 3: no such package" in detail


@needs_docker
def test_a_server_that_the_tests_miss_is_said(tmp_path):
    folder = changed(tmp_path, solution__solve_sh="sleep 1000 >/dev/null 2>&1 &\n")
    solution = next(finding for finding in checked([folder]) if finding.what == "solution")
    assert "1 programs that it left running" in solution.detail
