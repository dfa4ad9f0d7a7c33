"""One model call: what is asked, what came back. Messages and tools are OpenAI chat-completions shapes."""

from __future__ import annotations

from typing import Any, Literal

from harness.records.base import Origin, Record, Role
from harness.records.usage import Usage

Message = dict[str, Any]
"""{"role", "content", "tool_calls"?, "tool_call_id"?, "reasoning_content"?} as in chat completions."""
Tool = dict[str, Any]
"""{"type": "function", "function": {"name", "description", "parameters"}}."""


class Sampling(Record):
    """Sampling settings that a scaffold may set; None leaves the provider's default."""

    temperature: float | None = None
    top_p: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] | None = None


class ModelRequest(Record):
    """What an adapter gets. `model` is the full name (simulated/medium, openai/x); no alias, no key."""

    model: str
    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    sampling: Sampling = Sampling()
    seed: int | None = None
    api_base: str | None = None
    reasoning_effort: str | None = None
    time_limit: float = 120.0
    """Seconds for this try; the adapter gives up after it with a `timeout` fault."""


class ModelReply(Record):
    """A well-formed answer. `message` has role assistant, content (str or None) and maybe tool_calls."""

    message: Message
    finish: Literal["stop", "tool_calls", "length", "content_filter"] = "stop"
    usage: Usage
    origin: Origin
    served: str = ""
    """The model id that the server says it served."""
    seed_honoured: bool = True


class ModelCall(Record):
    """What the gateway gets from a broker: an alias, and for whom the call is."""

    alias: str
    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    sampling: Sampling = Sampling()
    seed: int
    role: Role = "worker"
    trial: str
    """Trial key, or proposal key, in the journal."""
    deadline: float
    """Monotonic time (time.monotonic) at which the trial's time limit ends."""
