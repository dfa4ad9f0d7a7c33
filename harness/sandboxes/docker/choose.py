"""Whether Docker is to be used where nobody said which provider."""

from __future__ import annotations

import asyncio
import http.client
import socket
import urllib.parse
from collections.abc import Mapping

from harness.errors import HarnessError
from harness.sandboxes.docker.engine import Engine, engine_url
from harness.sandboxes.docker.images import DEFAULT_IMAGE, Images

PATIENCE = 3.0
"""Seconds for an engine to answer."""


async def is_ready(image: str | None, mapping: Mapping[str, str]) -> bool:
    """Whether an engine answers and has the default image; nothing is pulled to find out."""
    url = engine_url()
    name = mapping.get(image or DEFAULT_IMAGE, image or DEFAULT_IMAGE)
    if url.startswith("unix://"):
        return await asyncio.to_thread(_has, url.removeprefix("unix://"), name)
    engine = Engine(url)
    try:
        async with asyncio.timeout(PATIENCE):
            await engine.open()
            return await Images(engine, {}, lambda line: None).is_here(name)
    except (HarnessError, TimeoutError):
        return False
    finally:
        await engine.close()


class _Local(http.client.HTTPConnection):
    """HTTP over a unix socket: five milliseconds, where the docker package takes some hundred to import."""

    def __init__(self, path: str) -> None:
        super().__init__("docker", timeout=PATIENCE)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(PATIENCE)
        self.sock.connect(self._path)


def _has(path: str, name: str) -> bool:
    connection = _Local(path)
    try:
        connection.request("GET", f"/images/{urllib.parse.quote(name, safe='/:@')}/json")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
