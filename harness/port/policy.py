"""What passes the model port: declared models, tools that the agent runs itself, parameters that are a scaffold's to set.

Reasoning effort, price and budget are the experiment's; what the provider would run for the agent reaches the network.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from harness.broker import Refused
from harness.port.dialect import Json, refuse

IMAGE = "images and other files do not pass the model port: send text"
_SILENT = frozenset({"metadata", "user", "service_tier", "store", "include", "stream_options", "safety_identifier",
                     "prompt_cache_key", "prompt_cache_retention", "client_metadata"})  # fmt: skip
"""Left out without a word: they change nothing that a model sees."""


def alias_of(name: Any, models: Mapping[str, str]) -> str:
    """The declared alias that a client's model name means: an alias, else a declared model's name, with its provider or without.

    Raises Refused (not_found), so that an undeclared model is an error in the agent's own log, never a silent swap.
    """
    if isinstance(name, str) and name:
        short = {alias: real.partition("/")[2] for alias, real in models.items()}
        for names in ({alias: alias for alias in models}, models, short):
            for alias, known in names.items():
                if known == name:
                    return alias
    declared = ", ".join(models)
    raise Refused("not_found", f"model {str(name)[:80]!r} is not declared in this experiment; there are: {declared}")


def left_out(body: Json, known: frozenset[str]) -> tuple[str, ...]:
    """A note for every parameter that is not passed on."""
    return tuple(
        f"left out parameter {name[:60]!r}"
        for name, value in sorted(body.items())
        if name not in known and name not in _SILENT and value is not None
    )


def stripped(tool: Json) -> str:
    """The note for a tool that is not passed on."""
    return f"left out tool {str(tool.get('type'))[:60]!r}: only functions that the agent runs itself pass"


def forced(name: Any, tools: list[Json]) -> Json:
    """A tool choice that names a function. Raises Refused when that function is not among those passed on."""
    if name not in [tool["function"]["name"] for tool in tools]:
        raise refuse(f"tool_choice forces {str(name)[:80]!r}, which is no function that this port passes on")
    return {"type": "function", "function": {"name": name}}


def choice(word: Any, tools: list[Json], dropped: bool) -> Literal["auto", "none", "required"] | None:
    """A tool choice that is a word. Raises Refused when the only tools that it could force were left out."""
    if word not in ("auto", "none", "required"):
        raise refuse(f"tool_choice {str(word)[:80]!r} does not pass the model port")
    if word == "required" and not tools:
        why = "were left out: the provider would run them" if dropped else "are none"
        raise refuse(f"tool_choice requires a tool, and the tools {why}")
    found: Literal["auto", "none", "required"] = word
    return found if tools else None


def refuse_present(body: Json, names: Mapping[str, str]) -> None:
    """Raise Refused for a parameter whose loss would change what the request means; `names` says what to do instead."""
    for name, instead in names.items():
        if body.get(name):
            raise refuse(f"{name} does not pass the model port: {instead}")
