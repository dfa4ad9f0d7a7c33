"""The record of what an agent did, as an ATIF-v1.7 document. The broker fills it; the scaffold cannot touch it.

Only new messages of each request are kept, so that a long conversation grows linearly.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.records import Message, ModelReply, Tool
from harness.runs import write_atomic

SCHEMA = "ATIF-v1.7"
MAX_DEPTH = 100


class Trajectory:
    """Steps in order. `save` writes the document whole."""

    def __init__(self, agent: str, version: str, model: str) -> None:
        self._agent = {"name": agent, "version": version, "model_name": model}
        self._steps: list[dict[str, Any]] = []
        self._tools: list[Tool] = []
        self._seen = 0
        self._tokens = [0, 0, 0]
        self._cost: float | None = 0.0

    @property
    def steps(self) -> Sequence[dict[str, Any]]:
        return self._steps

    def request(self, messages: Sequence[Message], tools: Sequence[Tool]) -> None:
        """Record what is new in a request: prompts as steps, tool results under the step that called them."""
        if tools and list(tools) != self._tools:
            self._tools = list(tools)
        if len(messages) < self._seen:
            self.note("the scaffold rewrote the conversation")
            self._seen = 0 if not messages else min(self._seen, len(messages) - 1)
        for message in messages[self._seen :]:
            self._message(message)
        self._seen = len(messages)

    def _message(self, message: Message) -> None:
        role, content = message.get("role"), message.get("content")
        if role == "assistant":
            return
        if role == "tool":
            self._observation(message.get("tool_call_id"), content)
        else:
            source = "system" if role in ("system", "developer") else "user"
            self._add({"source": source, "message": _text(content)})

    def _observation(self, call: Any, content: Any) -> None:
        for step in reversed(self._steps):
            calls = [c["tool_call_id"] for c in step.get("tool_calls", [])]
            if call in calls:
                results = step.setdefault("observation", {"results": []})["results"]
                results.append({"source_call_id": call, "content": _text(content)})
                return
        self._add({"source": "user", "message": _text(content), "extra": {"role": "tool"}})

    def reply(self, reply: ModelReply, seconds: float) -> None:
        """Record an answer of the model."""
        message, usage = reply.message, reply.usage
        step: dict[str, Any] = {"source": "agent", "message": _text(message.get("content"))}
        if message.get("reasoning_content"):
            step["reasoning_content"] = str(message["reasoning_content"])
        calls = [_call(call) for call in message.get("tool_calls") or []]
        if calls:
            step["tool_calls"] = calls
        step["metrics"] = {"prompt_tokens": usage.tokens_in, "completion_tokens": usage.tokens_out,
                           "cached_tokens": usage.tokens_cached}  # fmt: skip
        if usage.usd is not None:
            step["metrics"]["cost_usd"] = usage.usd
        step["extra"] = {"finish": reply.finish, "origin": reply.origin, "seconds": round(seconds, 4)}
        self._add(step)
        self._tokens = [self._tokens[0] + usage.tokens_in, self._tokens[1] + usage.tokens_out,
                        self._tokens[2] + usage.tokens_cached]  # fmt: skip
        self._cost = None if self._cost is None or usage.usd is None else self._cost + usage.usd

    def note(self, text: str) -> None:
        """A remark of the harness or of the scaffold's log, as a system step."""
        self._add({"source": "system", "message": text, "extra": {"note": True}})

    def _add(self, step: dict[str, Any]) -> None:
        self._steps.append({"step_id": len(self._steps) + 1, **step})

    def document(self, session: str, extra: dict[str, Any] | None = None) -> dict[str, Any]:
        """The whole document."""
        agent: dict[str, Any] = dict(self._agent)
        if self._tools:
            agent["tool_definitions"] = self._tools
        final: dict[str, Any] = {"total_prompt_tokens": self._tokens[0], "total_completion_tokens": self._tokens[1],
                                 "total_cached_tokens": self._tokens[2], "total_steps": len(self._steps)}  # fmt: skip
        if self._cost is not None:
            final["total_cost_usd"] = self._cost
        steps = self._steps or [{"step_id": 1, "source": "system", "message": "the agent asked for nothing"}]
        document: dict[str, Any] = {"schema_version": SCHEMA, "session_id": session, "agent": agent, "steps": steps,
                                    "final_metrics": final}  # fmt: skip
        if extra:
            document["extra"] = extra
        return document

    def save(self, path: Path, session: str, extra: dict[str, Any] | None = None) -> None:
        """Write the document whole or not at all. Raises MachineError."""
        write_atomic(path, self.encoded(session, extra))

    def encoded(self, session: str, extra: dict[str, Any] | None = None) -> bytes:
        """The document as it is written."""
        return json.dumps(self.document(session, extra), ensure_ascii=False).encode("utf-8", "replace")


def encodable(text: str) -> str:
    """The text without halves of characters (lone surrogates): JSON may bring them, no file and no record can hold them."""
    return text.encode("utf-8", "replace").decode()


def shallow(value: Any) -> bool:
    """Whether JSON is nested so little that whatever writes it down later can: Python's encoders recurse."""
    layer = [value]
    for _ in range(MAX_DEPTH):
        layer = [
            inner
            for item in layer
            if isinstance(item, list | tuple | dict)
            for inner in (item.values() if isinstance(item, dict) else item)
        ]
        if not layer:
            return True
    return False


def _call(call: dict[str, Any]) -> dict[str, Any]:
    function = call.get("function") or {}
    text = function.get("arguments") or "{}"
    try:
        arguments = json.loads(text)
    except (ValueError, TypeError, RecursionError):
        arguments = {"malformed": str(text)}
    if not isinstance(arguments, dict) or not shallow(arguments):
        arguments = {"malformed": str(text)}
    return {"tool_call_id": str(call.get("id")), "function_name": str(function.get("name")), "arguments": arguments}


def _text(content: Any) -> str:
    if content is None:
        return ""
    if isinstance(content, list) and all(isinstance(part, dict) and part.get("type") == "text" for part in content):
        return "\n".join(str(part.get("text") or "") for part in content)
    return content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
