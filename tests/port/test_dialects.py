"""The dialects on their own: any body is a request or a refusal, reasoning makes the round trip, names mean what is declared."""

import asyncio
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.broker import Refused
from harness.port import carry, chat, messages, policy, responses
from harness.port.handler import ModelPort
from harness.records import ModelReply, Usage

MODELS = {"main": "anthropic/claude-x", "small": "openrouter/z/small", "again": "other/claude-x"}
DIALECTS = [chat.DIALECT, responses.DIALECT, messages.DIALECT]
WORDS = ["model", "messages", "input", "role", "content", "type", "text", "tools", "function", "name", "arguments", "tool_choice", "main",
         "user", "assistant", "system", "tool", "tool_calls", "id", "call_id", "tool_use", "tool_result", "tool_use_id", "thinking",
         "signature", "function_call", "function_call_output", "output", "message", "reasoning", "encrypted_content", "harness1:e30=",
         "input_text", "auto", "required", "any", "custom", "custom_tool_call", "format", "response_format", "json_schema", "stop",
         "max_tokens", "temperature", "stream", "stream_options", "is_error", "cache_control", "input_schema", "n", "item_reference"]  # fmt: skip
WORD = st.sampled_from(WORDS)
LEAF = st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False) | WORD | st.text(max_size=5)
JSON = st.recursive(
    LEAF, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORD, inner, max_size=5), max_leaves=25
)
BODY = st.dictionaries(WORD, JSON, max_size=8).map(lambda body: {"model": "main", **body})


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda d: d.name)
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(body=BODY)
def test_any_body_is_a_request_or_a_refusal(dialect, body):
    try:
        asked = dialect.to_request(body, MODELS)
    except Refused as refused:
        assert refused.kind in ("bad_request", "not_found")
        assert json.dumps(dialect.to_error(refused))
    else:
        assert asked.prompt.alias == "main"


def reply_of(**message):
    finish = "tool_calls" if message.get("tool_calls") else "stop"
    return ModelReply(
        message={"role": "assistant", "content": None, **message}, finish=finish, usage=Usage(), origin="simulated"
    )


CALL = {"id": "c1", "type": "function", "function": {"name": "bash", "arguments": '{"command": "ls"}'}}
REASONING = [
    {"reasoning_content": "why"},
    {"reasoning_details": [{"type": "reasoning.encrypted", "data": "x"}]},
    {"thinking_blocks": [{"type": "thinking", "thinking": "why", "signature": "s"}, {"type": "redacted_thinking", "data": "x"}]},
    {"reasoning_content": "why", "reasoning_details": [{"text": "why"}]},
]  # fmt: skip


@pytest.mark.parametrize("reasoning", REASONING, ids=lambda r: "+".join(r))
@pytest.mark.parametrize("content", [None, "Looking."])
def test_what_a_model_reasoned_comes_back_as_it_left(reasoning, content):
    reply = reply_of(content=content, tool_calls=[CALL], **reasoning)
    hello = {"role": "user", "content": "x"}
    for dialect, body in (
        (chat.DIALECT, {"model": "main", "messages": [hello]}),
        (messages.DIALECT, {"model": "main", "messages": [hello], "max_tokens": 5}),
        (responses.DIALECT, {"model": "main", "input": [hello]}),
    ):
        answer = dialect.to_reply(reply, dialect.to_request(body, MODELS), "t")
        if dialect is chat.DIALECT:
            body["messages"] = [hello, answer["choices"][0]["message"]]
        elif dialect is messages.DIALECT:
            body["messages"] = [hello, {"role": "assistant", "content": answer["content"]}]
        else:
            body["input"] = [hello, *answer["output"]]
        assert dialect.to_request(body, MODELS).prompt.messages[1] == reply.message, dialect.name


@pytest.mark.parametrize(("arguments", "seen"), [('{"a": 1}', {"a": 1}), ("", {}), ("no json", {"arguments": "no json"}), ("[1]", {"arguments": "[1]"})])  # fmt: skip
def test_malformed_arguments_are_handed_over_not_lost(arguments, seen):
    call = {**CALL, "function": {"name": "bash", "arguments": arguments}}
    asked = messages.to_request({"model": "main", "messages": [{"role": "user", "content": "x"}]}, MODELS)
    assert messages.to_reply(reply_of(tool_calls=[call]), asked, "t")["content"][0]["input"] == seen


