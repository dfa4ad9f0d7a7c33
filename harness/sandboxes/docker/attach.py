"""A container's standard streams as asyncio streams: one hijacked connection to the engine per sandbox.

Docker Engine API, "Attach to a container": after `POST /containers/{id}/attach` with `Upgrade: tcp` the connection carries
raw standard input one way, and the other way frames of 8 bytes (stream, 0, 0, 0, big-endian uint32 length) and data.
When the connection ends, however that comes, the engine closes the container's standard input, and the in-sandbox agent
exits: that is what makes a sandbox die with the harness, on a remote engine too.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from typing import SupportsIndex

from harness.errors import SandboxFault

_STDOUT, _STDERR = 1, 2
_COMPLAINT = 4096
LIMIT = 1 << 20
"""Bytes read ahead of the consumer before the connection is paused."""


@dataclass(frozen=True)
class Address:
    """How to reach an engine: by `unix`, a socket's path, or by `host` and `port`."""

    unix: str = ""
    host: str = ""
    port: int = 0
    tls: ssl.SSLContext | None = None


class MuxReader(asyncio.StreamReader):
    """Reads what the engine sends: first an HTTP answer, then frames, of which only standard output is passed on.

    Some of standard error is kept: what an interpreter says that cannot start the agent.
    """

    def __init__(self) -> None:
        super().__init__(limit=LIMIT)
        self.upgraded: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._raw = bytearray()
        self._left = 0
        self._stream = 0
        self._said = bytearray()

    def feed_data(self, data: Iterable[SupportsIndex]) -> None:
        self._raw.extend(data)
        if not self.upgraded.done() and not self._head():
            return
        while self._raw:
            if not self._left:
                if len(self._raw) < 8:
                    return
                self._stream = self._raw[0]
                self._left = int.from_bytes(self._raw[4:8], "big")
                del self._raw[:8]
            piece = bytes(self._raw[: self._left])
            del self._raw[: len(piece)]
            self._left -= len(piece)
            if self._stream == _STDERR:
                self._said += piece[: _COMPLAINT - len(self._said)]
            elif self._stream == _STDOUT and piece:
                super().feed_data(piece)

    def complaints(self) -> str:
        """The start of standard error."""
        return self._said.decode("utf-8", "replace")

    def _head(self) -> bool:
        """Whether the HTTP answer is complete and friendly; what follows it stays."""
        end = self._raw.find(b"\r\n\r\n")
        if end < 0:
            return False
        status = bytes(self._raw.split(b"\r\n", 1)[0])
        if status.split(b" ")[1:2] not in ([b"101"], [b"200"]):
            said = self._raw[end + 4 :].decode("utf-8", "replace").strip() or status.decode("latin-1")
            self.upgraded.set_exception(SandboxFault(f"docker: cannot attach: {said[:200]}"))
            return False
        del self._raw[: end + 4]
        self.upgraded.set_result(None)
        return True

    def feed_eof(self) -> None:
        self._lost("the engine closed the connection")
        super().feed_eof()

    def set_exception(self, exc: Exception) -> None:
        self._lost(str(exc))
        super().set_exception(exc)

    def _lost(self, why: str) -> None:
        if not self.upgraded.done():
            self.upgraded.set_exception(SandboxFault(f"docker: cannot attach: {why}"))
            self.upgraded.exception()


async def attach(address: Address, container: str, version: str) -> tuple[MuxReader, asyncio.StreamWriter]:
    """Standard output and input of a created container. Raises SandboxFault."""
    reader = MuxReader()
    try:
        writer = await _dial(address, reader)
        query = "stream=1&stdin=1&stdout=1&stderr=1"
        writer.write(f"POST /v{version}/containers/{container}/attach?{query} HTTP/1.1\r\nHost: docker\r\n"
                     "Connection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 0\r\n\r\n".encode())  # fmt: skip
    except OSError as error:
        raise SandboxFault(f"docker: cannot attach: {error}") from None
    try:
        async with asyncio.timeout(30):
            await asyncio.shield(reader.upgraded)
    except BaseException as error:
        writer.close()
        if isinstance(error, TimeoutError):
            raise SandboxFault("docker: the engine did not attach in 30 s") from None
        raise
    return reader, writer


async def _dial(address: Address, reader: MuxReader) -> asyncio.StreamWriter:
    """Connect `reader` to the engine, and what writes to it."""
    loop = asyncio.get_running_loop()
    protocol = asyncio.StreamReaderProtocol(reader)
    transport: asyncio.WriteTransport
    if address.unix:
        transport, _ = await loop.create_unix_connection(lambda: protocol, address.unix)
    else:
        transport, _ = await loop.create_connection(
            lambda: protocol,
            address.host,
            address.port,
            ssl=address.tls,
            server_hostname=address.host if address.tls else None,
        )
    return asyncio.StreamWriter(transport, protocol, reader, loop)
