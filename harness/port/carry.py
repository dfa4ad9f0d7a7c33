"""Reasoning that a later request must hand back, in a form that every client keeps: an opaque text.

Anthropic's `signature` and OpenAI's `encrypted_content` are texts that clients return untouched. What a model's reasoning
needs beyond the dialect's own fields travels in them.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

FIELDS: dict[str, type] = {"reasoning_content": str, "reasoning_details": list, "thinking_blocks": list}
"""The fields of a message that hold reasoning, as litellm names them."""
_MARK = "harness1:"


def reasoning(message: Mapping[str, Any]) -> dict[str, Any]:
    """The reasoning fields of a message: those that are there and of the right type."""
    return {
        name: message[name] for name, kind in FIELDS.items() if isinstance(message.get(name), kind) and message[name]
    }


def summary(message: Mapping[str, Any]) -> str:
    """What a reader may see of it."""
    found = reasoning(message)
    blocks = [block for block in found.get("thinking_blocks", ()) if isinstance(block, dict)]
    return found.get("reasoning_content") or "\n\n".join(str(b["thinking"]) for b in blocks if b.get("thinking"))


def pack(message: Mapping[str, Any]) -> str:
    """The reasoning of a message as one text."""
    return _MARK + base64.b64encode(json.dumps(reasoning(message)).encode()).decode()


def unpack(text: Any) -> dict[str, Any] | None:
    """The reasoning fields again; None for a text that is not ours."""
    if not isinstance(text, str) or not text.startswith(_MARK):
        return None
    try:
        found = json.loads(base64.b64decode(text.removeprefix(_MARK), validate=True))
    except (ValueError, RecursionError):
        return None
    return reasoning(found) if isinstance(found, dict) else None
