"""One model call: what is asked, what came back. Messages and tools are OpenAI chat-completions shapes."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ConfigDict, Field

from harness.records.base import Origin, Record, Role
from harness.records.usage import Usage

Message = dict[str, Any]
"""{"role", "content", "tool_calls"?, "tool_call_id"?, "reasoning_content"?} as in chat completions.

What belongs to one provider travels in litellm's fields: `thinking_blocks` (with signatures), `reasoning_details`, and
`cache_control` on a part of the content or on a tool.
"""
Tool = dict[str, Any]
"""{"type": "function", "function": {"name", "description", "parameters"}}."""


class Sampling(Record):
    """Sampling settings that a scaffold may set; None leaves the provider's default."""

    model_config = ConfigDict(allow_inf_nan=False)

    temperature: float | None = None
    top_p: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    max_tokens: int | None = Field(default=None, ge=1, le=1_000_000)
    stop: tuple[str, ...] | None = None


class Shape(Record):
    """What a caller may ask of the form of an answer, as in chat completions; None leaves it to the provider."""

    tool_choice: Literal["auto", "none", "required"] | dict[str, Any] | None = None
    """A word, or {"type": "function", "function": {"name"}}."""
    parallel_tool_calls: bool | None = None
    response_format: dict[str, Any] | None = None


class ModelRequest(Record):
    """What an adapter gets. `model` is the full name (simulated/medium, openai/x); no alias, no key."""

    model: str
    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    sampling: Sampling = Sampling()
    shape: Shape = Shape()
    seed: int | None = None
    api_base: str | None = None
    reasoning_effort: str | None = None
    time_limit: float = 120.0
    """Seconds for this try; the adapter gives up after it with a `timeout` fault."""
    trial: str = ""
    """For whom the call is, its ordinal there and the number of this try: what recordings go by, and no model's business."""
    call: int = 0
    number: int = 1


class ModelReply(Record):
    """A well-formed answer. `message` has role assistant, content (str or None) and maybe tool_calls."""

    message: Message
    finish: Literal["stop", "tool_calls", "length", "content_filter"] = "stop"
    usage: Usage
    origin: Origin
    served: str = ""
    """The model id that the server says it served."""
    seed_honoured: bool = True


class Prompt(Record):
    """What a program asks of a model, through the SDK or the model port: an alias, and everything that it may choose."""

    alias: str
    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    sampling: Sampling = Sampling()
    shape: Shape = Shape()


class ModelCall(Prompt):
    """What the gateway gets from a broker: a prompt, and for whom the call is."""

    seed: int
    role: Role = "worker"
    trial: str
    """Trial key, or proposal key, in the journal."""
    call: int = 0
    """Ordinal of the call in its session; tries of one call share it."""
    deadline: float
    """Monotonic time (time.monotonic) at which the trial's time limit ends."""
