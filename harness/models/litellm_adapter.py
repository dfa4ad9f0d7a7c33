"""litellm as a wire translator: one request, one answer. The one module that imports litellm.

Not used of it, because measured to be wrong or dear for experiments: cache, budgets, router, retries, callbacks.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import os
from collections.abc import Mapping
from typing import Any, Literal

from harness.errors import FaultKind, ModelFault
from harness.models.keys import redact
from harness.models.wire import install
from harness.records import ModelReply, ModelRequest, Usage

_KINDS: dict[str, FaultKind] = {
    "ContextWindowExceededError": "context",
    "RateLimitError": "rate_limit",
    "AuthenticationError": "auth",
    "PermissionDeniedError": "auth",
    "Timeout": "timeout",
    "APIConnectionError": "connection",
    "ServiceUnavailableError": "server",
    "InternalServerError": "server",
    "BadGatewayError": "server",
    "JSONSchemaValidationError": "malformed",
    "NotFoundError": "bad_request",
    "UnsupportedParamsError": "bad_request",
    "UnprocessableEntityError": "bad_request",
    "BadRequestError": "bad_request",
    "APIError": "server",
}
_NO_JSON = ("json", "expecting value", "unterminated string", "unable to get", "expecting property name")


class LitellmModel:
    """Implements seams.Model for every provider that litellm knows. Imports it at the first call, in a thread."""

    def __init__(self, api_key: str | None) -> None:
        self._api_key = api_key
        self._litellm: Any = None
        self._lock = asyncio.Lock()

    async def complete(self, request: ModelRequest) -> ModelReply:
        litellm = await self._load()
        arguments = self._arguments(litellm, request)
        try:
            response = await litellm.acompletion(**arguments)
        except asyncio.CancelledError:
            raise
        except Exception as error:  # the boundary: litellm raises its own tree, openai's, httpx's and pydantic's
            raise classify(error) from None
        return read_reply(response, seed_sent="seed" in arguments or request.seed is None)

    async def _load(self) -> Any:
        async with self._lock:
            if self._litellm is None:
                self._litellm = await asyncio.to_thread(import_litellm)
        return self._litellm

    def _arguments(self, litellm: Any, request: ModelRequest) -> dict[str, Any]:
        supported = litellm.get_supported_openai_params(model=request.model) or []
        sampling = request.sampling.model_dump(exclude_none=True)
        if "stop" in sampling:
            sampling["stop"] = list(sampling["stop"])
        arguments: dict[str, Any] = {
            "model": request.model, "messages": [dict(message) for message in request.messages], "stream": False,
            "timeout": request.time_limit, "max_retries": 0, "num_retries": 0, "_skip_mcp_handler": True, **sampling,
        }  # fmt: skip
        if request.tools:
            arguments["tools"] = [dict(tool) for tool in request.tools]
        shape = request.shape.model_dump(exclude_none=True)
        if "parallel_tool_calls" in shape and "parallel_tool_calls" not in supported:
            del shape["parallel_tool_calls"]
        arguments.update(shape)
        if request.api_base:
            arguments["api_base"] = request.api_base
        if self._api_key:
            arguments["api_key"] = self._api_key
        if request.reasoning_effort:
            arguments["reasoning_effort"] = request.reasoning_effort
        if request.seed is not None and "seed" in supported:
            arguments["seed"] = request.seed
        return arguments


def import_litellm() -> Any:
    """litellm, told to fetch nothing, print nothing and report nothing; what it sends can be tapped (wire.py)."""
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    os.environ.setdefault("LITELLM_LOG", "ERROR")
    module: Any = importlib.import_module("litellm")
    module.suppress_debug_info = True
    module.telemetry = False
    module.turn_off_message_logging = True
    install()
    return module


def classify(error: Exception) -> ModelFault:
    """A ModelFault for what litellm raised; Retry-After from the headers that it keeps on the exception."""
    names = [kind.__name__ for kind in type(error).__mro__]
    kind: FaultKind = next((_KINDS[name] for name in names if name in _KINDS), "server")
    text = redact(str(error))
    if kind in ("server", "connection") and any(sign in text.lower() for sign in _NO_JSON):
        kind = "malformed"
    return ModelFault(kind, text[:500], retry_after=_retry_after(error))


def _retry_after(error: Exception) -> float | None:
    headers = getattr(error, "litellm_response_headers", None)
    response = getattr(error, "response", None)
    for source in (headers, getattr(response, "headers", None)):
        if isinstance(source, Mapping) or hasattr(source, "get"):
            with contextlib.suppress(ValueError, TypeError):
                return max(0.0, float(source.get("retry-after")))  # type: ignore[union-attr, arg-type]
    return None


def read_reply(response: Any, *, seed_sent: bool) -> ModelReply:
    """A reply from litellm's response. Empty choices and missing usage are malformed, not success."""
    data = response.model_dump() if hasattr(response, "model_dump") else dict(response)
    choices = data.get("choices") or []
    usage = data.get("usage") or {}
    if not choices:
        raise ModelFault("malformed", "the server answered without choices")
    prompt, completion = usage.get("prompt_tokens") or 0, usage.get("completion_tokens") or 0
    if not prompt and not completion:
        raise ModelFault("malformed", "the server answered without usage")
    message = _message(choices[0].get("message") or {})
    if message["content"] is None and not message.get("tool_calls"):
        raise ModelFault("malformed", "the server answered with neither content nor tool calls")
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    reasoning = (usage.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0
    served = str(data.get("model") or "")
    mark = str(data.get("system_fingerprint") or "")
    simulated = "simulated/" in served or mark.startswith("simulated")
    return ModelReply(
        message=message, finish=_finish(choices[0].get("finish_reason"), message), served=served, seed_honoured=seed_sent,
        origin="simulated" if simulated else "live",
        usage=Usage(calls=1, tokens_in=prompt, tokens_out=completion, tokens_cached=cached, tokens_reasoning=reasoning),
    )  # fmt: skip


def _message(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Role, content, tool calls, reasoning; everything that a later request must carry back, and no nulls."""
    message: dict[str, Any] = {"role": "assistant", "content": raw.get("content")}
    calls: list[dict[str, Any]] = []
    for call in raw.get("tool_calls") or []:
        function = call.get("function") or {}
        arguments = function.get("arguments")
        text = arguments if isinstance(arguments, str) else json.dumps(arguments or {})
        calls.append({"id": call.get("id") or f"call_{len(calls)}", "type": "function",
                      "function": {"name": function.get("name") or "", "arguments": text}})  # fmt: skip
    if calls:
        message["tool_calls"] = calls
    for extra in ("reasoning_content", "reasoning_details", "thinking_blocks"):
        if raw.get(extra):
            message[extra] = raw[extra]
    whole: dict[str, Any] = json.loads(json.dumps(message, ensure_ascii=False).encode("utf-8", "replace"))
    return whole  # a reply that was cut within a character holds half of one, which nothing can write down


def _finish(reason: Any, message: Mapping[str, Any]) -> Literal["stop", "tool_calls", "length", "content_filter"]:
    if message.get("tool_calls"):
        return "tool_calls"
    return reason if reason in ("stop", "length", "content_filter") else "stop"
