"""The official packages, unmodified, through the real port: each program asserts for itself and prints what it saw."""

import json

import pytest

TOOL = {"type": "object", "properties": {"command": {"type": "string"}}}
PRELUDE = f"""
import json
TOOL = {TOOL!r}
"""


def done(got):
    assert got.code == 0, got.output
    return json.loads(got.output.strip().splitlines()[-1])


CHAT = (
    PRELUDE
    + """
from openai import OpenAI
client = OpenAI()
tools = [{"type": "function", "function": {"name": "bash", "parameters": TOOL}},
         {"type": "function", "function": {"name": "look", "parameters": TOOL}}]
messages = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "go"}]
def ask(stream, **more):
    if not stream:
        return client.chat.completions.create(model="main", messages=messages, **more)
    with client.chat.completions.stream(model="main", messages=messages, stream_options={"include_usage": True}, **more) as events:
        for event in events:
            pass
        return events.get_final_completion()
seen = []
for stream in (False, True):
    first = ask(stream, tools=tools, temperature=0.5, max_completion_tokens=100, stop="END", tool_choice="auto", parallel_tool_calls=True)
    choice = first.choices[0]
    assert choice.finish_reason == "tool_calls" and choice.message.content is None or choice.message.content == "", choice
    calls = [(c.id, c.function.name, c.function.arguments) for c in choice.message.tool_calls]
    reasoning = choice.message.model_extra.get("reasoning_content") if not stream else "why"
    seen.append([calls, reasoning, first.usage.prompt_tokens, first.usage.prompt_tokens_details.cached_tokens])
    messages.append(choice.message.model_dump(exclude_none=True))
    for ident, _, _ in calls:
        messages.append({"role": "tool", "tool_call_id": ident, "content": "out of " + ident})
    last = ask(stream, tools=tools)
    assert last.choices[0].finish_reason == "stop"
    seen.append(last.choices[0].message.content)
    messages.append({"role": "assistant", "content": seen[-1]})
    messages.append({"role": "user", "content": "again"})
print(json.dumps(seen))
"""
)


def test_chat_completions_with_parallel_tools_streaming_and_not(port):
    calls = [port.call("c1", "bash", '{"command": "ls"}'), port.call("c2", "look", "{}")]
    turn = {"content": None, "tool_calls": calls, "reasoning_content": "why"}
    gateway = port.Scripted(turn, "First.", turn, "Second.")
    got = port.run(gateway, CHAT)
    expected = [["c1", "bash", '{"command": "ls"}'], ["c2", "look", "{}"]]
    assert done(got) == [[expected, "why", 100, 60], "First.", [expected, "why", 100, 60], "Second."]
    first, second = gateway.calls[:2]
    assert (first.alias, first.sampling.temperature, first.sampling.max_tokens, first.sampling.stop) == (
        "main",
        0.5,
        100,
        ("END",),
    )
    assert (first.shape.tool_choice, first.shape.parallel_tool_calls) == ("auto", True)
    assert [m["role"] for m in second.messages] == ["system", "user", "assistant", "tool", "tool"]
    assert second.messages[2]["tool_calls"] == calls
    assert second.messages[2]["reasoning_content"] == "why"
    assert [m["tool_call_id"] for m in second.messages[3:]] == ["c1", "c2"]
    assert got.broker.steps == 4
    assert got.broker.usage.tokens == 480
    steps = [step for step in got.trajectory.steps if step["source"] == "agent"]
    assert [r["content"] for r in steps[0]["observation"]["results"]] == ["out of c1", "out of c2"]


MESSAGES = (
    PRELUDE
    + """
from anthropic import Anthropic
client = Anthropic()
tools = [{"name": "bash", "description": "runs", "input_schema": TOOL, "cache_control": {"type": "ephemeral"}},
         {"name": "look", "input_schema": TOOL}]
system = [{"type": "text", "text": "be brief", "cache_control": {"type": "ephemeral"}}]
messages = [{"role": "user", "content": "go"}]
def ask(stream):
    asked = dict(model="main", max_tokens=100, system=system, messages=messages, tools=tools, stop_sequences=["END"])
    if not stream:
        return client.messages.create(**asked)
    with client.messages.stream(**asked) as events:
        for event in events:
            pass
        return events.get_final_message()
seen = []
for stream in (False, True):
    first = ask(stream)
    seen.append([first.stop_reason, [block.model_dump(exclude_none=True) for block in first.content],
                 first.usage.input_tokens, first.usage.cache_read_input_tokens, first.usage.output_tokens])
    messages.append({"role": "assistant", "content": first.content})
    messages.append({"role": "user", "content": [
        {"type": "tool_result", "tool_use_id": "c1", "content": [{"type": "text", "text": "out"}], "cache_control": {"type": "ephemeral"}},
        {"type": "tool_result", "tool_use_id": "c2", "content": "no such file", "is_error": True},
        {"type": "text", "text": "go on"}]})
    last = ask(stream)
    seen.append([last.stop_reason, last.content[0].text])
    messages += [{"role": "assistant", "content": last.content}, {"role": "user", "content": "again"}]
assert client.messages.count_tokens(model="main", messages=messages).input_tokens > 10
assert [m.id for m in client.models.list()] == ["main", "small"]
print(json.dumps(seen))
"""
)


