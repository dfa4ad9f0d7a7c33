"""Programs as scaffolds: unmodified agents behind the model port, in real sandboxes, on bundled tasks."""

import asyncio
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import harness
from harness.adopt import adopt
from harness.config import to_experiment
from harness.errors import MachineError, UsageError
from harness.scaffold import ScaffoldError, check_program, read_scaffold, to_scaffold
from tests.engines import IMAGE, needs_docker

HERE = Path(__file__).parent
SAMPLES = HERE / "samples"
PROVIDERS = [
    pytest.param({"kind": "bwrap"}, id="bwrap"),
    pytest.param({"kind": "docker", "image": IMAGE}, id="docker", marks=needs_docker),
]


def experiment(sandbox=None, **more):
    data = {"name": "programs", "models": {"main": {"name": "simulated/medium"}}, "budget": {"trials": 100},
            "suite": {"name": "smoke", "seeds": 1}, "sandbox": sandbox or {"kind": "bwrap"}, **more}  # fmt: skip
    return to_experiment(data, "test", [])


def only(folder, sandbox=None, **more):
    """The first trial of a scaffold on the smoke suite."""
    return harness.evaluate(folder, "smoke", experiment(sandbox, **more), at_most=1).trials[0]


@pytest.mark.parametrize("sandbox", PROVIDERS)
def test_mini_swe_agent_unmodified_runs_three_tasks(sandbox, tmp_path):
    found = harness.evaluate(HERE / "mini-swe-agent", "smoke", experiment(sandbox), folder=tmp_path)
    assert {trial.spec.task for trial in found.trials} == {
        "c01-interval-merge-fix", "c03-csv-quote-regression", "d01-log-first-failure"}  # fmt: skip
    for trial in found.trials:
        assert trial.outcome == "scored", trial.detail
        assert trial.usage.calls >= 3
        assert trial.isolation == "B"
        steps = json.loads((tmp_path / "trials" / trial.spec.key / "trajectory.json").read_text())["steps"]
        assert any("COMPLETE_TASK_AND_SUBMIT" in json.dumps(step.get("tool_calls", "")) for step in steps)


def test_mini_swe_agents_prompt_evolves_over_three_rounds(tmp_path):
    (tmp_path / "one.toml").write_text('description = "one task"\ntrain = ["c01-interval-merge-fix"]\n')
    (tmp_path / "mini.toml").write_text(
        f'name = "mini"\n[scaffold]\nstart = "{HERE / "mini-swe-agent"}"\n[models.main]\nname = "simulated/medium"\n'
        f'[suite]\nname = "{tmp_path}/one.toml"\nseeds = 1\n[gate]\nkind = "random"\n[budget]\nrounds = 3\n[sandbox]\nkind = "bwrap"\n'
        '[tracking]\nuri = ""\n'
    )
    done = subprocess.run([sys.executable, "-m", "harness", "run", "mini.toml"], cwd=tmp_path, capture_output=True, text=True,
                          timeout=400, check=False)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    shown = subprocess.run([sys.executable, "-m", "harness", "show", "last", "--json"], cwd=tmp_path, capture_output=True,
                           text=True, timeout=60, check=True)  # fmt: skip
    candidates = json.loads(shown.stdout)["candidates"]
    assert len(candidates) == 4
    text = subprocess.run([sys.executable, "-m", "harness", "diff", "last", "seed", "c0001"], cwd=tmp_path,
                          capture_output=True, text=True, timeout=60, check=False).stdout  # fmt: skip
    assert "+++ b/agent.yaml" in text


@pytest.mark.parametrize("sample", sorted(p.name for p in SAMPLES.iterdir()))
def test_adopting_a_sample_gives_a_working_experiment(sample, tmp_path):
    shutil.copytree(SAMPLES / sample, tmp_path / sample)
    line = [sys.executable, "-m", "harness", "adopt", sample, "--set", "sandbox.kind=bwrap", "--json"]
    entry = tmp_path / sample / "ENTRY"
    if entry.exists():
        line += ["--kind", "python", "--entry", entry.read_text().strip()]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["kind"] == {"greeter-sdk": "sdk"}.get(sample, "python")
    assert found["editable"]
    assert found["trial"]["outcome"] == "scored"
    assert found["trial"]["usage"]["calls"] >= 1
    checked = subprocess.run([sys.executable, "-m", "harness", "run", found["experiment"], "--dry-run"], cwd=tmp_path,
                             capture_output=True, text=True, timeout=120, check=False)  # fmt: skip
    assert checked.returncode == 0, checked.stderr


