"""OpenAI Responses: items in and out. Nothing is stored here: a client sends the items of its conversation each time."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

from harness.port import carry, policy
from harness.port.dialect import (
    Asked,
    Dialect,
    Json,
    arguments_of,
    build,
    joined,
    objects,
    openai_error,
    plain,
    refuse,
    text_of,
    text_part,
)
from harness.port.responses_stream import stream
from harness.records import ModelReply

_KNOWN = frozenset({"model", "input", "instructions", "tools", "tool_choice", "parallel_tool_calls", "max_output_tokens",
                    "temperature", "top_p", "text", "stream", "previous_response_id", "conversation", "prompt", "background"})  # fmt: skip
_INSTEAD = {"previous_response_id": "nothing is stored, send the items with store: false",
            "conversation": "nothing is stored, send the items", "prompt": "send instructions and input",
            "background": "wait for the answer"}  # fmt: skip
_TEXTS = ("input_text", "output_text", "text", "refusal")
_FREEFORM = {"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]}


def to_request(body: Json, models: Mapping[str, str]) -> Asked:
    """A body of POST /v1/responses. Raises Refused."""
    alias = policy.alias_of(body.get("model"), models)
    policy.refuse_present(body, _INSTEAD)
    tools, freeform, notes = _tools(body)
    dropped = bool(notes)
    messages = _messages(body, notes)
    if body.get("instructions"):
        messages.insert(0, {"role": "system", "content": text_of(body["instructions"], "instructions")})
    fields = {
        "alias": alias, "messages": messages, "tools": tools,
        "sampling": {"temperature": body.get("temperature"), "top_p": body.get("top_p"), "max_tokens": body.get("max_output_tokens")},
        "shape": {"tool_choice": _choice(body.get("tool_choice"), tools, dropped),
                  "parallel_tool_calls": body.get("parallel_tool_calls") if tools else None,
                  "response_format": _format(body.get("text"))},
    }  # fmt: skip
    return build(str(body["model"]), fields, stream=bool(body.get("stream")), freeform=freeform,
                 notes=(*notes, *policy.left_out(body, _KNOWN)))  # fmt: skip


def _tools(body: Json) -> tuple[list[Json], frozenset[str], list[str]]:
    """Functions; tools that take text (`custom`) as functions of one text; notes on those that the provider would run."""
    tools: list[Json] = []
    freeform: set[str] = set()
    notes: list[str] = []
    for tool in objects(body.get("tools"), "tools"):
        if tool.get("type") not in ("function", "custom"):
            notes.append(policy.stripped(tool))
            continue
        name = text_of(tool.get("name"), "a tool's name")
        function: Json = {"name": name}
        function |= {key: tool[key] for key in ("description", "parameters", "strict") if tool.get(key) is not None}
        if tool["type"] == "custom":
            freeform.add(name)
            given = tool.get("format")
            grammar = given.get("definition") if isinstance(given, dict) else None
            rule = f"\n\nThe input follows this grammar:\n{grammar}" if grammar else ""
            function = {"name": name, "description": f"{tool.get('description') or ''}{rule}", "parameters": _FREEFORM}
        tools.append({"type": "function", "function": function})
    return tools, frozenset(freeform), notes


def _choice(wanted: Any, tools: list[Json], dropped: bool) -> Any:
    if wanted is None:
        return None
    if isinstance(wanted, dict):
        return policy.forced(
            wanted.get("name") if wanted.get("type") in ("function", "custom") else wanted.get("type"), tools
        )
    return policy.choice(wanted, tools, dropped)


def _format(text: Any) -> Json | None:
    wanted = text.get("format") if isinstance(text, dict) else None
    if not isinstance(wanted, dict) or wanted.get("type") == "text":
        return None
    if wanted.get("type") == "json_object":
        return {"type": "json_object"}
    if wanted.get("type") != "json_schema":
        raise refuse(f"text.format {str(wanted.get('type'))[:60]!r} does not pass the model port")
    return {
        "type": "json_schema",
        "json_schema": {key: wanted[key] for key in ("name", "schema", "strict") if key in wanted},
    }


def _messages(body: Json, notes: list[str]) -> list[Json]:
    """Items as messages: what an assistant produced in one turn (reasoning, text, calls) is one message again."""
    if isinstance(body.get("input"), str):
        return [{"role": "user", "content": body["input"]}]
    found: list[Json] = []
    for item in objects(body.get("input"), "input"):
        kind = item.get("type") or "message"
        if kind in ("reasoning", "function_call", "custom_tool_call") or (
            kind == "message" and item.get("role") == "assistant"
        ):
            _add(_turn(found), kind, item, notes)
        elif kind == "message":
            role = item.get("role")
            if role not in ("system", "developer", "user"):
                raise refuse(f"input: role {str(role)[:40]!r}")
            found.append({"role": role, "content": _content(item.get("content"))})
        elif kind in ("function_call_output", "custom_tool_call_output"):
            call = text_of(item.get("call_id"), "call_id")
            found.append({"role": "tool", "tool_call_id": call, "content": _content(item.get("output"))})
        elif kind == "item_reference":
            raise refuse("item_reference: nothing is stored, send the items with store: false")
        else:
            notes.append(f"left out an item of type {str(kind)[:40]!r}")
    return found


def _turn(found: list[Json]) -> Json:
    """The assistant's message that is being put together."""
    if not found or found[-1]["role"] != "assistant":
        found.append({"role": "assistant", "content": None})
    return found[-1]