def test_messages_with_signed_thinking_cache_marks_and_failed_tools(port):
    calls = [port.call("c1", "bash", '{"command": "ls"}'), port.call("c2", "look", "{}")]
    thinking = [
        {"type": "thinking", "thinking": "why", "signature": "sig=="},
        {"type": "redacted_thinking", "data": "xx"},
    ]
    turn = {"content": "Looking.", "tool_calls": calls, "thinking_blocks": thinking, "reasoning_content": "why"}
    gateway = port.Scripted(turn, {"content": "Cut.", "finish": "length"}, turn, "Second.")
    got = port.run(gateway, MESSAGES)
    first = done(got)[0]
    blocks = [*thinking, {"type": "text", "text": "Looking."}, {"type": "tool_use", "id": "c1", "name": "bash", "input": {"command": "ls"}},
              {"type": "tool_use", "id": "c2", "name": "look", "input": {}}]  # fmt: skip
    assert first == ["tool_use", blocks, 40, 60, 20]
    assert done(got)[1:] == [["max_tokens", "Cut."], first, ["end_turn", "Second."]]
    second = gateway.calls[1]
    mark = {"type": "ephemeral"}
    assert second.messages[0] == {
        "role": "system",
        "content": [{"type": "text", "text": "be brief", "cache_control": mark}],
    }
    assert second.tools[0]["cache_control"] == mark
    assert second.messages[2]["thinking_blocks"] == thinking
    assert [c["function"]["name"] for c in second.messages[2]["tool_calls"]] == ["bash", "look"]
    assert second.messages[3:] == (
        {"role": "tool", "tool_call_id": "c1", "content": "out", "cache_control": mark},
        {"role": "tool", "tool_call_id": "c2", "content": "Error: no such file"},
        {"role": "user", "content": "go on"},
    )
    assert (second.sampling.max_tokens, second.sampling.stop) == (100, ("END",))


RESPONSES = (
    PRELUDE
    + """
from openai import OpenAI
client = OpenAI()
tools = [{"type": "function", "name": "bash", "parameters": TOOL, "strict": False},
         {"type": "custom", "name": "patch", "description": "patches", "format": {"type": "grammar", "syntax": "lark", "definition": "start: x"}}]
items = [{"role": "user", "content": [{"type": "input_text", "text": "go"}]}]
def ask(stream):
    asked = dict(model="main", instructions="be brief", input=items, tools=tools, store=False, include=["reasoning.encrypted_content"],
                 reasoning={"effort": "high"}, max_output_tokens=100)
    if not stream:
        return client.responses.create(**asked)
    with client.responses.stream(**asked) as events:
        for event in events:
            pass
        return events.get_final_response()
seen = []
for stream in (False, True):
    first = ask(stream)
    seen.append([[item.type for item in first.output], first.status, first.usage.input_tokens_details.cached_tokens,
                 [first.output[-2].call_id, first.output[-2].arguments], [first.output[-1].call_id, first.output[-1].input]])
    items += [item.model_dump(exclude_none=True, exclude={"status"}) for item in first.output]
    items += [{"type": "function_call_output", "call_id": "c1", "output": "out"},
              {"type": "custom_tool_call_output", "call_id": "c2", "output": "patched"}]
    last = ask(stream)
    seen.append([last.status, last.output_text])
    items += [{"role": "assistant", "content": last.output_text}, {"role": "user", "content": "again"}]
print(json.dumps(seen))
"""
)