def test_a_folder_that_is_no_agent_is_refused_clearly(tmp_path):
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(UsageError, match=r"no agent of any kind.*\n.*--entry"):
        adopt(tmp_path, None)
    with pytest.raises(UsageError, match="no such folder"):
        adopt(tmp_path / "missing", None)
    with pytest.raises(UsageError, match="mini-swe-agent"):
        adopt(tmp_path, "mini-swe-agent")
    with pytest.raises(UsageError, match="--runtime"):
        adopt(tmp_path, "codex")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["notes.txt"]


def program(tmp_path, code, placement="task"):
    folder = tmp_path / "agent"
    folder.mkdir()
    start = "{scaffold}/agent.py"
    (folder / "scaffold.toml").write_text(
        f'contract = 1\nentry = ["python3", "{start}"]\n[program]\nplacement = "{placement}"\neditable = ["*.md"]\n'
    )
    (folder / "agent.py").write_text(code)
    return folder


ASK = """
import json, os, urllib.request, urllib.error
def ask(body, path="/chat/completions"):
    request = urllib.request.Request(os.environ["OPENAI_BASE_URL"] + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
    try:
        return 200, json.load(urllib.request.urlopen(request))
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)
HI = {"model": "main", "messages": [{"role": "user", "content": "hi"}]}
"""


@pytest.mark.parametrize("placement", ["own", "task"])
@pytest.mark.parametrize("sandbox", PROVIDERS)
def test_a_program_that_bypasses_the_port_finds_no_network_and_no_key(placement, sandbox, tmp_path):
    code = ASK + (
        "import socket\nassert not [v for k, v in os.environ.items() if 'KEY' in k and v != 'harness'], os.environ\n"
        "for address in (('1.1.1.1', 53), ('127.0.0.1', 22), ('172.17.0.1', 22)):\n    try:\n"
        "        socket.create_connection(address, 1)\n        raise SystemExit('connected')\n    except OSError:\n        pass\n"
        "assert ask(HI)[0] == 200\n"
    )
    trial = only(program(tmp_path, code, placement), sandbox)
    assert (trial.outcome, trial.usage.calls) == ("scored", 1), trial.detail
    assert trial.isolation == ("A" if placement == "own" else "B")


def test_undeclared_models_forged_usage_and_floods_get_what_the_design_says(tmp_path):
    code = ASK + (
        "assert ask({**HI, 'model': 'gpt-9'})[0] == 404\n"
        "status, found = ask({**HI, 'usage': {'total_tokens': 0}, 'tools': [{'type': 'web_search'}]})\nassert status == 200\n"
        "codes = [ask(HI)[0] for _ in range(30)]\nassert codes.count(200) == 4, codes\nassert set(codes) == {200, 403}, codes\n"
    )
    trial = only(program(tmp_path, code), limits={"message_limit": 5, "time_limit": 60})
    assert trial.usage.calls == 5
    assert trial.usage.tokens > 0
    assert "message_limit" in trial.flags


def test_in_a_sandbox_of_its_own_a_program_reaches_the_task_through_the_sdk_and_the_port(tmp_path):
    code = ASK + (
        "from harness_sdk import env, task\nassert ask(HI)[0] == 200\ngiven = task()\nassert given['instruction']\n"
        "ran = env.exec('ls; id -u')\nassert ran.returncode == 0\nenv.write(given['workdir'] + '/mine.txt', 'yes')\n"
        "assert env.read(given['workdir'] + '/mine.txt') == b'yes'\nassert not os.path.exists(given['workdir'] + '/mine.txt')\n"
    )
    trial = only(program(tmp_path, code, "own"))
    assert trial.outcome == "scored", trial.detail
    assert any(artifact.path.endswith("mine.txt") for artifact in trial.artifacts)


@needs_docker
def test_a_program_may_bring_an_image_of_its_own(tmp_path):
    folder = program(tmp_path, ASK + "assert os.path.isdir('/opt/runtime')\nask(HI)\n", "own")
    manifest = folder / "scaffold.toml"
    manifest.write_text(manifest.read_text().replace("[program]\n", f'[program]\nruntime = "image:{IMAGE}"\n'))
    trial = only(folder, {"kind": "docker", "image": IMAGE})
    assert (trial.outcome, trial.usage.calls) == ("scored", 1), trial.detail
    with pytest.raises(MachineError, match="docker provider"):
        only(folder)