def test_text_that_is_not_ours_is_not_unpacked():
    for text in ("", "gAAAA", "harness1:", "harness1:%%%", "harness1:W10=", None, 5):
        assert not carry.unpack(text)


@pytest.mark.parametrize(("name", "alias"), [
    ("main", "main"), ("anthropic/claude-x", "main"), ("claude-x", "main"), ("other/claude-x", "again"), ("openrouter/z/small", "small"),
    ("z/small", "small"),
])  # fmt: skip
def test_names_mean_an_alias_or_the_model_behind_it(name, alias):
    assert policy.alias_of(name, MODELS) == alias


@pytest.mark.parametrize("name", ["", None, "small/main", "gpt-9", ["main"], {"main": 1}])
def test_other_names_are_refused(name):
    with pytest.raises(Refused) as refused:
        policy.alias_of(name, MODELS)
    assert refused.value.kind == "not_found"


def test_items_of_one_turn_are_one_message_and_of_two_turns_two():
    def fc(ident):
        return {"type": "function_call", "call_id": ident, "name": "f", "arguments": "{}"}

    def out(ident):
        return {"type": "function_call_output", "call_id": ident, "output": "x"}

    together = responses.to_request({"model": "main", "input": [fc("a"), fc("b"), out("a"), out("b")]}, MODELS)
    assert [m["role"] for m in together.prompt.messages] == ["assistant", "tool", "tool"]
    apart = responses.to_request({"model": "main", "input": [fc("a"), out("a"), fc("b"), out("b")]}, MODELS)
    assert [m["role"] for m in apart.prompt.messages] == ["assistant", "tool", "assistant", "tool"]


def ask(port, gateway, body, count=1):
    broker = port.broker(gateway)
    served = ModelPort(broker, port.models)
    frame = {"op": "http", "id": 1, "method": "POST", "path": "/v1/chat/completions", "headers": {}}

    async def main():
        return [await served.handle(frame, body) for _ in range(count)]

    return asyncio.run(main()), broker


NASTY = [
    b'{"model": "main", "messages": [{"role": "user", "content": "\\ud800 \\u0000"}]}',
    b'{"model": "main", "messages": [{"role": "user", "content": ["x"]}], "max_tokens": 1e400}',
    b'{"model": "main", "messages": [{"role": "user", "content": "x"}], "max_tokens": -1}',
    b'{"model": "main", "messages": [{"role": "user", "content": "x"}], "temperature": 1e308}',
    b'{"model": "main", "messages": [], "stop": []}',
    b'{"model": "main", "messages": [{"role": "tool", "tool_call_id": "x", "content": null}]}',
    b'{"model": "main", "messages": [{"role": "user", "content": "x"}], "n": 1e9}',
    b'{"model": "main", "messages": [{"role": "assistant", "tool_calls": [{"id": "x", "function": {"name": "f", "arguments": "'
    + b"[" * 5000
    + b'"}}]}, {"role": "user", "content": "x"}]}',
]


@pytest.mark.parametrize("body", NASTY, ids=range(len(NASTY)))
def test_nasty_requests_neither_crash_nor_end_the_session(port, body):
    ((answer, data),), broker = ask(port, port.simulated(), body)
    assert answer["status"] in (200, 400), data
    assert broker.crash is None
    assert not answer["over"]
    assert broker.fault is None


def test_notes_are_written_once_and_refusals_are_bounded(port):
    body = b'{"model": "gpt-9", "messages": []}'
    answers, broker = ask(port, port.Scripted("x"), body, count=300)
    assert {answer["status"] for answer, _ in answers} == {404}
    assert len(broker._trajectory.steps) == 1


def test_sdk_frames_pass_the_same_handler(port):
    served = ModelPort(port.broker(port.Scripted("Hello.")), port.models)
    answer, _ = asyncio.run(
        served.handle({"op": "complete", "id": 3, "messages": [{"role": "user", "content": "x"}]}, b"")
    )
    assert answer["message"]["content"] == "Hello."
    assert answer["id"] == 3


def test_a_bug_of_ours_ends_the_session_and_is_kept(port):
    body = b'{"model": "main", "messages": [{"role": "user", "content": "x"}]}'
    answers, broker = ask(port, port.Scripted(ZeroDivisionError("ours")), body, count=2)
    assert [(answer["status"], answer["over"]) for answer, _ in answers] == [(403, True), (403, True)]
    assert isinstance(broker.crash, ZeroDivisionError)
