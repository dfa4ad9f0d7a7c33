"""Tests that want the agent's own server still to run: refused by default, given to tasks that the experiment names."""

import shutil

import pytest

from harness.config import to_experiment
from harness.errors import MachineError, UsageError
from harness.suites import load_suite
from harness.tasks import load_task, made_live
from harness.wiring import check_placement
from tests.engines import needs_docker
from tests.foreign.test_foreign import PLAIN, TASKS, checked, measure
from tests.tiny import Scripted

SERVER = """import http.server
http.server.HTTPServer(("127.0.0.1", 8099), http.server.SimpleHTTPRequestHandler).serve_forever()
"""
START = (
    f"cd /tmp && cat > server.py <<'PY'\n{SERVER}PY\nsetsid python3 server.py >/dev/null 2>&1 </dev/null &\nsleep 1\n"
)
TESTS = """#!/bin/bash
python3 -c 'import urllib.request as u; u.urlopen("http://127.0.0.1:8099/", timeout=3)' && echo 1 > /logs/verifier/reward.txt || echo 0 > /logs/verifier/reward.txt
"""


@pytest.fixture
def served(tmp_path):
    folder = tmp_path / "set" / "served"
    shutil.copytree(TASKS / "first-format", folder)
    (folder / "solution" / "solve.sh").write_text(f"#!/bin/bash\n{START}")
    (folder / "tests" / "test.sh").write_text(TESTS)
    return folder


def live(folder):
    return made_live({folder.name: load_task(folder)}, ["*"])[folder.name]


@needs_docker
def test_a_server_that_the_solution_left_is_there_for_a_live_verifier_only(served, monkeypatch):
    found = {finding.what: finding for finding in checked([served])}
    assert not found["solution"].ok
    assert "programs that it left running are not there for the tests" in found["solution"].detail
    monkeypatch.setattr("tests.foreign.test_foreign.load_task", live)
    assert all(finding.ok for finding in checked([served])), checked([served])
    trial = measure(served, Scripted(f"({START})"))
    assert (trial.outcome, trial.score, trial.isolation) == ("scored", 1.0, "C"), trial.detail
    assert (
        measure(served, Scripted("mkdir -p /tests; echo 'echo 1 > /logs/verifier/reward.txt' > /tests/test.sh")).score
        == 0.0
    )


def test_what_is_named_must_be_there_and_fit_for_it(served):
    with pytest.raises(UsageError, match='"serve" fits no task .did you mean "served"'):
        load_suite(str(served.parent), live=["serve"])
    assert load_suite(str(served.parent), live=["ser*"])[1]["served"].foreign.live
    for name, why in (("two-steps", "several steps"), ("separate-verifier", "separate verifier")):
        with pytest.raises(UsageError, match=why):
            load_suite(str(TASKS), live=[name])
    with pytest.raises(UsageError, match="is a task of ours"):
        load_suite("smoke", live=["c01-*"])


def test_it_is_another_task_of_a_lower_grade(served):
    plain, named = load_task(served), live(served)
    assert len({plain.digest, named.digest, plain.agent_digest, named.agent_digest}) == 2
    data = {
        "name": "x",
        "models": {"main": {"name": "simulated/medium"}},
        "suite": {"name": str(served.parent)},
        "budget": {"trials": 1},
    }
    check_placement(to_experiment(data, "test", []), PLAIN, {"served": plain})
    with pytest.raises(MachineError, match="sandbox.min_grade=C"):
        check_placement(to_experiment(data, "test", []), PLAIN, {"served": named})
    check_placement(to_experiment(data, "test", ["sandbox.min_grade=C"]), PLAIN, {"served": named})