def test_responses_with_reasoning_and_freeform_tools(port):
    calls = [port.call("c1", "bash", '{"command": "ls"}'), port.call("c2", "patch", '{"input": "*** Begin"}')]
    carried = {
        "reasoning_content": "why",
        "reasoning_details": [{"type": "reasoning.text", "text": "why", "signature": "s"}],
    }
    turn = {"content": "Looking.", "tool_calls": calls, **carried}
    gateway = port.Scripted(turn, {"content": "Cut.", "finish": "length"}, turn, "Last.")
    got = port.run(gateway, RESPONSES)
    first = [
        ["reasoning", "message", "function_call", "custom_tool_call"],
        "completed",
        60,
        ["c1", '{"command": "ls"}'],
        ["c2", "*** Begin"],
    ]
    assert done(got) == [first, ["incomplete", "Cut."], first, ["completed", "Last."]]
    second = gateway.calls[1]
    assert second.messages[0] == {"role": "system", "content": "be brief"}
    assert second.messages[2] == {"role": "assistant", "content": "Looking.", "tool_calls": calls, **carried}
    assert [m["role"] for m in second.messages[3:]] == ["tool", "tool"]
    assert "start: x" in second.tools[1]["function"]["description"]
    assert "left out parameter 'reasoning'" in str(got.trajectory.steps)


ERRORS = """
import json, anthropic, openai
o, a = openai.OpenAI(), anthropic.Anthropic()
hello = [{"role": "user", "content": "x"}]
image = {"type": "image_url", "image_url": {"url": "https://example.com/x.png"}}
picture = {"type": "image", "source": {"type": "url", "url": "https://example.com/x.png"}}
search = [{"type": "web_search_20250305", "name": "web_search"}]
cases = {
    "chat undeclared": lambda: o.chat.completions.create(model="gpt-9", messages=hello),
    "responses undeclared": lambda: o.responses.create(model="gpt-9", input="x"),
    "messages undeclared": lambda: a.messages.create(model="claude-9", max_tokens=9, messages=hello),
    "chat image": lambda: o.chat.completions.create(model="main", messages=[{"role": "user", "content": [image]}]),
    "messages image": lambda: a.messages.create(model="main", max_tokens=9, messages=[{"role": "user", "content": [picture]}]),
    "responses file": lambda: o.responses.create(model="main", input=[{"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}]),
    "responses stored": lambda: o.responses.create(model="main", input="x", previous_response_id="resp_1"),
    "responses forced": lambda: o.responses.create(model="main", input="x", tools=[{"type": "web_search"}], tool_choice={"type": "web_search"}),
    "responses required": lambda: o.responses.create(model="main", input="x", tools=[{"type": "code_interpreter", "container": {"type": "auto"}}], tool_choice="required"),
    "messages forced": lambda: a.messages.create(model="main", max_tokens=9, messages=hello, tools=search, tool_choice={"type": "tool", "name": "web_search"}),
    "chat two": lambda: o.chat.completions.create(model="main", messages=hello, n=2),
    "chat hot": lambda: o.chat.completions.create(model="main", messages=hello, temperature="hot"),
    "too long": lambda: o.chat.completions.create(model="main", messages=hello),
    "elsewhere": lambda: o.embeddings.create(model="main", input="x"),
}
seen = {}
for name, ask in cases.items():
    try:
        seen[name] = ["no error", str(ask())]
    except (openai.APIStatusError, anthropic.APIStatusError) as error:
        seen[name] = [type(error).__name__, str(error)]
print(json.dumps(seen))
"""


def test_errors_are_those_of_the_dialect_and_nothing_is_asked(port):
    from harness.errors import ModelFault

    gateway = port.Scripted(ModelFault("context", "over 8k"))
    got = port.run(gateway, ERRORS)
    seen = done(got)
    kinds = {name: kind for name, (kind, _) in seen.items()}
    assert [name for name, kind in kinds.items() if kind == "NotFoundError"] == [
        "chat undeclared", "responses undeclared", "messages undeclared", "elsewhere",
    ]  # fmt: skip
    assert {kind for kind in kinds.values() if kind != "NotFoundError"} == {"BadRequestError"}
    assert "there are: main, small" in seen["messages undeclared"][1]
    assert "images" in seen["chat image"][1]
    assert "images" in seen["messages image"][1]
    assert "web_search" in seen["responses forced"][1]
    assert "context_length_exceeded" in seen["too long"][1]
    assert len(gateway.calls) == 1
    assert not got.broker.over.is_set()
    assert "model port: refused: model 'gpt-9' is not declared" in str(got.trajectory.steps)