def _add(turn: Json, kind: str, item: Json, notes: list[str]) -> None:
    if kind == "reasoning":
        ours = carry.unpack(item.get("encrypted_content"))
        if ours is None:
            notes.append("left out a reasoning item that this port did not give")
        turn.update(ours or {})
    elif kind == "message":
        text = plain(_content(item.get("content")))
        turn["content"] = text if turn["content"] is None else f"{turn['content']}\n{text}"
    else:
        arguments = (
            item.get("arguments")
            if kind == "function_call"
            else json.dumps({"input": text_of(item.get("input"), "input")})
        )
        named = {"name": text_of(item.get("name"), "a function's name"), "arguments": text_of(arguments, "arguments")}
        call = {"id": text_of(item.get("call_id"), "call_id"), "type": "function", "function": named}
        turn.setdefault("tool_calls", []).append(call)


def _content(content: Any) -> Any:
    if isinstance(content, str):
        return content
    parts = []
    for part in objects(content, "content"):
        if part.get("type") not in _TEXTS:
            raise refuse(f"content of type {str(part.get('type'))[:40]!r}: {policy.IMAGE}")
        parts.append(text_part(part.get("text", part.get("refusal")), part))
    return joined(parts)


def to_reply(reply: ModelReply, asked: Asked, token: str) -> Json:
    """The body of a response."""
    why = {"length": "max_output_tokens", "content_filter": "content_filter"}.get(reply.finish)
    usage, shape = reply.usage, asked.prompt.shape
    return {
        "id": f"resp_{token}", "object": "response", "created_at": int(time.time()), "model": asked.model,
        "status": "incomplete" if why else "completed", "incomplete_details": {"reason": why} if why else None, "error": None,
        "instructions": None, "metadata": {}, "output": _items(reply.message, asked, token, "incomplete" if why else "completed"),
        "parallel_tool_calls": shape.parallel_tool_calls is not False, "temperature": asked.prompt.sampling.temperature,
        "tool_choice": shape.tool_choice if isinstance(shape.tool_choice, str) else "auto", "tools": [], "store": False,
        "top_p": asked.prompt.sampling.top_p, "max_output_tokens": asked.prompt.sampling.max_tokens, "previous_response_id": None,
        "usage": {"input_tokens": usage.tokens_in, "output_tokens": usage.tokens_out, "total_tokens": usage.tokens,
                  "input_tokens_details": {"cached_tokens": usage.tokens_cached, "cache_write_tokens": 0},
                  "output_tokens_details": {"reasoning_tokens": usage.tokens_reasoning}},
    }  # fmt: skip


def _items(message: Mapping[str, Any], asked: Asked, token: str, status: str) -> list[Json]:
    items: list[Json] = []
    if carry.reasoning(message):
        shown = carry.summary(message)
        items.append({"id": f"rs_{token}", "type": "reasoning", "encrypted_content": carry.pack(message),
                      "summary": [{"type": "summary_text", "text": shown}] if shown else []})  # fmt: skip
    if text := plain(message.get("content")):
        part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
        items.append(
            {"id": f"msg_{token}", "type": "message", "role": "assistant", "status": status, "content": [part]}
        )
    for number, call in enumerate(message.get("tool_calls") or ()):
        function, shared = call["function"], {"call_id": call["id"], "status": status}
        if function["name"] in asked.freeform:
            given = arguments_of(function["arguments"])
            given = given.get("input", given)
            items.append({"id": f"ctc_{token}_{number}", "type": "custom_tool_call", "name": function["name"],
                          "input": given if isinstance(given, str) else json.dumps(given), **shared})  # fmt: skip
        else:
            items.append({"id": f"fc_{token}_{number}", "type": "function_call", "name": function["name"],
                          "arguments": function["arguments"], **shared})  # fmt: skip
    return items


DIALECT = Dialect("responses", to_request, to_reply, stream, openai_error)
