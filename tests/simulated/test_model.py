"""The simulated model: pure, canonical, moved by what a scaffold says and shows."""

import asyncio
import time

import pytest

from harness.models.simulated import SimulatedModel, answer
from harness.models.simulated.ladder import ability_of
from harness.models.simulated.rules import read_rules
from harness.records import ModelRequest, Sampling

BASH = {"type": "function", "function": {"name": "bash", "description": "Run.", "parameters": {
    "type": "object", "properties": {"command": {"type": "string", "description": "c"}}, "required": ["command"]}}}  # fmt: skip
TASK = "Fix merge of the span module as SPEC.md says."


def request(system="Work.", user=TASK, seed=1, extra=(), **fields):
    messages = ({"role": "system", "content": system}, {"role": "user", "content": user}, *extra)
    return ModelRequest(**{"model": "simulated/medium", "messages": messages, "tools": (BASH,), "seed": seed, **fields})


def reply(asked):
    return answer(asked, ability_of(asked.model))


def play(system, seed, observe, steps=40, **fields):
    """Commands of one conversation, with observations from `observe(command, number)`."""
    extra, commands = [], []
    for number in range(steps):
        message = reply(request(system, seed=seed, extra=extra, **fields)).message
        if not message.get("tool_calls"):
            return commands
        commands.append(message["tool_calls"][0]["function"]["arguments"])
        extra += [
            message,
            {"role": "tool", "tool_call_id": message["tool_calls"][0]["id"], "content": observe(commands[-1], number)},
        ]
    return commands


def test_the_same_request_has_the_same_reply_whatever_the_ids_and_nulls():
    call = {"id": "a", "type": "function", "function": {"name": "bash", "arguments": "{}"}}
    one = (
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "a", "content": "x"},
    )
    two = (
        {"role": "assistant", "tool_calls": [{**call, "id": "zz"}]},
        {"role": "tool", "tool_call_id": "zz", "content": "x"},
    )
    first, second = reply(request(extra=one)), reply(request(extra=two, model="openai/medium"))
    assert first.message["tool_calls"][0]["function"] == second.message["tool_calls"][0]["function"]
    assert reply(request(extra=one)) == first


def test_rules_are_heard_by_their_sense():
    prompt = ("Read the manual documents in full before the first edit. Before you finish, check your result. "
              "Never repeat a command that failed. When output was cut off, page through the rest. Change only what was asked.")  # fmt: skip
    assert {"read", "verify", "norepeat", "page", "preserve"} <= set(read_rules(prompt).salience)
    assert read_rules("Work with shell commands; python3 is there.").salience == {}
    bloated = read_rules(prompt + " word" * 600)
    assert bloated.of("read") < read_rules(prompt).of("read") / 2


def test_a_verify_rule_makes_it_check_more_often():
    def checks(system):
        return sum(any("all good" in c for c in play(system, seed, lambda c, n: "fine")) for seed in range(60))

    assert checks("Before you finish, check your result with a test of your own.") > checks("Work.") + 20


def test_a_loop_guard_note_gets_it_out_of_the_rut():
    def length(observe):
        prompt = "Before you finish, check your result with a test of your own."
        return sum(len(play(prompt, seed, observe)) for seed in range(60))

    failing = "the gap between them is at most 5 minutes"
    assert length(lambda c, n: failing + "\n[note: repeated]") < length(lambda c, n: failing)


def test_a_placebo_flips_few_trials():
    changed = sum(
        play("Work.", s, lambda c, n: "x") != play("Work. Thank you.", s, lambda c, n: "x") for s in range(200)
    )
    assert 2 <= changed <= 60


def test_unknown_work_is_refused_and_short_max_tokens_cut():
    assert "cannot do this" in reply(request(user="Compose a symphony.")).message["content"]
    assert "cannot do this" in reply(request(tools=())).message["content"]
    assert reply(request(sampling=Sampling(max_tokens=16))).finish in ("length", "tool_calls")


def test_flaky_faults_on_a_schedule_and_recovers():
    model, kinds = SimulatedModel("simulated/flaky"), []
    for number in range(60):
        try:
            asyncio.run(model.complete(request(seed=number, model="simulated/flaky")))
        except Exception as fault:
            kinds.append(fault.kind)
    assert 1 <= len(kinds) <= 25


@pytest.mark.parametrize("name", ["small", "medium", "large"])
def test_a_reply_costs_little(name):
    asked = request("Read the specification in full before the first edit.", model=f"simulated/{name}")
    reply(asked)
    begun = time.process_time()
    for _ in range(200):
        reply(asked)
    assert (time.process_time() - begun) / 200 < 0.005
