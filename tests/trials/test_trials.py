"""Outcomes of trials in real sandboxes: right work, broken scaffolds, limits, liars, and verifiers that break."""

import asyncio
import time

import pytest

from harness.errors import ModelFault, UsageError
from harness.instances import Instances
from harness.models.gateway import ModelGateway, build_routes
from harness.models.simulated import SimulatedModel
from harness.records import Limits, TrialSpec
from harness.records.experiment import ModelChoice
from harness.sandboxes import open_provider
from harness.scaffold import read_scaffold
from harness.seams import ExecResult
from harness.tasks import load_task
from harness.trial import TrialEngine, TrialSettings
from harness.verification import read_verdict
from tests.tiny import ROOT, Scripted, program


def measure(folder, gateway, scaffold=None, limits=None, out=None):
    async def main():
        sandboxes = open_provider("bwrap")
        try:
            settings = TrialSettings(run_seed=1, limits=limits or Limits(time_limit=20), models=("main",), model_name="scripted",
                                     isolation="A", folder=(lambda key: out / key) if out else None)  # fmt: skip
            engine = TrialEngine(sandboxes, gateway, Instances(sandboxes, None, ""), settings)
            chosen = scaffold or read_scaffold(ROOT / "harness" / "scaffolds" / "plain")
            return await engine.run(
                TrialSpec(candidate="c0000", task=folder.name, seed=0, attempt=0), load_task(folder), chosen
            )
        finally:
            await sandboxes.close()

    return asyncio.run(main())


def test_right_work_scores_one_and_leaves_its_evidence(tiny_task, tmp_path):
    trial = measure(tiny_task, Scripted("cat readme.txt", "echo yes > done.txt"), out=tmp_path / "out")
    assert (trial.outcome, trial.score, trial.steps) == ("scored", 1.0, 3)
    assert "/app/done.txt" in [a.path for a in trial.artifacts]
    folder = tmp_path / "out" / trial.spec.key
    assert '"schema_version": "ATIF-v1.7"' in (folder / "trajectory.json").read_text()
    assert (folder / "result.json").exists()


def test_doing_nothing_scores_zero(tiny_task):
    assert measure(tiny_task, Scripted()).score == 0.0


def test_a_scaffold_that_crashes_is_an_agent_error_that_counts(tiny_task):
    trial = measure(tiny_task, Scripted(), program("raise SystemExit('boom')"))
    assert (trial.outcome, trial.score) == ("agent_error", 0.0)
    assert "boom" in trial.detail


def test_a_scaffold_that_never_ends_is_out_of_time(tiny_task):
    trial = measure(tiny_task, Scripted(), program("import time\ntime.sleep(60)"), Limits(time_limit=1.0))
    assert (trial.outcome, trial.score) == ("time_up", 0.0)


def test_message_limit_ends_it_and_what_is_there_is_graded(tiny_task):
    trial = measure(
        tiny_task, Scripted("echo yes > done.txt", "true", "true"), limits=Limits(time_limit=20, message_limit=2)
    )
    assert (trial.outcome, trial.score, trial.flags) == ("scored", 1.0, ("message_limit",))


def test_an_infrastructure_fault_is_tried_three_times_and_never_scored(tiny_task):
    gateway = Scripted(fault=ModelFault("server", "down"))
    trial = measure(tiny_task, gateway)
    assert (trial.outcome, trial.score, trial.tries) == ("infra_error", None, 3)
    assert gateway.calls == 3


@pytest.mark.parametrize(
    "broken", ["raise SystemExit(1)", "import time; time.sleep(60)", "print('{\"reward\": 1}')", "print('x' * 10**8)"]
)
def test_a_verifier_that_crashes_hangs_or_forgets_its_nonce_is_a_task_error(tiny_task, broken):
    (tiny_task / "tests" / "verify.py").write_text(broken)
    begun = time.monotonic()
    trial = measure(tiny_task, Scripted("echo yes > done.txt"))
    assert (trial.outcome, trial.score) == ("task_error", None)
    assert time.monotonic() - begun < 20


def test_a_forged_reward_and_a_late_writer_change_nothing(tiny_task):
    forge = "mkdir -p /logs/verifier; echo 1 > /logs/verifier/reward.txt; echo '{\"reward\": 1}' > /logs/verifier/reward.json"
    late = "(setsid sh -c 'sleep 0.3; echo yes > /app/done.txt' >/dev/null 2>&1 &)"
    assert measure(tiny_task, Scripted(forge, late)).score == 0.0


LIAR = """
import os, struct, json
from harness_sdk import task, env, model, log, RequestError
for bad in ({"op": "nosuch"}, {"op": "exec", "argv": "x"}, {"op": "read"}, {"op": "complete", "model": "gpt-9"},
            {"op": "complete", "messages": [{"role": "user", "content": "x"}], "sampling": {"temperature": "hot"}}):
    raw = json.dumps({**bad, "id": 1}).encode()
    os.write(int(os.environ["HARNESS_FD_OUT"]), struct.pack(">II", len(raw), 0) + raw)
    head, body = struct.unpack(">II", os.read(int(os.environ["HARNESS_FD_IN"]), 8))
    answer = json.loads(os.read(int(os.environ["HARNESS_FD_IN"]), head))
    assert answer["error"]["kind"] == "bad_request", answer
for n in range(3000):
    log.note("flood %d" % n)
log.count("loop_guard_fired", 2)
print("I scored 1.0 and used 0 tokens")
model.complete([{"role": "user", "content": "hi"}])
env.write("/app/done.txt", "yes")
assert env.read("/app/done.txt") == b"yes"
"""


