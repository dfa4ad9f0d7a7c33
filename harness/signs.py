"""Failure signs: what went wrong in what an agent did, counted from its trajectory. They know nothing of the verifier."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

SIGNS = {
    "output_truncated": "a command's output was cut off and the rest was never looked at",
    "repeated_command": "the same command ran three times or more in a row",
    "no_check_after_last_edit": "nothing was run after the last edit: the work was handed in unchecked",
    "sources_unread": "files were listed but hardly any was read before the first edit",
    "limit_reached": "a limit ended the agent",
    "command_failed": "a command failed",
    "malformed_tool_call": "a tool call could not be read",
    "empty_reply": "the model answered without content and without a tool call",
}
_CUT = re.compile(r"left out|truncated|omitted|more lines\]", re.IGNORECASE)
_EDIT = re.compile(r"(>\s*[^&\s/]|<<\s*['\"]?\w+|\bsed -i|\bwrite_text|\.save\(|open\([^)]*['\"]w)")
_READ = re.compile(r"\b(cat|sed -n|tail|head|less|zcat|awk|grep)\b")


def signs_of(document: Mapping[str, Any], flags: Sequence[str] = ()) -> Counter[str]:
    """Signs of one ATIF document, each counted as often as it occurred."""
    found: Counter[str] = Counter()
    calls = list(_calls(document))
    commands = [command for command, _ in calls]
    for command, output in calls:
        if output.rstrip().endswith("]") and re.search(r"\[exit code (?!0\])\S+\]\s*$", output):
            found["command_failed"] += 1
        if output.startswith("error: ") or '"malformed"' in command:
            found["malformed_tool_call"] += 1
    cut = [i for i, (_, output) in enumerate(calls) if _CUT.search(output[-300:]) or _CUT.search(output[:0])]
    found["output_truncated"] += sum(not _looked_again(calls, i) for i in cut)
    found["repeated_command"] += sum(a == b == c for a, b, c in zip(commands, commands[1:], commands[2:], strict=False))
    edits = [i for i, command in enumerate(commands) if _EDIT.search(command)]
    if edits and edits[-1] == len(commands) - 1:
        found["no_check_after_last_edit"] += 1
    first = edits[0] if edits else len(commands)
    if edits and sum(bool(_READ.search(command)) for command in commands[:first]) <= 1:
        found["sources_unread"] += 1
    found["limit_reached"] += sum("limit" in flag for flag in flags)
    found["empty_reply"] += sum(step.get("source") == "agent" and not step.get("message") and not step.get("tool_calls")
                                for step in document.get("steps", ()))  # fmt: skip
    return Counter({name: n for name, n in found.items() if n})


def _looked_again(calls: Sequence[tuple[str, str]], index: int) -> bool:
    """Whether a later command paged on in what was cut: it contains the command, or reads with an offset."""
    later = [command for command, _ in calls[index + 1 : index + 3]]
    return any("tail -c +" in command or re.search(r"sed -n", command) for command in later)


def _calls(document: Mapping[str, Any]) -> Sequence[tuple[str, str]]:
    """(arguments as text, output) of every tool call, in order."""
    found: list[tuple[str, str]] = []
    for step in document.get("steps", ()):
        outputs = {r.get("source_call_id"): str(r.get("content") or "")
                   for r in (step.get("observation") or {}).get("results", [])}  # fmt: skip
        for call in step.get("tool_calls") or []:
            arguments = call.get("arguments") or {}
            command = arguments.get("command")
            text = command if isinstance(command, str) else json.dumps(arguments)
            found.append((text, outputs.get(call.get("tool_call_id"), "")))
    return found
