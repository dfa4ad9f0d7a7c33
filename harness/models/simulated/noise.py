"""The simulated model's noise: a pure function of a canonical form of the request (BLAKE2b, never hash()).

Two parts. The shared part hangs on model, task text and seed, so that paired arms correlate as real ones do. The jitter
part hangs on everything that the scaffold says and sets, so that even a placebo flips a few trials.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from harness.records import Message, ModelRequest, Tool

JITTER = 0.05
"""Share of draws that come from the jitter part."""

_TEMPORARY = re.compile(r"/tmp/[A-Za-z0-9_.\-]+|\b\d+\.\d+ ?s(?:econds)?\b|0x[0-9a-f]{6,}")


def uniform(*parts: object) -> float:
    """A number in [0, 1) from the text of the parts."""
    data = "\x1f".join(str(part) for part in parts).encode("utf-8", "replace")
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big") / 2**64


def served_name(model: str) -> str:
    """medium, openai/medium and simulated/medium are one model."""
    return model.rpartition("/")[2]


def canonical_messages(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Messages without call ids and nulls; durations and temporary names in observations normalised."""
    found = []
    for message in messages:
        kept: dict[str, Any] = {"role": message.get("role"), "content": _normal(message.get("content"))}
        calls = [[c["function"].get("name"), c["function"].get("arguments")] for c in message.get("tool_calls") or []]
        if calls:
            kept["calls"] = calls
        found.append(kept)
    return found


def _normal(content: Any) -> Any:
    if content is None:
        return ""
    return _TEMPORARY.sub("~", content) if isinstance(content, str) else content


def canonical(request: ModelRequest) -> str:
    """The request as text: what the flaky model's schedule and the golden tests hash."""
    return json.dumps(
        [served_name(request.model), canonical_messages(request.messages), list(request.tools),
         request.sampling.model_dump(exclude_none=True), request.seed], sort_keys=True, ensure_ascii=False, default=str,
    )  # fmt: skip


@dataclass(frozen=True)
class Noise:
    """The draws of one conversation: constant over its calls."""

    shared: str
    jitter: str

    @classmethod
    def of(cls, request: ModelRequest, system: str, user: str) -> Noise:
        """From the model, the first user message and the seed; and from the scaffold's words, tools and sampling."""
        name = served_name(request.model)
        tools: Sequence[Tool] = request.tools
        words = json.dumps(
            [system, list(tools), request.sampling.model_dump(exclude_none=True)], sort_keys=True, default=str
        )
        return cls(
            shared=f"{name}\x1f{user}\x1f{request.seed}", jitter=f"{name}\x1f{user}\x1f{request.seed}\x1f{words}"
        )

    def draw(self, purpose: str) -> float:
        """A number in [0, 1) for one purpose."""
        if uniform(self.jitter, "which", purpose) < JITTER:
            return uniform(self.jitter, purpose)
        return uniform(self.shared, purpose)

    def happens(self, purpose: str, probability: float) -> bool:
        return self.draw(purpose) < probability