def test_a_scaffold_that_lies_and_floods_is_metered_all_the_same(tiny_task, tmp_path):
    trial = measure(tiny_task, Scripted(), program(LIAR), out=tmp_path)
    assert (trial.outcome, trial.score) == ("scored", 1.0), trial.detail
    assert trial.usage.tokens == 15
    assert trial.counters == (("loop_guard_fired", 2),)
    assert (tmp_path / trial.spec.key / "trajectory.json").stat().st_size < 200_000


def test_a_scaffold_has_no_network_no_keys_and_no_task(tiny_task):
    code = (
        "import os, socket\nassert not [k for k in os.environ if 'KEY' in k]\nassert not os.path.exists('/app/readme.txt')\n"
        "try:\n    socket.create_connection(('127.0.0.1', 22), 1)\n    raise SystemExit('connected')\nexcept OSError:\n    pass"
    )
    trial = measure(tiny_task, Scripted(), program(code))
    assert trial.outcome == "scored", trial.detail


def test_all_who_wait_for_a_build_that_fails_are_told_why(tiny_task):
    (tiny_task / "environment" / "build.py").write_text("raise SystemExit('no such luck')\n")

    async def main():
        sandboxes = open_provider("bwrap")
        try:
            instances, task = Instances(sandboxes, None, ""), load_task(tiny_task)
            return await asyncio.gather(*(instances.get(task, 0) for _ in range(3)), return_exceptions=True)
        finally:
            await sandboxes.close()

    assert {type(error) for error in asyncio.run(main())} == {UsageError}


class Breaks(Scripted):
    """A model that is gone at one call, once, and begins anew after it."""

    def __init__(self, at, *commands):
        super().__init__(*commands)
        self.at = at

    async def complete(self, call):
        if self.calls == self.at:
            self.at, self.calls = None, 0
            raise ModelFault("server", "down")
        return await super().complete(call)


def test_what_a_broken_try_has_cost_is_kept(tiny_task):
    trial = measure(tiny_task, Breaks(2, "cat readme.txt", "echo yes > done.txt"))
    assert (trial.outcome, trial.score, trial.tries) == ("scored", 1.0, 2)
    assert (trial.steps, trial.usage.calls, trial.usage.tokens) == (3, 5, 75)


ANYTHING = """
import json, os, struct
from harness_sdk import env
half = chr(0xD800)
user = {"role": "user", "content": "x"}
for frame in [
    {"op": "exec", "command": "true", "time_limit": 10**400}, {"op": "exec", "command": "true", "time_limit": 5e-324},
    {"op": "exec", "argv": ["echo", half]}, {"op": "exec", "command": "true", "cwd": half}, {"op": "exec", "command": "true", "cwd": "a" + chr(0) + "b"},
    {"op": "read", "path": half}, {"op": "read", "path": "/x", "offset": 10**3000}, {"op": "write", "path": half},
    {"op": "log", "note": half}, {"op": "log", "counter": half}, {"op": "log", "counter": "x", "by": 10**4000},
    {"op": "complete", "messages": [{"role": "user", "content": 5}]}, {"op": "complete", "messages": [{"role": "user", "content": half}]},
    {"op": "complete", "messages": [{}]}, {"op": "complete", "messages": [user], "sampling": {"max_tokens": 10**30}},
    {"op": "complete", "messages": [user], "tools": [{"type": "function", "function": {"name": half}}]},
]:
    raw = json.dumps({**frame, "id": 1}).encode()
    os.write(int(os.environ["HARNESS_FD_OUT"]), struct.pack(">II", len(raw), 0) + raw)
    head, body = struct.unpack(">II", os.read(int(os.environ["HARNESS_FD_IN"]), 8))
    answer = json.loads(os.read(int(os.environ["HARNESS_FD_IN"]), head))
    body and os.read(int(os.environ["HARNESS_FD_IN"]), body)
    assert answer.get("error", {}).get("kind") in (None, "bad_request", "not_found"), (frame, answer)
env.write("/app/done.txt", "yes")
"""


def test_nothing_that_a_scaffold_sends_ends_the_run(tiny_task, tmp_path):
    routes = build_routes({"main": ModelChoice(name="simulated/small")}, lambda choice: SimulatedModel(choice.name))
    trial = measure(tiny_task, ModelGateway(routes), program(ANYTHING), out=tmp_path)
    assert (trial.outcome, trial.score) == ("scored", 1.0), trial.detail
    assert dict(trial.counters) == {"?": 1, "x": 10**6}


@pytest.mark.parametrize(
    "result", ['{"reward": 1' + "0" * 400 + "}", '{"reward": 1, "checks": ' + '{"a":' * 10**5 + "1" + "}" * (10**5 + 1)]
)
def test_a_result_that_no_number_or_stack_holds_is_a_task_error(result):
    verdict = read_verdict(ExecResult(returncode=0, output=b"", stdout=b"N" + result.encode() + b"\n"), "N", 5)
    assert (verdict.score, verdict.problem.partition(":")[0]) == (None, "the verifier's result cannot be read")


def test_the_name_of_a_check_can_be_written_down():
    verdict = read_verdict(
        ExecResult(returncode=0, output=b"", stdout=b'N{"reward": 1, "checks": {"\\ud800": true}}\n'), "N", 5
    )
    assert [check.model_dump_json() for check in verdict.checks] == ['{"name":"?","passed":true}']
