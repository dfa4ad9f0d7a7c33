"""A client of one in-sandbox agent: requests matched by id, pieces gathered, calls of served programs answered."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import Any

from harness.errors import SandboxFault
from harness.sandboxes.frames import Frame, decode_header, encode, read_frame
from harness.seams import Handler


class Refused(SandboxFault):
    """The agent could not do it, and said why; `errno` where the kernel gave one, else 0."""

    def __init__(self, message: str, errno: int = 0) -> None:
        super().__init__(message)
        self.errno = errno


@dataclass(eq=False)
class _Request:
    answer: asyncio.Future[Frame]
    handler: Handler | None = None
    room: int = 0
    """Bytes that pieces may still bring: the agent is trusted, but not with the host's memory."""
    pieces: list[Frame] = field(default_factory=list)
    call: asyncio.Task[None] | None = None


class Client:
    """Speaks to the agent over a pair of streams. It owns both."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._last = 0
        loop = asyncio.get_running_loop()
        self.hello: asyncio.Future[Frame] = loop.create_future()
        """The agent's first word, or the fault that came instead."""
        self._requests: dict[int, _Request] = {0: _Request(self.hello)}
        self._pump = asyncio.create_task(self._read())

    @property
    def ended(self) -> bool:
        """Whether the stream has ended."""
        return self._pump.done()

    async def request(
        self,
        header: dict[str, Any],
        body: bytes = b"",
        *,
        handler: Handler | None = None,
        room: int = 0,
        time_limit: float = 60.0,
    ) -> tuple[dict[str, Any], bytes, list[Frame]]:
        """Send one request; its answer, and the pieces that came before it.

        Raises Refused for the agent's own errors, SandboxFault on loss, silence beyond `time_limit` and nonsense, and
        ValueError when the request is over a frame's limits. No handler runs any more when it returns or raises. `room` bounds what the pieces hold together, in bytes.
        """
        self._last += 1
        ident = self._last
        data = encode({**header, "id": ident}, body)
        request = _Request(asyncio.get_running_loop().create_future(), handler, room)
        self._requests[ident] = request
        try:
            if self._pump.done():
                raise SandboxFault("the sandbox is gone")
            self._writer.write(data)
            async with asyncio.timeout(time_limit):
                await self._writer.drain()
                found, payload = await request.answer
        except TimeoutError:
            raise SandboxFault(f"the sandbox did not answer {header.get('op')} in {time_limit:.0f} s") from None
        except (ConnectionError, RuntimeError) as error:
            raise SandboxFault(f"the sandbox is gone: {error}") from None
        finally:
            del self._requests[ident]
            await _stop(request.call)
        if "error" in found:
            raise Refused(f"in the sandbox, {header.get('op')}: {found['error']}", int(found.get("errno") or 0))
        return found, payload, request.pieces

    async def _read(self) -> None:
        fault = SandboxFault("the sandbox is gone")
        try:
            while (frame := await read_frame(self._reader)) is not None:
                request = self._requests.get(frame[0].get("id", -1))
                if request is None or request.answer.done():
                    continue
                if frame[0].get("op") == "call":
                    if request.handler is not None and (request.call is None or request.call.done()):
                        request.call = asyncio.create_task(self._answer(request, request.handler, *frame))
                elif frame[0].get("more"):
                    request.pieces.append(frame)
                    request.room -= len(frame[1])
                    if request.room < 0:
                        raise SandboxFault("the sandbox sent more than was asked for")
                else:
                    request.answer.set_result(frame)
        except SandboxFault as error:
            fault = error
        finally:
            for request in self._requests.values():
                if not request.answer.done():
                    request.answer.set_exception(fault)
            if self.hello.done() and not self.hello.cancelled():
                self.hello.exception()

    async def _answer(self, request: _Request, handler: Handler, header: dict[str, Any], body: bytes) -> None:
        """Hand a served program's frame to its handler; what is no JSON object gets an empty header."""
        head = int(header.get("head", 0))
        try:
            asked = decode_header(body[:head])
        except (ValueError, RecursionError):
            asked = {}
        try:
            reply = encode(*await handler(asked, body[head:]))
            self._writer.write(encode({"op": "reply", "id": header["id"]}, reply))
            await self._writer.drain()
        except (ConnectionError, RuntimeError, ValueError) as error:
            if not request.answer.done():
                request.answer.set_exception(SandboxFault(f"a served program could not be answered: {error}"))
        except Exception as error:
            if not request.answer.done():
                request.answer.set_exception(error)

    async def close(self) -> None:
        """Stop reading and writing; idempotent. Requests that still wait get a SandboxFault."""
        await _stop(self._pump)
        for request in list(self._requests.values()):
            await _stop(request.call)
        self._writer.close()
        with contextlib.suppress(Exception):
            await self._writer.wait_closed()


async def _stop(task: asyncio.Task[None] | None) -> None:
    """Cancel a task and wait for its end, whatever that is; a cancellation of the caller still counts."""
    if task is None or task.done():
        return
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
