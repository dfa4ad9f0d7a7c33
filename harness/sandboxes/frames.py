"""Frames on the host's side: the codec, and a client of one in-sandbox agent."""

from __future__ import annotations

import asyncio
import contextlib
import json
import struct
from collections.abc import Mapping
from typing import Any

from harness.errors import SandboxFault
from harness.seams import Handler

MAX_HEADER, MAX_BODY = 1 << 20, 1 << 26


def encode(header: Mapping[str, Any], body: bytes = b"") -> bytes:
    """One frame: lengths, JSON header, raw body. Raises ValueError when it is over the limits."""
    raw = json.dumps(header).encode()
    if len(raw) > MAX_HEADER or len(body) > MAX_BODY:
        raise ValueError(f"a frame of {len(raw)} + {len(body)} bytes is over the limit")
    return struct.pack(">II", len(raw), len(body)) + raw + body


async def read_frame(reader: asyncio.StreamReader) -> tuple[dict[str, Any], bytes] | None:
    """The next frame, or None at the end of the stream. Raises SandboxFault for what is no frame."""
    try:
        head, body = struct.unpack(">II", await reader.readexactly(8))
        if head > 2 * MAX_HEADER or body > MAX_BODY + 2 * MAX_HEADER:
            raise SandboxFault(f"the sandbox sent a frame of {head} + {body} bytes")
        raw = await reader.readexactly(head)
        payload = await reader.readexactly(body) if body else b""
        header = json.loads(raw)
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    except ValueError as error:
        raise SandboxFault(f"the sandbox sent what is no frame: {error}") from None
    if not isinstance(header, dict):
        raise SandboxFault("the sandbox sent a header that is no object")
    return header, payload


class Client:
    """Requests to one in-sandbox agent, matched by id; calls of served programs go to their handlers."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._last = 0
        self._waiting: dict[int, asyncio.Future[tuple[dict[str, Any], bytes]]] = {}
        self._handlers: dict[int, Handler] = {}
        self._calls: set[asyncio.Task[None]] = set()
        self._pump = asyncio.create_task(self._read())

    async def request(
        self, header: dict[str, Any], body: bytes = b"", *, handler: Handler | None = None, time_limit: float = 60.0
    ) -> tuple[dict[str, Any], bytes]:
        """Send one request and wait for its answer. Raises SandboxFault on loss, late answers and agent errors."""
        self._last += 1
        ident = self._last
        if handler is not None:
            self._handlers[ident] = handler
        answer: asyncio.Future[tuple[dict[str, Any], bytes]] = asyncio.get_running_loop().create_future()
        self._waiting[ident] = answer
        try:
            if self._pump.done():
                raise SandboxFault("the sandbox is gone")
            self._writer.write(encode({**header, "id": ident}, body))
            await self._writer.drain()
            async with asyncio.timeout(time_limit):
                found, payload = await answer
        except TimeoutError:
            raise SandboxFault(f"the sandbox did not answer {header.get('op')} in {time_limit:.0f} s") from None
        except (ConnectionError, RuntimeError) as error:
            raise SandboxFault(f"the sandbox is gone: {error}") from None
        finally:
            self._waiting.pop(ident, None)
            self._handlers.pop(ident, None)
        if "error" in found:
            raise SandboxFault(f"in the sandbox, {header.get('op')}: {found['error']}")
        return found, payload

    async def _read(self) -> None:
        fault = SandboxFault("the sandbox is gone")
        try:
            while (frame := await read_frame(self._reader)) is not None:
                header, body = frame
                ident = header.get("id", 0)
                if header.get("op") == "call" and ident in self._handlers:
                    task = asyncio.create_task(self._answer(ident, header, body))
                    self._calls.add(task)
                    task.add_done_callback(self._calls.discard)
                elif ident in self._waiting and not self._waiting[ident].done():
                    self._waiting[ident].set_result((header, body))
        except SandboxFault as error:
            fault = error
        for waiter in self._waiting.values():
            if not waiter.done():
                waiter.set_exception(fault)

    async def _answer(self, ident: int, header: dict[str, Any], body: bytes) -> None:
        """Hand a served program's frame to its handler; what is not JSON gets an empty header."""
        head = header.get("head", 0)
        try:
            asked = json.loads(body[:head])
        except ValueError:
            asked = {}
        if not isinstance(asked, dict):
            asked = {}
        reply, payload = await self._handlers[ident](asked, body[head:])
        with contextlib.suppress(ConnectionError, RuntimeError):
            self._writer.write(encode({"op": "reply", "id": ident}, encode(reply, payload)))
            await self._writer.drain()

    async def close(self) -> None:
        """Stop reading and writing; idempotent."""
        for task in (self._pump, *self._calls):
            task.cancel()
        await asyncio.gather(self._pump, *self._calls, return_exceptions=True)
        self._writer.close()
