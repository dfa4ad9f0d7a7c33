"""OpenAI Chat Completions: the records' own shapes, so little is translated and everything is checked."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from harness.port import policy
from harness.port.carry import reasoning
from harness.port.dialect import (
    Asked,
    Dialect,
    Json,
    build,
    events,
    joined,
    objects,
    openai_error,
    openai_usage,
    plain,
    refuse,
    text_of,
    text_part,
)
from harness.records import ModelReply

_SAMPLING = ("temperature", "top_p", "frequency_penalty", "presence_penalty")
_KNOWN = frozenset({"model", "messages", "tools", "tool_choice", "parallel_tool_calls", "response_format", "stream", "n",
                    "max_tokens", "max_completion_tokens", "stop", "functions", "function_call", *_SAMPLING})  # fmt: skip
_INSTEAD = {"functions": "send tools", "function_call": "send tool_choice"}


def to_request(body: Json, models: Mapping[str, str]) -> Asked:
    """A body of POST /v1/chat/completions. Raises Refused."""
    alias = policy.alias_of(body.get("model"), models)
    policy.refuse_present(body, _INSTEAD)
    if body.get("n") not in (None, 1):
        raise refuse("n does not pass the model port: one choice a request")
    tools, notes = read_tools(body)
    fields = {
        "alias": alias, "messages": [_message(message) for message in objects(body.get("messages"), "messages")],
        "tools": tools, "sampling": _sampling(body),
        "shape": {"tool_choice": _choice(body.get("tool_choice"), tools, bool(notes)),
                  "parallel_tool_calls": body.get("parallel_tool_calls") if tools else None,
                  "response_format": _format(body.get("response_format"))},
    }  # fmt: skip
    options = body.get("stream_options")
    return build(str(body["model"]), fields, stream=bool(body.get("stream")), notes=(*notes, *policy.left_out(body, _KNOWN)),
                 stream_usage=isinstance(options, dict) and bool(options.get("include_usage")))  # fmt: skip


def _sampling(body: Json) -> Json:
    stop = body.get("stop")
    longest = body.get("max_completion_tokens") or body.get("max_tokens")
    return {
        **{name: body.get(name) for name in _SAMPLING},
        "max_tokens": longest,
        "stop": [stop] if isinstance(stop, str) else stop,
    }


def _format(wanted: Any) -> Json | None:
    if not isinstance(wanted, dict) or wanted.get("type") == "text":
        return None
    if wanted.get("type") not in ("json_object", "json_schema"):
        raise refuse(f"response_format {str(wanted.get('type'))[:60]!r} does not pass the model port")
    return wanted


def read_tools(body: Json) -> tuple[list[Json], list[str]]:
    """The functions of a request, and notes on the tools that are none."""
    tools, notes = [], []
    for tool in objects(body.get("tools"), "tools"):
        function = tool.get("function")
        if tool.get("type") != "function" or not isinstance(function, dict):
            notes.append(policy.stripped(tool))
            continue
        text_of(function.get("name"), "a function's name")
        kept = {
            name: function[name]
            for name in ("name", "description", "parameters", "strict")
            if function.get(name) is not None
        }
        mark = {"cache_control": tool["cache_control"]} if isinstance(tool.get("cache_control"), dict) else {}
        tools.append({"type": "function", "function": kept, **mark})
    return tools, notes


def _choice(wanted: Any, tools: list[Json], dropped: bool) -> Any:
    if wanted is None:
        return None
    if isinstance(wanted, dict):
        function = wanted.get("function")
        return policy.forced(function.get("name") if isinstance(function, dict) else wanted.get("type"), tools)
    return policy.choice(wanted, tools, dropped)


def _message(message: Json) -> Json:
    role, content = message.get("role"), message.get("content")
    if role not in ("system", "developer", "user", "assistant", "tool"):
        raise refuse(f"messages: role {str(role)[:40]!r}")
    kept: Json = {"role": role, "content": content if isinstance(content, str) or content is None else _parts(content)}
    if isinstance(message.get("name"), str):
        kept["name"] = message["name"]
    if isinstance(message.get("cache_control"), dict):
        kept["cache_control"] = message["cache_control"]
    if role == "tool":
        kept["tool_call_id"] = text_of(message.get("tool_call_id"), "tool_call_id")
    if role == "assistant":
        calls = [_call(call) for call in objects(message.get("tool_calls"), "tool_calls")]
        kept |= {**({"tool_calls": calls} if calls else {}), **reasoning(message)}
    return kept


def _parts(content: Any) -> Any:
    parts = []
    for part in objects(content, "content"):
        if part.get("type") not in ("text", "refusal"):
            raise refuse(f"content of type {str(part.get('type'))[:40]!r}: {policy.IMAGE}")
        parts.append(text_part(part.get("text", part.get("refusal")), part))
    return joined(parts)


def _call(call: Json) -> Json:
    function = call.get("function")
    if not isinstance(function, dict):
        raise refuse("tool_calls: only functions pass the model port")
    named = {
        "name": text_of(function.get("name"), "a function's name"),
        "arguments": text_of(function.get("arguments"), "arguments"),
    }
    return {"id": text_of(call.get("id"), "a tool call's id"), "type": "function", "function": named}


def to_reply(reply: ModelReply, asked: Asked, token: str) -> Json:
    """The body of a chat completion."""
    message = {
        **reply.message,
        "role": "assistant",
        "content": plain(reply.message.get("content")) or None,
        "refusal": None,
    }
    return {"id": f"chatcmpl-{token}", "object": "chat.completion", "created": int(time.time()), "model": asked.model,
            "choices": [{"index": 0, "message": message, "finish_reason": reply.finish, "logprobs": None}],
            "usage": openai_usage(reply.usage)}  # fmt: skip


def stream(body: Json, asked: Asked) -> bytes:
    """Chunks: role, reasoning, text, every call's head and arguments, the reason, usage when asked, [DONE]."""
    message, finish = body["choices"][0]["message"], body["choices"][0]["finish_reason"]
    head = {"id": body["id"], "object": "chat.completion.chunk", "created": body["created"], "model": body["model"]}

    def chunk(delta: Json, reason: str | None = None) -> tuple[None, Json]:
        return None, {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": reason, "logprobs": None}]}

    chunks: list[tuple[None, Any]] = [chunk({"role": "assistant", "content": ""})]
    if extra := reasoning(message):
        chunks.append(chunk(extra))
    if message["content"]:
        chunks.append(chunk({"content": message["content"]}))
    for number, call in enumerate(message.get("tool_calls") or ()):
        function = call["function"]
        opened = {
            "index": number,
            "id": call["id"],
            "type": "function",
            "function": {"name": function["name"], "arguments": ""},
        }
        chunks.append(chunk({"tool_calls": [opened]}))
        chunks.append(chunk({"tool_calls": [{"index": number, "function": {"arguments": function["arguments"]}}]}))
    chunks.append(chunk({}, finish))
    if asked.stream_usage:
        chunks.append((None, {**head, "choices": [], "usage": body["usage"]}))
    return events([*chunks, (None, "[DONE]")])


DIALECT = Dialect("chat", to_request, to_reply, stream, openai_error)
