"""A scaffold under Harbor's own code, in Harbor's Python, on a bundled task; and Harbor's results read back."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from harness.bridges.harbor import EnvironmentSandbox, read_job, write_agent
from harness.cli import main
from harness.errors import SandboxFault, UsageError
from harness.scaffold import read_scaffold

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
TASK = ROOT / "tasks" / "coding" / "c01-interval-merge-fix"


def under_harbor(python, *words):
    done = subprocess.run(
        [python, HERE / "under_harbor.py", TASK, *words], capture_output=True, text=True, timeout=200, check=False,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{HERE}", "LITELLM_LOCAL_MODEL_COST_MAP": "True"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_a_scaffold_runs_as_an_agent_under_harbors_own_trial(python, tmp_path, capsys):
    jobs = tmp_path / "jobs"
    assert under_harbor(python, jobs)["rewards"] == {"reward": 1}
    write_agent(read_scaffold(ROOT / "harness" / "scaffolds" / "plain"), "c0000", tmp_path / "agent")
    found = under_harbor(python, jobs, tmp_path / "agent", "simulated/large")
    assert found["error"] == ""
    assert found["rewards"] in ({"reward": 1}, {"reward": 0})
    assert found["tokens"] > 100
    trials = {trial.agent: trial for trial in read_job(jobs)}
    assert trials["oracle"].reward == 1.0
    assert trials["selfharness-c0000"].usage.tokens_in == found["tokens"]
    assert list(jobs.glob("*/agent/trajectory.json"))
    assert main(["show", "--harbor", str(jobs)]) == 0
    assert "coverage 100%" in capsys.readouterr().out


def test_a_program_with_its_own_shell_is_refused(tmp_path):
    with pytest.raises(UsageError, match="own shell"):
        write_agent(read_scaffold(HERE.parent / "programs" / "mini-swe-agent"), "c0000", tmp_path / "x")
    assert not (tmp_path / "x").exists()


class Shell:
    """A Harbor environment as far as its signature goes: this machine's shell."""

    async def exec(self, command, cwd=None, env=None, timeout_sec=None):
        done = subprocess.run(
            ["bash", "-c", command], cwd=cwd, capture_output=True, text=True, timeout=timeout_sec, check=False
        )

        class Result:
            stdout, stderr, return_code = done.stdout, done.stderr, done.returncode

        return Result

    async def upload_file(self, source_path, target_path):
        shutil.copyfile(source_path, target_path)


class Broken(Shell):
    async def exec(self, command, cwd=None, env=None, timeout_sec=None):
        raise RuntimeError("the container is gone")


@pytest.mark.parametrize("size", [0, 100, 200_000])
def test_bytes_limits_and_time_pass_harbors_text(size):
    import asyncio

    async def body():
        box = EnvironmentSandbox(Shell())
        data = bytes(n % 256 for n in range(size))
        assert (await box.exec(["cat"], stdin=data)).output == data
        done = await box.exec(["sh", "-c", "echo out; echo err >&2; exit 3"], split_streams=True)
        assert (done.returncode, done.stdout, done.output) == (3, b"out\n", b"err\n")
        done = await box.exec(["sh", "-c", "head -c 5000 /dev/zero"], max_output=100)
        assert (len(done.output), done.dropped) == (100, 4900)
        assert (await box.exec(["sleep", "9"], time_limit=0.2)).timed_out
        with pytest.raises(SandboxFault, match="the container is gone"):
            await EnvironmentSandbox(Broken()).exec(["true"])

    asyncio.run(body())


def test_what_is_no_harbor_job_is_refused(tmp_path):
    with pytest.raises(UsageError, match="no trial of a Harbor job"):
        read_job(tmp_path)
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "result.json").write_text('{"task_name": "x"}')
    with pytest.raises(UsageError, match="not a Harbor trial"):
        read_job(tmp_path)


def test_a_trial_without_a_reward_is_no_zero(tmp_path):
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "result.json").write_text(
        '{"task_name": "x", "trial_name": "x__1", "agent_info": {"name": "a"}, "verifier_result": null, '
        '"exception_info": {"exception_type": "E", "exception_message": "broke"}}'
    )
    (trial,) = read_job(tmp_path)
    assert (trial.reward, trial.error) == (None, "E: broke")
