"""Anthropic Messages: blocks in and out; thinking with its signature and cache marks are kept as litellm hands them on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from harness.broker import Refused
from harness.port import carry, policy
from harness.port.dialect import (
    Asked,
    Dialect,
    Json,
    arguments_of,
    build,
    events,
    joined,
    objects,
    plain,
    refuse,
    text_of,
    text_part,
)
from harness.records import ModelReply

_KNOWN = frozenset({"model", "messages", "system", "tools", "tool_choice", "max_tokens", "stop_sequences", "stream",
                    "temperature", "top_p", "output_format", "output_config"})  # fmt: skip
_CHOICES = {"auto": "auto", "any": "required", "none": "none"}
_STOPS = {"stop": "end_turn", "tool_calls": "tool_use", "length": "max_tokens", "content_filter": "refusal"}
_ERRORS = {"bad_request": "invalid_request_error", "context": "invalid_request_error", "not_found": "not_found_error"}


def to_request(body: Json, models: Mapping[str, str]) -> Asked:
    """A body of POST /v1/messages. Raises Refused."""
    alias = policy.alias_of(body.get("model"), models)
    tools, notes = _tools(body)
    dropped = bool(notes)
    if _get(body.get("output_config"), "effort"):
        notes.append("left out parameter 'output_config.effort'")
    messages = _system(body.get("system"))
    for message in objects(body.get("messages"), "messages"):
        messages += _message(message, notes)
    wanted = body.get("tool_choice") or {}
    fields = {
        "alias": alias, "messages": messages, "tools": tools,
        "sampling": {"temperature": body.get("temperature"), "top_p": body.get("top_p"), "max_tokens": body.get("max_tokens"),
                     "stop": body.get("stop_sequences")},
        "shape": {"tool_choice": _choice(wanted, tools, dropped), "response_format": _format(body),
                  "parallel_tool_calls": False if tools and _get(wanted, "disable_parallel_tool_use") else None},
    }  # fmt: skip
    return build(
        str(body["model"]), fields, stream=bool(body.get("stream")), notes=(*notes, *policy.left_out(body, _KNOWN))
    )


def _get(value: Any, key: str) -> Any:
    return value.get(key) if isinstance(value, dict) else None


def _system(system: Any) -> list[Json]:
    if not system:
        return []
    return [{"role": "system", "content": system if isinstance(system, str) else _texts(system, "system")}]


def _texts(content: Any, what: str) -> Any:
    parts = []
    for block in objects(content, what):
        if block.get("type") != "text":
            raise refuse(f"{what}: a block of type {str(block.get('type'))[:40]!r}: {policy.IMAGE}")
        parts.append(text_part(block.get("text"), block))
    return joined(parts)


def _tools(body: Json) -> tuple[list[Json], list[str]]:
    tools: list[Json] = []
    notes: list[str] = []
    for tool in objects(body.get("tools"), "tools"):
        if tool.get("type") not in (None, "custom"):
            notes.append(policy.stripped(tool))
            continue
        function = {
            "name": text_of(tool.get("name"), "a tool's name"),
            "parameters": tool.get("input_schema") or {"type": "object"},
        }
        function |= {name: tool[name] for name in ("description", "strict") if tool.get(name) is not None}
        mark = {"cache_control": tool["cache_control"]} if isinstance(tool.get("cache_control"), dict) else {}
        tools.append({"type": "function", "function": function, **mark})
    return tools, notes


def _choice(wanted: Any, tools: list[Json], dropped: bool) -> Any:
    if not wanted:
        return None
    if _get(wanted, "type") == "tool":
        return policy.forced(wanted.get("name"), tools)
    return policy.choice(_CHOICES.get(str(_get(wanted, "type")), _get(wanted, "type")), tools, dropped)


def _format(body: Json) -> Json | None:
    wanted = body.get("output_format") or _get(body.get("output_config"), "format")
    if not isinstance(wanted, dict):
        return None
    return {"type": "json_schema", "json_schema": {"name": "output", "schema": wanted.get("schema") or {}}}


def _message(message: Json, notes: list[str]) -> list[Json]:
    """The chat messages of one message: tool results first come first, and text between them keeps its place."""
    role, content = message.get("role"), message.get("content")
    if role not in ("user", "assistant", "system"):
        raise refuse(f"messages: role {str(role)[:40]!r}")
    if isinstance(content, str):
        return [{"role": role, "content": content}]
    if role == "assistant":
        return [_assistant(objects(content, "content"), notes)]
    found: list[Json] = []
    parts: list[Json] = []
    for block in objects(content, "content"):
        if block.get("type") == "tool_result":
            if parts:
                found.append({"role": role, "content": joined(parts)})
                parts = []
            found.append(_result(block))
        elif block.get("type") == "text":
            parts.append(text_part(block.get("text"), block))
        else:
            raise refuse(f"content of type {str(block.get('type'))[:40]!r}: {policy.IMAGE}")
    return [*found, {"role": role, "content": joined(parts)}] if parts else found


def _result(block: Json) -> Json:
    """A tool's result. Chat messages have no error mark, so a failed one says so in words."""
    content = block.get("content") or ""
    content = content if isinstance(content, str) else _texts(content, "tool_result")
    if block.get("is_error") and not plain(content).lower().startswith(("error", "<tool_use_error>")):
        content = f"Error: {content}" if isinstance(content, str) else [{"type": "text", "text": "Error:"}, *content]
    mark = {"cache_control": block["cache_control"]} if isinstance(block.get("cache_control"), dict) else {}
    return {
        "role": "tool",
        "tool_call_id": text_of(block.get("tool_use_id"), "tool_use_id"),
        "content": content,
        **mark,
    }