def test_what_a_program_leaves_running_is_gone_before_grading(tmp_path):
    code = ASK + (
        "import subprocess\nask(HI)\nsubprocess.Popen(['sh', '-c', 'trap \"\" TERM; while :; do date > /app/late.txt; sleep 0.05; done'], "
        "start_new_session=True)\nimport time; time.sleep(0.3)\n"
    )
    trial = only(program(tmp_path, code))
    assert trial.outcome == "scored", trial.detail


def test_proposals_cannot_touch_the_manifest_the_runtime_or_become_a_program():
    before = read_scaffold(HERE / "mini-swe-agent")
    files = dict(before.files)

    def edited(**changes):
        return to_scaffold({**files, **changes})

    check_program(before, edited(**{"agent.yaml": files["agent.yaml"] + "\n"}))
    for path, text in (("scaffold.toml", files["scaffold.toml"].replace('runtime = "requirements.lock"', 'runtime = "/etc"')),
                       ("scaffold.toml", files["scaffold.toml"] + "\n"), ("requirements.lock", "evil==1\n"),
                       ("other.py", "pass\n")):  # fmt: skip
        with pytest.raises(ScaffoldError) as refused:
            check_program(before, edited(**{path: text}))
        assert refused.value.rejection.breach in ("treatment", "scope")
    plain = {"scaffold.toml": 'contract = 1\nentry = ["python3", "agent.py"]\n', "agent.py": "pass\n"}
    with pytest.raises(ScaffoldError) as refused:
        check_program(
            to_scaffold(plain),
            to_scaffold({**plain, "scaffold.toml": plain["scaffold.toml"] + '[program]\nruntime = "/root"\n'}),
        )
    assert refused.value.rejection.breach == "treatment"


def test_a_live_model_does_not_run_in_the_tasks_sandbox_unasked(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    live = to_experiment({"name": "x", "models": {"main": {"name": "openai/gpt-5"}}, "budget": {"trials": 1},
                          "suite": {"name": "smoke"}}, "test", [])  # fmt: skip
    with pytest.raises(MachineError, match=r"isolation grade B, and A is wanted\n.*min_grade=B"):
        harness.evaluate(program(tmp_path, ASK), "smoke", live)


PROPOSER = (
    ASK
    + """
import pathlib, subprocess
folder = pathlib.Path("/app/scaffold")
assert pathlib.Path("/evidence/summary.md").exists()
try:
    pathlib.Path("/evidence/summary.md").write_text("forged")
    raise SystemExit("evidence is writable")
except OSError:
    pass
ask(HI)
prompt = folder / "prompts/system.md"
prompt.write_text(prompt.read_text() + "\\nRead every document in full before the first edit.\\n")
pathlib.Path("/app/manifest.toml").write_text('title = "read"\\nmechanism = "a rule"\\nhypothesis = "it helps"\\nroot_cause = "unread"\\n'
    'evidence = []\\ncomponents = ["prompts/system.md"]\\npredicted_fixes = []\\npredicted_risks = []\\ncost_effect = "same"\\n')
"""
)


def test_any_program_that_edits_a_folder_can_be_the_proposer(tmp_path):
    folder = program(tmp_path, PROPOSER)
    (tmp_path / "x.toml").write_text(
        'name = "x"\n[models.main]\nname = "simulated/medium"\n'
        f'[proposer]\nkind = "command"\nscaffold = "{folder}"\n[suite]\nname = "smoke"\nseeds = 1\n[gate]\nkind = "random"\n'
        '[budget]\nrounds = 1\n[sandbox]\nkind = "bwrap"\n[tracking]\nuri = ""\n'
    )
    done = subprocess.run([sys.executable, "-m", "harness", "run", "x.toml"], cwd=tmp_path, capture_output=True, text=True,
                          timeout=200, check=False)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "c0001  read" in done.stdout + done.stderr
    run = next(p for p in (tmp_path / "runs").iterdir() if p.is_dir())
    assert list(run.glob("proposals/*/trajectory.json"))
    shown = asyncio.run(asyncio.to_thread(lambda: (run / "journal.jsonl").read_text()))
    assert '"kind":"command"' in shown.replace(" ", "") or '"kind":"editor"' in shown.replace(" ", "")
