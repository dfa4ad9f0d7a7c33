"""Frames on the host's side (docs/contracts.md): lengths, a JSON header, a raw body; from a stream or from a file."""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import Mapping
from typing import Any, BinaryIO

from harness.errors import SandboxFault

MAX_HEADER, MAX_BODY = 1 << 20, 1 << 26
"""Bytes. More is a fault of the side that sent it."""
_LENGTHS = struct.Struct(">II")
_SLACK = MAX_HEADER + _LENGTHS.size
"""A relayed frame travels in the body of another."""

Frame = tuple[dict[str, Any], bytes]


def encode(header: Mapping[str, Any], body: bytes = b"") -> bytes:
    """One frame. Raises ValueError when it is over the limits."""
    raw = json.dumps(header).encode()
    if len(raw) > MAX_HEADER or len(body) > MAX_BODY + _SLACK:
        raise ValueError(f"a frame of {len(raw)} + {len(body)} bytes is over the limit")
    return _LENGTHS.pack(len(raw), len(body)) + raw + body


def decode_header(raw: bytes) -> dict[str, Any]:
    """The header of a frame. Raises ValueError for what is no JSON object."""
    header = json.loads(raw)
    if not isinstance(header, dict):
        raise ValueError("a header that is no object")
    return header


def _lengths(prefix: bytes) -> tuple[int, int]:
    head, body = _LENGTHS.unpack(prefix)
    if head > MAX_HEADER or body > MAX_BODY + _SLACK:
        raise ValueError(f"{head} + {body} bytes, which is over the limit")
    return head, body


async def read_frame(reader: asyncio.StreamReader) -> Frame | None:
    """The next frame, or None at the end of the stream, even within a frame. Raises SandboxFault for what is no frame."""
    try:
        head, body = _lengths(await reader.readexactly(_LENGTHS.size))
        raw = await reader.readexactly(head)
        payload = await reader.readexactly(body) if body else b""
        return decode_header(raw), payload
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    except (ValueError, RecursionError) as error:
        raise SandboxFault(f"the sandbox sent what is no frame: {error}") from None


def read_frame_from(file: BinaryIO) -> Frame | None:
    """The same from a blocking file."""
    try:
        prefix = _exactly(file, _LENGTHS.size)
        head, body = _lengths(prefix)
        return decode_header(_exactly(file, head)), _exactly(file, body)
    except EOFError:
        return None
    except (ValueError, RecursionError) as error:
        raise SandboxFault(f"what was sent is no frame: {error}") from None


def _exactly(file: BinaryIO, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = file.read(size - len(data))
        if not piece:
            raise EOFError
        data += piece
    return data
