"""Answers the model port's frames: routes a request to its dialect, asks through the broker, says when it is over.

A limit or an infrastructure fault ends the session. Clients swallow errors and try 5xx again, so the broker keeps what
happened, the answer is one that official clients do not repeat, and `over` tells the port to end its program.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import Any

from harness.broker import Broker, Refused
from harness.errors import SandboxFault
from harness.port import chat, messages, responses
from harness.port.dialect import STATUS, Dialect, Json, refuse
from harness.sandboxes.frames import encode, read_frame_from
from harness.trajectory import shallow

MAX_BODY = 16 << 20
MAX_DISTINCT_NOTES = 50
_ROUTES = {"/chat/completions": chat.DIALECT, "/responses": responses.DIALECT, "/messages": messages.DIALECT}
_COUNT = "/messages/count_tokens"
_CHARACTERS = 3
"""Per token, as the gateway estimates; a count is an estimate, whatever the model."""
_NEVER_AGAIN = {"x-should-retry": "false"}
Frame = tuple[Mapping[str, Any], bytes]


class ModelPort:
    """The frame handler (seams.Handler) of a session whose program speaks HTTP. `models`: alias to real model name.

    Frames of the SDK go to the broker as ever.
    """

    def __init__(self, broker: Broker, models: Mapping[str, str]) -> None:
        self.broker = broker
        self._models = dict(models)
        self._notes: set[str] = set()

    async def handle(self, header: Mapping[str, Any], body: bytes) -> Frame:
        """Answer one frame."""
        if header.get("op") != "http":
            return await self.broker.handle(header, body)
        method, path, headers = _request(header)
        if path == "/harness":
            return await self._frame(header.get("id"), body)
        dialect = _ROUTES.get(path) or (
            messages.DIALECT if "anthropic-version" in headers or path == _COUNT else chat.DIALECT
        )
        try:
            status = 200
            kind, data = await self.broker.guard(lambda: self._route(method, path, headers, body))
        except Refused as refused:
            if refused.kind in ("bad_request", "not_found"):
                self._note(f"refused: {refused}")
            status, kind, data = _status(refused), "application/json", json.dumps(dialect.to_error(refused)).encode()
        answer: Json = {
            "id": header.get("id"),
            "status": status,
            "type": kind,
            "headers": _NEVER_AGAIN if status != 200 else {},
        }
        return {**answer, "over": self.broker.over.is_set()}, data

    async def _frame(self, ident: Any, body: bytes) -> Frame:
        """A frame of the SDK in the body of a request, for programs that run beside the port and use both."""
        try:
            asked = read_frame_from(io.BytesIO(body))
        except SandboxFault:
            asked = None
        answer, data = await self.broker.handle(*(asked or ({}, b"")))
        return {
            "id": ident,
            "status": 200,
            "type": "application/octet-stream",
            "over": self.broker.over.is_set(),
        }, encode(answer, data)

    async def _route(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> tuple[str, bytes]:
        if method in ("GET", "HEAD"):
            return "application/json", json.dumps(self._get(path)).encode()
        if method != "POST" or (path not in _ROUTES and path != _COUNT):
            raise Refused("not_found", f"{method} {path[:200]}: there is no such thing here")
        asked = _parse(headers, body)
        if path == _COUNT:
            counted = sum(len(json.dumps(asked.get(part) or "")) for part in ("system", "messages", "tools"))
            return "application/json", json.dumps({"input_tokens": counted // _CHARACTERS}).encode()
        return await self._complete(_ROUTES[path], asked)

    async def _complete(self, dialect: Dialect, body: Json) -> tuple[str, bytes]:
        asked = dialect.to_request(body, self._models)
        for note in asked.notes:
            self._note(note)
        reply = await self.broker.ask(asked.prompt)
        found = dialect.to_reply(reply, asked, f"{self.broker.steps:06d}")
        if asked.stream:
            return "text/event-stream; charset=utf-8", dialect.stream(found, asked)
        return "application/json", json.dumps(found).encode()

    def _get(self, path: str) -> Json:
        """The list of aliases, or one of them, with the fields of both providers; an empty object at the root."""
        listed = [{"id": name, "object": "model", "created": 0, "owned_by": "selfharness", "type": "model", "display_name": name,
                   "created_at": "1970-01-01T00:00:00Z"} for name in self._models]  # fmt: skip
        if path == "/models":
            ends = {"first_id": listed[0]["id"], "last_id": listed[-1]["id"]} if listed else {}
            return {"object": "list", "data": listed, "has_more": False, **ends}
        for model in listed:
            if path == f"/models/{model['id']}":
                return model
        if path in ("", "/"):
            return {}
        raise Refused("not_found", f"{path[:200]}: there is no such thing here")

    def _note(self, text: str) -> None:
        """Record what was refused or left out, once: an agent asks the same way every time."""
        if text not in self._notes and len(self._notes) < MAX_DISTINCT_NOTES:
            self._notes.add(text)
            self.broker.remark(f"model port: {text}")


def _request(header: Mapping[str, Any]) -> tuple[str, str, dict[str, str]]:
    """Method, path below /v1 and headers of a frame that anyone in the sandbox may have written."""
    path = str(header.get("path") or "").partition("?")[0].rstrip("/")
    headers = header.get("headers")
    found = {str(name).lower(): str(value) for name, value in headers.items()} if isinstance(headers, dict) else {}
    return str(header.get("method") or "").upper(), path.removeprefix("/v1"), found


def _parse(headers: Mapping[str, str], body: bytes) -> Json:
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise refuse("a compressed body does not pass the model port")
    if len(body) > MAX_BODY:
        raise refuse(f"a body of {len(body):,} bytes; at most {MAX_BODY:,}")
    try:
        found = json.loads(body, parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise refuse("the body is no JSON") from None
    if not isinstance(found, dict) or not shallow(found):
        raise refuse("the body is no JSON object, or nested too deeply")
    return found


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _status(refused: Refused) -> int:
    return STATUS.get(refused.kind, 403)
