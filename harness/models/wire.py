"""What goes over the wire: requests and answers of litellm's HTTP client, without secrets.

Measured: for every provider in keys.py, whether litellm serves it through openai's client or through one of its own, and
over aiohttp or not, exactly one call of `httpx.AsyncClient.send` is made per request, with the answer's body read. So that
method is wrapped, once per process; it does nothing unless a tap is open in the calling context.
"""

from __future__ import annotations

import functools
import importlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from urllib.parse import parse_qsl, urlencode

from harness.trajectory import shallow

Exchange = dict[str, Any]
"""{"request": {"method", "path", "headers", "body"}, "response": {"status", "headers", "body"}}, or "error" in place of a
response. A body is JSON, or the text that was no JSON."""

SENT = frozenset({"content-type", "anthropic-version", "anthropic-beta"})
GOT = frozenset({"content-type", "retry-after", "retry-after-ms", "request-id", "x-request-id"})
GOT_PREFIX = "x-ratelimit-"
QUERY = frozenset({"api-version"})
"""Allow-lists of headers and query parameters: what is not named here is never kept, keys above all."""

_TAP: ContextVar[list[Exchange] | None] = ContextVar("tap", default=None)


@contextmanager
def tap() -> Iterator[list[Exchange]]:
    """The exchanges made within, in order; those that broke off too."""
    seen: list[Exchange] = []
    token = _TAP.set(seen)
    try:
        yield seen
    finally:
        _TAP.reset(token)


def install() -> None:
    """Let taps see what httpx sends. Once per process; without an open tap everything passes as before."""
    client: Any = importlib.import_module("httpx").AsyncClient
    plain = client.send
    if hasattr(plain, "tapped"):
        return

    @functools.wraps(plain)
    async def send(self: Any, request: Any, **options: Any) -> Any:
        seen = _TAP.get()
        if seen is None:
            return await plain(self, request, **options)
        exchange: Exchange = {"request": _request(request)}
        seen.append(exchange)
        try:
            response = await plain(self, request, **options)
        except BaseException as error:
            exchange["error"] = type(error).__name__
            raise
        exchange["response"] = _response(response)
        return response

    send.tapped = True  # type: ignore[attr-defined]
    client.send = send


def _request(request: Any) -> dict[str, Any]:
    query = urlencode([(name, value) for name, value in parse_qsl(request.url.query.decode()) if name in QUERY])
    return {"method": request.method, "path": request.url.path + (f"?{query}" if query else ""),
            "headers": {name: value for name, value in request.headers.items() if name in SENT}, "body": _body(request)}  # fmt: skip


def _response(response: Any) -> dict[str, Any]:
    headers = {name: value for name, value in response.headers.items() if name in GOT or name.startswith(GOT_PREFIX)}
    return {"status": response.status_code, "headers": headers, "body": _body(response)}


def _body(message: Any) -> Any:
    try:
        text = message.content.decode("utf-8", "replace")
    except RuntimeError:  # httpx: a stream that nobody has read yet
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return value if shallow(value) else text