STRIPPED = """
import json, anthropic, openai
o, a = openai.OpenAI(), anthropic.Anthropic()
own = {"type": "object", "properties": {}}
a.messages.create(model="main", max_tokens=9, messages=[{"role": "user", "content": "x"}], extra_body={"mcp_servers": [{"url": "https://x"}]},
    thinking={"type": "enabled", "budget_tokens": 1024},
    tools=[{"type": "web_search_20250305", "name": "web_search"}, {"type": "code_execution_20250522", "name": "code_execution"},
           {"name": "own", "input_schema": own}])
o.responses.create(model="simulated/small", input="x", tools=[{"type": "web_search"}, {"type": "file_search", "vector_store_ids": ["v"]},
    {"type": "mcp", "server_label": "x", "server_url": "https://x"}, {"type": "computer_use_preview", "display_width": 1, "display_height": 1, "environment": "linux"},
    {"type": "function", "name": "own", "parameters": own, "strict": False}])
o.chat.completions.create(model="medium", messages=[{"role": "user", "content": "x"}], web_search_options={}, reasoning_effort="high",
    seed=5, extra_body={"usage": {"prompt_tokens": 0}, "top_k": 5, "api_base": "https://x", "api_key": "k"})
print("{}")
"""


def test_provider_side_tools_and_unknown_parameters_are_left_out_with_a_note(port):
    gateway = port.Scripted("Fine.")
    got = port.run(gateway, STRIPPED)
    done(got)
    assert [call.alias for call in gateway.calls] == ["main", "small", "main"]
    assert [[tool["function"]["name"] for tool in call.tools] for call in gateway.calls] == [["own"], ["own"], []]
    assert all(call.seed == 1 for call in gateway.calls)
    notes = str(got.trajectory.steps)
    for name in ("web_search_20250305", "code_execution_20250522", "mcp_servers", "thinking", "file_search", "'mcp'",
                 "computer_use_preview", "web_search_options", "reasoning_effort", "top_k", "api_base", "seed", "usage"):  # fmt: skip
        assert name in notes, name
    assert got.broker.usage.tokens == 360


ENDED = """
import anthropic, openai, sys, time
o, a = openai.OpenAI(), anthropic.Anthropic()
hello = [{"role": "user", "content": "x"}]
begun = time.time()
for _ in range(2):
    for ask in (lambda: o.chat.completions.create(model="main", messages=hello), lambda: o.responses.create(model="main", input="x"),
                lambda: a.messages.create(model="main", max_tokens=9, messages=hello)):
        try:
            ask()
            print("answered", flush=True)
        except (openai.PermissionDeniedError, anthropic.PermissionDeniedError) as error:
            print("refused", error, flush=True)
print("in time" if time.time() - begun < 2.5 else "too late", flush=True)
try:
    time.sleep(30)
finally:
    print("not killed", flush=True)
"""


def test_a_spent_token_limit_ends_the_session_and_is_not_tried_again(port):
    from harness.records import Limits

    gateway = port.Scripted("Fine.")
    got = port.run(gateway, ENDED, limits=Limits(time_limit=60, token_limit=200))
    assert got.output.count("answered") == 2
    assert got.output.count("refused") == 4
    assert "in time" in got.output
    assert "not killed" not in got.output
    assert (got.broker.limit, got.broker.fault, len(gateway.calls)) == ("token_limit", None, 2)
    assert got.seconds < 20


@pytest.mark.parametrize("kind", ["server", "rate_limit"])
def test_an_infrastructure_fault_ends_the_session_and_is_kept(port, kind):
    from harness.errors import ModelFault

    gateway = port.Scripted("Fine.", ModelFault(kind, "down"))
    got = port.run(gateway, ENDED)
    assert (got.output.count("answered"), got.output.count("refused")) == (1, 5)
    assert (got.broker.fault.kind, got.broker.limit, len(gateway.calls)) == (kind, None, 2)
    assert "not killed" not in got.output


SIMULATED = """
import anthropic, openai
o, a = openai.OpenAI(), anthropic.Anthropic()
asked = "Write yes into done.txt."
tool = {"type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]}
function = {"name": "bash", "description": "Run a shell command.", "parameters": tool}
one = o.chat.completions.create(model="main", messages=[{"role": "user", "content": asked}], tools=[{"type": "function", "function": function}])
two = o.responses.create(model="main", input=asked, tools=[{"type": "function", **function}])
three = a.messages.create(model="main", max_tokens=4096, messages=[{"role": "user", "content": asked}],
                          tools=[{"name": "bash", "description": "Run a shell command.", "input_schema": tool}])
text = one.choices[0].message.content
assert text and text == two.output_text, (one, two)
assert three.content[0].text, three
assert one.usage.completion_tokens == two.usage.output_tokens > 0
print("{}")
"""


def test_the_simulated_model_answers_all_three_alike(port):
    got = port.run(port.simulated(), SIMULATED)
    done(got)
    assert got.broker.origins == {"simulated"}
    assert got.broker.usage.usd == 0.0
