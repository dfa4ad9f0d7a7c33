"""Bad input: one clear error of three lines at most, its exit code, and nothing lost."""

import json
import os
import subprocess
import sys

import pytest

GOOD = """name = "x"
[models.main]
name = "simulated/small"
[suite]
name = "smoke"
seeds = 1
[budget]
rounds = 1
[tracking]
uri = ""
"""


@pytest.fixture
def harness(tmp_path):
    (tmp_path / "x.toml").write_text(GOOD)

    def run(*arguments, cwd=tmp_path, **environment):
        env = {k: v for k, v in os.environ.items() if not k.endswith("_API_KEY")}
        return subprocess.run([sys.executable, "-m", "harness", *arguments], cwd=cwd, capture_output=True, text=True,
                              timeout=120, env={**env, **environment})  # fmt: skip

    run.folder = tmp_path
    return run


def fails(done, code, *said):
    assert done.returncode == code, done.stderr
    error = "\n".join(line for line in done.stderr.splitlines() if not line.startswith(("x: ", "run 20")))
    assert len(error.splitlines()) <= 3, error
    assert "Traceback" not in done.stderr
    for text in said:
        assert text in error, error


def test_misspelt_key_and_missing_file_and_unknown_option(harness):
    (harness.folder / "bad.toml").write_text(GOOD.replace("rounds", "ronds"))
    fails(harness("run", "bad.toml"), 2, 'budget.ronds: unknown key (did you mean "rounds"?)')
    fails(harness("run", "nothere.toml"), 2, "nothere.toml", "no such path")
    fails(harness("run", "x.toml", "--roundz", "3"), 2, "--roundz")
    fails(harness("rnu"), 2, 'did you mean "run"')


def test_unknown_model_provider_and_missing_key(harness):
    fails(harness("run", "x.toml", "-m", "simulated/huge"), 2, "no such simulated model", "simulated/medium")
    fails(harness("run", "x.toml", "-m", "opnai/gpt-4o"), 2, 'unknown provider "opnai"', 'did you mean "openai"')
    fails(harness("run", "x.toml", "-m", "openai/gpt-4o"), 3, "OPENAI_API_KEY is not set", "export OPENAI_API_KEY")
    fails(harness("run", "x.toml", "-m", "gpt-4o"), 2, "want provider/name")


def test_unknown_task_and_overlapping_splits(harness):
    (harness.folder / "s.toml").write_text('train = ["c01-interval-merge-fi"]')
    fails(harness("run", "x.toml", "--set", "suite.name=s.toml"), 2, "c01-interval-merge-fi", "did you mean")
    (harness.folder / "s.toml").write_text('train = ["c01-interval-merge-fix"]\ntest = ["c01-interval-merge-fix"]')
    fails(harness("run", "x.toml", "--set", "suite.name=s.toml"), 2, "in both train and test")
    (harness.folder / "s.toml").write_text("train = []")
    fails(harness("run", "x.toml", "--set", "suite.name=s.toml"), 2, "no tasks")


def scaffold(harness, **files):
    folder = harness.folder / "mine"
    folder.mkdir(exist_ok=True)
    (folder / "scaffold.toml").write_text('contract = 1\nentry = ["python3", "agent.py"]\n')
    (folder / "agent.py").write_text("print(1)\n")
    for name, data in files.items():
        (folder / name.replace("__", ".")).write_bytes(data)
    return folder


