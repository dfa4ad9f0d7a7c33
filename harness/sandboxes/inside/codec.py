"""Frames and JSON without the import of `re` and `enum` that the json package brings (6 ms of a 25 ms start).

A frame: uint32 header length, uint32 body length (big endian), a JSON header, a raw body.
"""

# ruff: noqa: PTH103, PTH123, PTH208, SIM105
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls, allow-any-generics
from __future__ import annotations

from _struct import Struct

MAX_HEADER, MAX_BODY = 1 << 20, 1 << 26
LENGTHS = Struct(">II")


def _fast():
    """loads and dumps out of the C halves of the json package. Raises on any Python that has them otherwise."""
    import _json

    class Context:
        strict, object_hook, object_pairs_hook = True, None, None
        parse_float, parse_int, parse_constant, memo = float, int, float, {}

    def refuse(value):
        raise TypeError(repr(value))

    scan = _json.make_scanner(Context())  # type: ignore[arg-type]
    chunks = _json.make_encoder(None, refuse, _json.encode_basestring_ascii, None, ": ", ", ", False, False, False)

    def loads(text):
        return scan(text, 0)[0]

    def dumps(value):
        return "".join(chunks(value, 0))

    sample = {"a": [1, -2.5, "é\n", None, True], "b": {}}
    if loads(dumps(sample)) != sample:
        raise ValueError("the C json functions behave differently here")
    return loads, dumps


try:
    loads, dumps = _fast()
except Exception:  # private names: where they changed, the public package does the same, slower
    from json import dumps, loads  # noqa: F401


def prefix(header: dict[str, object], size: int) -> bytes:
    """A frame without its body of `size` bytes."""
    raw = dumps(header).encode()
    packed: bytes = LENGTHS.pack(len(raw), size) + raw
    return packed
