"""What every dialect gives: a request out of a body, a body and a stream out of a reply, errors. And the parts they share."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from harness.broker import Refused, refused_shape
from harness.records import ModelReply, Prompt, Record, Usage
from harness.trajectory import shallow

Json = dict[str, Any]

STATUS = {"bad_request": 400, "context": 400, "not_found": 404, "limit": 403, "infra": 403}
"""No code that an official client tries again (they do for 408, 409, 429 and 5xx)."""


class Asked(Record):
    """A request in the harness's words, and what its answer must look like."""

    prompt: Prompt
    model: str
    """The name that the client used; answers carry it."""
    stream: bool = False
    stream_usage: bool = False
    """Chat completions send usage in a stream only when asked to."""
    freeform: frozenset[str] = frozenset()
    """Tools that take text, offered to the model as functions of one argument."""
    notes: tuple[str, ...] = ()
    """What was left out of the request, for the record."""


@dataclass(frozen=True)
class Dialect:
    """The functions of one dialect. `to_request` raises Refused; `models` is alias to real model name."""

    name: str
    to_request: Callable[[Json, Mapping[str, str]], Asked]
    to_reply: Callable[[ModelReply, Asked, str], Json]
    """(reply, request, a token that is unique in the session) -> body."""
    stream: Callable[[Json, Asked], bytes]
    """The same body as server-sent events."""
    to_error: Callable[[Refused], Json]


def refuse(message: str) -> Refused:
    """A request that the client may mend."""
    return Refused("bad_request", message)


def build(model: str, fields: Mapping[str, Any], **more: Any) -> Asked:
    """An Asked out of a prompt's fields. Raises Refused with the field that is wrong."""
    try:
        return Asked(prompt=Prompt.model_validate(dict(fields)), model=model, **more)
    except ValidationError as error:
        raise refused_shape("request", error) from None


def objects(value: Any, what: str) -> list[Json]:
    """A list of objects, or nothing. Raises Refused."""
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise refuse(f"{what} is a list of objects")
    return list(value)


def text_of(value: Any, what: str) -> str:
    """A string. Raises Refused."""
    if not isinstance(value, str):
        raise refuse(f"{what} is a string")
    return value


def text_part(text: Any, part: Mapping[str, Any]) -> Json:
    """A text part of a message, with its cache mark."""
    mark = part.get("cache_control")
    return {
        "type": "text",
        "text": text_of(text, "text"),
        **({"cache_control": mark} if isinstance(mark, dict) else {}),
    }


def joined(parts: list[Json]) -> Any:
    """Parts as content: one unmarked text is a string, several stay parts."""
    if len(parts) == 1 and "cache_control" not in parts[0]:
        return parts[0]["text"]
    return parts or ""


def arguments_of(text: Any) -> Json:
    """The arguments of a tool call as an object; what is none is handed over under one name, not lost."""
    try:
        found = json.loads(text or "{}")
    except (ValueError, RecursionError):
        found = None
    return found if isinstance(found, dict) and shallow(found) else {"arguments": text}


def plain(content: Any) -> str:
    """The text of an answer."""
    if isinstance(content, list):
        return "".join(str(part.get("text") or "") for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


def events(pairs: Iterable[tuple[str | None, Any]]) -> bytes:
    """Server-sent events: (event name or None, data as an object or as text)."""
    lines = []
    for name, data in pairs:
        head = f"event: {name}\n" if name else ""
        lines.append(f"{head}data: {data if isinstance(data, str) else json.dumps(data)}\n\n")
    return "".join(lines).encode()


def openai_usage(usage: Usage) -> Json:
    """Usage as chat completions count it: cached tokens within the prompt's."""
    return {"prompt_tokens": usage.tokens_in, "completion_tokens": usage.tokens_out, "total_tokens": usage.tokens,
            "prompt_tokens_details": {"cached_tokens": usage.tokens_cached},
            "completion_tokens_details": {"reasoning_tokens": usage.tokens_reasoning}}  # fmt: skip


def openai_error(refused: Refused) -> Json:
    """The body of an error of both OpenAI dialects."""
    kinds = {
        "bad_request": "invalid_request_error",
        "context": "invalid_request_error",
        "not_found": "invalid_request_error",
    }
    codes = {"context": "context_length_exceeded", "not_found": "model_not_found", "limit": refused.limit}
    return {"error": {"message": str(refused), "type": kinds.get(refused.kind, "permission_error"), "param": None,
                      "code": codes.get(refused.kind, refused.kind)}}  # fmt: skip
