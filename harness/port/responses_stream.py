"""A whole response as the events that clients of OpenAI Responses follow, numbered in order."""

from __future__ import annotations

from collections.abc import Iterator

from harness.port.dialect import Asked, Json, events


def stream(body: Json, asked: Asked) -> bytes:
    """created, in_progress; every item added, filled and done; completed or incomplete with the whole response."""
    begun = {**body, "status": "in_progress", "output": [], "usage": None, "incomplete_details": None}
    found: list[Json] = [{"type": f"response.{name}", "response": begun} for name in ("created", "in_progress")]
    for index, item in enumerate(body["output"]):
        empty, filling = _EMPTY[item["type"]], _FILL[item["type"]]
        started = {**item, **empty, **({"status": "in_progress"} if "status" in item else {})}
        found.append({"type": "response.output_item.added", "output_index": index, "item": started})
        found += [{"item_id": item["id"], "output_index": index, **event} for event in filling(item)]
        found.append({"type": "response.output_item.done", "output_index": index, "item": item})
    found.append({"type": f"response.{body['status']}", "response": body})
    return events((event["type"], {**event, "sequence_number": number}) for number, event in enumerate(found))


def _message(item: Json) -> Iterator[Json]:
    part = item["content"][0]
    at = {"content_index": 0}
    yield {"type": "response.content_part.added", **at, "part": {**part, "text": ""}}
    yield {"type": "response.output_text.delta", **at, "delta": part["text"], "logprobs": []}
    yield {"type": "response.output_text.done", **at, "text": part["text"], "logprobs": []}
    yield {"type": "response.content_part.done", **at, "part": part}


def _reasoning(item: Json) -> Iterator[Json]:
    for index, part in enumerate(item["summary"]):
        at = {"summary_index": index}
        yield {"type": "response.reasoning_summary_part.added", **at, "part": {**part, "text": ""}}
        yield {"type": "response.reasoning_summary_text.delta", **at, "delta": part["text"]}
        yield {"type": "response.reasoning_summary_text.done", **at, "text": part["text"]}
        yield {"type": "response.reasoning_summary_part.done", **at, "part": part}


def _function_call(item: Json) -> Iterator[Json]:
    yield {"type": "response.function_call_arguments.delta", "delta": item["arguments"]}
    yield {"type": "response.function_call_arguments.done", "name": item["name"], "arguments": item["arguments"]}


def _custom_tool_call(item: Json) -> Iterator[Json]:
    yield {"type": "response.custom_tool_call_input.delta", "delta": item["input"]}
    yield {"type": "response.custom_tool_call_input.done", "input": item["input"]}


_FILL = {
    "message": _message,
    "reasoning": _reasoning,
    "function_call": _function_call,
    "custom_tool_call": _custom_tool_call,
}
_EMPTY: dict[str, Json] = {
    "message": {"content": []}, "reasoning": {"summary": []}, "function_call": {"arguments": ""},
    "custom_tool_call": {"input": ""},
}  # fmt: skip