def test_bad_scaffolds(harness):
    folder = scaffold(harness)
    (folder / "link.md").symlink_to("/etc/passwd")
    fails(harness("run", "x.toml", "--set", "scaffold.start=./mine"), 2, "link.md", "symbolic link")
    (folder / "link.md").unlink()
    scaffold(harness, agent__py=b"def (:\n")
    fails(harness("run", "x.toml", "--set", "scaffold.start=./mine"), 2, "agent.py", "syntax error")
    scaffold(harness, big__md=b"x" * 10_000_000)
    fails(harness("run", "x.toml", "--set", "scaffold.start=./mine"), 2, "big.md", "10,000,000 bytes")
    (folder / "big.md").unlink()
    scaffold(harness, agent__py=b"print(1)\n", latin__md=b"\xff\xfe")
    fails(harness("run", "x.toml", "--set", "scaffold.start=./mine"), 2, "latin.md", "not UTF-8")
    (folder / "latin.md").unlink()
    (folder / "scaffold.toml").write_text('contract = 1\nentry = ["python3", "agent.py"]\n[samplin]\n')
    fails(
        harness("run", "x.toml", "--set", "scaffold.start=./mine"), 2, 'samplin: unknown key (did you mean "sampling"?)'
    )


def test_no_bubblewrap(harness):
    only_git = harness.folder / "bin"
    only_git.mkdir()
    (only_git / "git").symlink_to("/usr/bin/git")
    fails(harness("run", "x.toml", PATH=str(only_git)), 3, "bubblewrap", "apt-get install bubblewrap")
    fails(harness("check", PATH=str(only_git)), 3, "bubblewrap")


def test_runs_folder_that_cannot_be_written(harness):
    (harness.folder / "runs").write_text("a file in the way")
    fails(harness("run", "x.toml"), 3, "runs")


def test_full_disk_keeps_what_was_journalled(harness, small_disk):
    (small_disk / "x.toml").write_text(GOOD)
    (small_disk / "filler").write_bytes(b"x" * 980_000)
    done = harness("run", "x.toml", "-q", cwd=small_disk)
    fails(done, 3, "No space left on device")
    (small_disk / "filler").unlink()
    journals = list(small_disk.glob("runs/*/journal.jsonl"))
    if journals and journals[0].stat().st_size:
        assert harness("show", "last", cwd=small_disk).returncode == 0


def test_sandbox_kinds_that_are_not_there(harness):
    fails(harness("run", "x.toml", "--set", "sandbox.kind=docker"), 3, "docker")
    fails(harness("run", "x.toml", "--set", "sandbox.kind=local"), 2, "isolates nothing")


def test_reading_verbs(harness):
    assert harness("run", "x.toml", "-q").returncode == 0
    listed = json.loads(harness("show", "--json").stdout)
    assert listed[0]["experiment"] == "x"
    run = json.loads(harness("show", "last", "--json").stdout)
    assert run["decisions"]
    first = run["candidates"][0]["id"]
    assert "seed" in harness("show", "last").stdout
    task = json.loads(harness("show", "last", first, "--json").stdout)["trials"][0]["spec"]["task"]
    shown = harness("show", "last", first, task)
    assert "checks:" in shown.stdout and "[1] system" in shown.stdout
    assert (
        json.loads(harness("show", "last", first, task, "--json").stdout)["trajectory"]["schema_version"] == "ATIF-v1.7"
    )
    assert harness("export", "last", "best", "taken").returncode == 0
    assert (harness.folder / "taken" / "scaffold.toml").exists()
    fails(harness("export", "last", "best", "taken"), 2, "exists")
    fails(harness("show", "last", "c0099"), 2, "c0099")
    fails(harness("show", "last", first, "nosuch"), 2, "nosuch")
    fails(harness("show", "nosuchrun"), 2, "not found")
    fails(harness("diff", "last", "seed"), 2, "no parent")


def test_eval_threshold_and_junit(harness):
    done = harness(
        "eval",
        "plain",
        "smoke",
        "--seeds",
        "1",
        "--min-score",
        "1.0",
        "--junit",
        "out.xml",
        "--json",
        "-m",
        "simulated/small",
    )
    assert done.returncode == 4, done.stderr
    assert "below --min-score" in done.stderr
    assert json.loads(done.stdout)["coverage"] == 1.0
    assert "<testsuite " in (harness.folder / "out.xml").read_text()
