"""The codec, on streams and files, with whole, torn and absurd frames."""

import asyncio
import io
import struct

import pytest

from harness.errors import SandboxFault
from harness.sandboxes import frames
from harness.sandboxes.inside import codec


def read(data):
    async def main():
        reader = asyncio.StreamReader()
        reader.feed_data(data)
        reader.feed_eof()
        found = []
        while (frame := await frames.read_frame(reader)) is not None:
            found.append(frame)
        return found

    return asyncio.run(main())


def read_file(data):
    file, found = io.BytesIO(data), []
    while (frame := frames.read_frame_from(file)) is not None:
        found.append(frame)
    return found


@pytest.mark.parametrize("reader", [read, read_file])
def test_frames_there_and_back(reader):
    sent = [({"id": 1, "text": "é\n\0", "list": [1, 2.5, None, True]}, b"body"), ({}, b""), ({"id": 2}, bytes(300_000))]
    assert reader(b"".join(frames.encode(*frame) for frame in sent)) == sent
    assert reader(b"".join(codec.prefix(header, len(body)) + body for header, body in sent)) == sent


@pytest.mark.parametrize("reader", [read, read_file])
def test_a_torn_frame_is_the_end(reader):
    whole = frames.encode({"id": 1}, b"body")
    for cut in range(1, len(whole)):
        assert reader(whole + whole[:cut]) == [({"id": 1}, b"body")]


@pytest.mark.parametrize("reader", [read, read_file])
@pytest.mark.parametrize(
    "data",
    [
        struct.pack(">II", 1 << 31, 0),
        struct.pack(">II", 2, 1 << 31) + b"{}",
        struct.pack(">II", 3, 0) + b"{x}",
        struct.pack(">II", 2, 0) + b"[]",
        struct.pack(">II", 2, 0) + b"\xff\xff",
        struct.pack(">II", 100_000, 0) + b"[" * 100_000,
    ],
)
def test_what_is_no_frame_is_a_fault(reader, data):
    with pytest.raises(SandboxFault):
        reader(data)


def test_too_large_is_refused_before_it_is_sent():
    with pytest.raises(ValueError):
        frames.encode({"x": "y" * (2 << 20)})
    with pytest.raises(ValueError):
        frames.encode({}, bytes(70 << 20))


def test_the_agents_json_is_the_fast_one_and_the_public_one_agrees():
    import json

    value = {"a": [1, -2.5, "é\n\ud800", None, True, {"b": []}], "": ""}
    assert codec.loads(json.dumps(value)) == value
    assert json.loads(codec.dumps(value)) == value
    assert codec.loads.__module__ == codec.__name__