def _assistant(blocks: list[Json], notes: list[str]) -> Json:
    parts: list[Json] = []
    calls: list[Json] = []
    thinking: list[Json] = []
    message: Json = {"role": "assistant", "content": None}
    for block in blocks:
        kind = block.get("type")
        if kind == "text":
            parts.append(text_part(block.get("text"), block))
        elif kind == "tool_use":
            named = {
                "name": text_of(block.get("name"), "a tool's name"),
                "arguments": json.dumps(block.get("input") or {}),
            }
            calls.append({"id": text_of(block.get("id"), "a tool call's id"), "type": "function", "function": named})
        elif kind == "thinking" and (ours := carry.unpack(block.get("signature"))) is not None:
            message |= ours
        elif kind == "redacted_thinking" or (kind == "thinking" and block.get("signature")):
            thinking.append(block)
        elif kind == "thinking":
            message["reasoning_content"] = message.get("reasoning_content", "") + text_of(
                block.get("thinking"), "thinking"
            )
        else:
            notes.append(f"left out a block of type {str(kind)[:40]!r}")
    message["content"] = joined(parts) or None
    return message | ({"tool_calls": calls} if calls else {}) | ({"thinking_blocks": thinking} if thinking else {})


def to_reply(reply: ModelReply, asked: Asked, token: str) -> Json:
    """The body of a message."""
    usage = reply.usage
    return {
        "id": f"msg_{token}", "type": "message", "role": "assistant", "model": asked.model, "content": _blocks(reply.message),
        "stop_reason": _STOPS[reply.finish], "stop_sequence": None,
        "usage": {"input_tokens": max(0, usage.tokens_in - usage.tokens_cached), "output_tokens": usage.tokens_out,
                  "cache_read_input_tokens": usage.tokens_cached, "cache_creation_input_tokens": 0},
    }  # fmt: skip


def _blocks(message: Mapping[str, Any]) -> list[Json]:
    found = carry.reasoning(message)
    signed = [block for block in found.get("thinking_blocks", ()) if isinstance(block, dict)]
    blocks: list[Json] = []
    if (
        signed
        and "reasoning_details" not in found
        and all(block.get("signature") or block.get("data") for block in signed)
    ):
        blocks += signed
    elif found:
        blocks.append({"type": "thinking", "thinking": carry.summary(message), "signature": carry.pack(message)})
    if text := plain(message.get("content")):
        blocks.append({"type": "text", "text": text})
    for call in message.get("tool_calls") or ():
        function = call["function"]
        blocks.append(
            {
                "type": "tool_use",
                "id": call["id"],
                "name": function["name"],
                "input": arguments_of(function["arguments"]),
            }
        )
    return blocks


def stream(body: Json, asked: Asked) -> bytes:
    """message_start; start, deltas and stop of every block; message_delta with the reason and the usage; message_stop."""
    usage = body["usage"]
    opened = {**body, "content": [], "stop_reason": None, "usage": {**usage, "output_tokens": 0}}
    found: list[Json] = [{"type": "message_start", "message": opened}]
    for index, block in enumerate(body["content"]):
        empty, deltas = _deltas(block)
        found.append({"type": "content_block_start", "index": index, "content_block": empty})
        found += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        found.append({"type": "content_block_stop", "index": index})
    ended = {"stop_reason": body["stop_reason"], "stop_sequence": None}
    found += [{"type": "message_delta", "delta": ended, "usage": usage}, {"type": "message_stop"}]
    return events((event["type"], event) for event in found)


def _deltas(block: Json) -> tuple[Json, list[Json]]:
    """A block as it starts, and what fills it."""
    if block["type"] == "text":
        return {**block, "text": ""}, [{"type": "text_delta", "text": block["text"]}]
    if block["type"] == "tool_use":
        return {**block, "input": {}}, [{"type": "input_json_delta", "partial_json": json.dumps(block["input"])}]
    if block["type"] == "thinking":
        return {**block, "thinking": "", "signature": ""}, [
            {"type": "thinking_delta", "thinking": block["thinking"]},
            {"type": "signature_delta", "signature": block["signature"]},
        ]
    return block, []


def to_error(refused: Refused) -> Json:
    """The body of an error."""
    text = f"prompt is too long: {refused}" if refused.kind == "context" else str(refused)
    return {"type": "error", "error": {"type": _ERRORS.get(refused.kind, "permission_error"), "message": text}}


DIALECT = Dialect("messages", to_request, to_reply, stream, to_error)
