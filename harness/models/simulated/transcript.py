"""A conversation folded into what the worker can go by: the scaffold's words, the task, what it ran and saw."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from harness.records import Message, Tool

_CUT = re.compile(
    r"\[[^\]\n]*?(\d+)?[^\]\n]*\b(left out|omitted|truncated|cut)\b[^\]\n]*\]|\b(output|text) truncated\b",
    re.IGNORECASE,
)
_REPEAT = re.compile(r"\b(same command|repeated|already ran|identical|again and again|repeating)\b", re.IGNORECASE)
_CLOSING = re.compile(r"(?:finish|submit|hand in)[^`\n]{0,80}command:? `([^`\n]+)`", re.IGNORECASE)
_TOLD = re.compile(r"<(system-reminder|INSTRUCTIONS)>(.*?)</\1>", re.DOTALL)
"""Standing instructions that coding agents put beside the task: files like CLAUDE.md and AGENTS.md."""
_PARAMETERS = ("command", "cmd", "script", "code", "bash")


@dataclass(frozen=True)
class Transcript:
    """system: every system message and standing instruction; user: what was asked before the first answer; observations:
    what each action of ours brought.
    """

    system: str
    user: str
    observations: tuple[str, ...]


def fold(messages: Sequence[Message]) -> Transcript:
    """One observation per assistant turn that called a tool: the tool messages that follow it, joined.

    Some agents drop a turn that they cannot read and only complain: a user message where an assistant's is due.
    """
    system = "\n\n".join(text_of(m) for m in messages if m.get("role") in ("system", "developer"))
    first = next((n for n, m in enumerate(messages) if m.get("role") == "assistant"), len(messages))
    user = "\n\n".join(text_of(m) for m in messages[:first] if m.get("role") == "user")
    system = "\n\n".join([system, *(found[1] for found in _TOLD.findall(user))])
    observations: list[str] = []
    before = ""
    for number, message in enumerate(messages):
        role = str(message.get("role"))
        if number > first and role == "user" and before in ("user", "tool"):
            observations.append(text_of(message))
        before = role
        if message.get("role") == "assistant" and message.get("tool_calls"):
            observations.append("")
        elif message.get("role") == "tool" and observations:
            observations[-1] += text_of(message)
    return Transcript(system, user, tuple(observations))


def text_of(message: Message) -> str:
    """The text of a message, joined over its parts."""
    content = message.get("content")
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    return "\n".join(str(part.get("text", "")) for part in content if isinstance(part, dict))


@dataclass(frozen=True)
class ShellTool:
    """A tool that takes a shell command. `vague`: its schema says so little that arguments go wrong more often."""

    name: str
    parameter: str
    vague: bool


def shell_tool(tools: Sequence[Tool]) -> ShellTool | None:
    """The first tool with a command parameter, or None."""
    for tool in tools:
        function: dict[str, Any] = tool.get("function") or {}
        properties = (function.get("parameters") or {}).get("properties") or {}
        for parameter in _PARAMETERS:
            if parameter in properties:
                described = bool(properties[parameter].get("description")) and bool(function.get("description"))
                return ShellTool(str(function.get("name")), parameter, not described)
    return None


def closing_command(told: str) -> str:
    """The command by which a conversation says that work is handed in, as agents without a closing message do; else ''."""
    found = _CLOSING.search(told)
    return found.group(1) if found else ""


def was_cut(observation: str) -> bool:
    """Whether an observation says that a part of it was left out."""
    return _CUT.search(observation[-400:]) is not None or _CUT.search(observation) is not None


def says_repeated(observation: str) -> bool:
    """Whether an observation tells the worker that it repeats itself (a loop guard's note)."""
    return _REPEAT.search(observation[-400:]) is not None


def tool_call(tool: ShellTool, command: str, number: int, malformed: bool = False) -> Message:
    """An assistant message with one call. Malformed: the JSON breaks off, as models do."""
    arguments = json.dumps({tool.parameter: command}, ensure_ascii=False)
    call = {"id": f"call_{number}", "type": "function",
            "function": {"name": tool.name, "arguments": arguments[:-2] if malformed else arguments}}  # fmt: skip
    return {"role": "assistant", "content": None, "tool_calls": [call]}
