"""Any Model as an OpenAI-compatible server on loopback: chat completions and the list of models. asyncio, no framework."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

from pydantic import ValidationError

from harness.errors import HarnessError, ModelFault
from harness.hashing import digest_json
from harness.records import ModelReply, ModelRequest, Sampling
from harness.seams import Model

MAX_BODY = 32 << 20
_STATUS = {"rate_limit": 429, "server": 500, "timeout": 504, "malformed": 502, "auth": 401, "context": 400,
           "bad_request": 400, "connection": 503}  # fmt: skip
_REASONS = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found", 405: "Method Not Allowed",
            413: "Payload Too Large", 429: "Too Many Requests", 500: "Internal Server Error", 502: "Bad Gateway",
            503: "Service Unavailable", 504: "Gateway Timeout"}  # fmt: skip


class ChatServer:
    """Serves models by name. `find(name)` gives a Model or raises HarnessError; `names` are listed."""

    def __init__(self, find: Callable[[str], Model], names: tuple[str, ...]) -> None:
        self._find, self._names = find, names
        self._server: asyncio.Server | None = None

    async def start(self, port: int = 0, host: str = "127.0.0.1") -> str:
        """Listen; the API base, as http://127.0.0.1:8123/v1. Raises OSError when the port is taken."""
        self._server = await asyncio.start_server(self._connection, host, port, limit=1 << 16)
        return f"http://{host}:{self._server.sockets[0].getsockname()[1]}/v1"

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()

    async def serve_forever(self) -> None:
        """Until cancelled."""
        if self._server is not None:
            await self._server.serve_forever()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while (request := await _read_request(reader)) is not None:
                method, path, headers, body = request
                status, answer, extra = await self._route(method, path, body)
                data = json.dumps(answer).encode()
                lines = [f"HTTP/1.1 {status} {_REASONS.get(status, '')}", "Content-Type: application/json",
                         f"Content-Length: {len(data)}", *(f"{k}: {v}" for k, v in extra.items())]  # fmt: skip
                writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + data)
                await writer.drain()
                if headers.get("connection", "").lower() == "close":
                    break
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
            pass
        finally:
            writer.close()

    async def _route(self, method: str, path: str, body: bytes) -> tuple[int, dict[str, Any], dict[str, str]]:
        if path.rstrip("/") == "/v1/models" and method == "GET":
            listed = [{"id": name, "object": "model", "owned_by": "selfharness"} for name in self._names]
            return 200, {"object": "list", "data": listed}, {}
        if path.rstrip("/") != "/v1/chat/completions":
            return 404, _error(f"no such path: {path}", "not_found"), {}
        if method != "POST":
            return 405, _error("POST here", "method"), {}
        return await self._complete(body)

    async def _complete(self, body: bytes) -> tuple[int, dict[str, Any], dict[str, str]]:
        try:
            data = json.loads(body)
            name = str(data["model"])
            if data.get("stream"):
                return 400, _error("this server does not stream; send stream: false", "stream"), {}
            model = self._find(name)
            reply = await model.complete(_to_request(data))
        except ModelFault as fault:
            extra = {"Retry-After": f"{fault.retry_after:g}"} if fault.retry_after is not None else {}
            return _STATUS[fault.kind], _error(str(fault), fault.kind), extra
        except HarnessError as error:
            return 404, _error(str(error), "model_not_found"), {}
        except (ValueError, KeyError, TypeError, ValidationError) as error:
            return 400, _error(f"{type(error).__name__}: {str(error)[:200]}", "invalid_request"), {}
        return 200, _to_answer(reply, body), {}


def _to_request(data: dict[str, Any]) -> ModelRequest:
    names = Sampling.model_fields
    sampling = {name: data[name] for name in names if data.get(name) is not None}
    if data.get("max_completion_tokens") is not None:
        sampling["max_tokens"] = data["max_completion_tokens"]
    if isinstance(sampling.get("stop"), str):
        sampling["stop"] = [sampling["stop"]]
    return ModelRequest(model=data["model"], messages=data["messages"], tools=data.get("tools") or (),
                        sampling=Sampling.model_validate(sampling), seed=data.get("seed"))  # fmt: skip


def _to_answer(reply: ModelReply, body: bytes) -> dict[str, Any]:
    usage = reply.usage
    return {
        "id": f"chatcmpl-{digest_json(body.hex())[:24]}", "object": "chat.completion", "created": int(time.time()),
        "model": reply.served, "system_fingerprint": reply.origin,
        "choices": [{"index": 0, "message": reply.message, "finish_reason": reply.finish}],
        "usage": {"prompt_tokens": usage.tokens_in, "completion_tokens": usage.tokens_out, "total_tokens": usage.tokens,
                  "prompt_tokens_details": {"cached_tokens": usage.tokens_cached}},
    }  # fmt: skip


def _error(message: str, code: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": code, "code": code}}


async def _read_request(reader: asyncio.StreamReader) -> tuple[str, str, dict[str, str], bytes] | None:
    line = await reader.readline()
    if not line.strip():
        return None
    method, path, _ = line.decode("latin-1").split(" ", 2)
    headers: dict[str, str] = {}
    while (raw := await reader.readline()).strip():
        name, _, value = raw.decode("latin-1").partition(":")
        headers[name.strip().lower()] = value.strip()
    length = int(headers.get("content-length", "0"))
    if length > MAX_BODY:
        raise ValueError("body too large")
    body = await reader.readexactly(length) if length else b""
    return method, path.partition("?")[0], headers, body
