"""The embedded simulated model: deterministic, free, labelled `simulated` everywhere.

It plays worker and proposer over the same protocol as a real one, and says nothing about any real model. A pure
function of the request (docs/simulated-model.md); standard library only.
"""

from __future__ import annotations

from collections import Counter

from harness.errors import ModelFault
from harness.models.simulated.ladder import NAMES, Ability, ability_of
from harness.models.simulated.noise import Noise, canonical, served_name, uniform
from harness.models.simulated.proposer import is_proposer, propose_reply
from harness.models.simulated.rules import read_rules
from harness.models.simulated.skills import find_skill
from harness.models.simulated.transcript import closing_command, fold, shell_tool, tool_call
from harness.models.simulated.worker import MALFORMED, Worker, next_command
from harness.records import Message, ModelReply, ModelRequest, Usage

__all__ = ["NAMES", "SimulatedModel"]

_FAULTS = ("rate_limit", "server", "timeout", "malformed")


class SimulatedModel:
    """Implements seams.Model. Raises UsageError for a name that is not on the ladder."""

    def __init__(self, name: str) -> None:
        self._ability = ability_of(name)
        self._seen: Counter[str] = Counter()

    async def complete(self, request: ModelRequest) -> ModelReply:
        """One reply. `simulated/flaky` raises ModelFaults on a schedule of its own; the others never do."""
        ability = ability_of(request.model)
        if ability.faults:
            self._maybe_fault(request, ability)
        return answer(request, ability)

    def _maybe_fault(self, request: ModelRequest, ability: Ability) -> None:
        key = canonical(request)
        self._seen[key] += 1
        if uniform(key, self._seen[key], "fault") < ability.faults:
            kind = _FAULTS[int(uniform(key, self._seen[key], "kind") * len(_FAULTS))]
            raise ModelFault(kind, "simulated fault", retry_after=0.05 if kind == "rate_limit" else None)  # type: ignore[arg-type]


def answer(request: ModelRequest, ability: Ability) -> ModelReply:
    """The reply to a request: pure."""
    message = propose_reply(request, ability) if is_proposer(request) else _work(request, ability)
    text = str(message.get("content") or "") + "".join(
        c["function"]["arguments"] for c in message.get("tool_calls") or []
    )
    finish = "tool_calls" if message.get("tool_calls") else "stop"
    limit = request.sampling.max_tokens
    if limit is not None and len(text) // 4 > limit:
        message, finish, text = {"role": "assistant", "content": text[: limit * 4]}, "length", text[: limit * 4]
    prompt = sum(len(str(m.get("content") or "")) + len(str(m.get("tool_calls") or "")) for m in request.messages)
    usage = Usage(calls=1, tokens_in=max(1, prompt // 4), tokens_out=max(1, len(text) // 4), usd=0.0)
    return ModelReply(message=message, finish=finish, usage=usage, origin="simulated",
                      served=f"simulated/{served_name(request.model)}")  # fmt: skip


def _work(request: ModelRequest, ability: Ability) -> Message:
    transcript = fold(request.messages)
    skill, tool = find_skill(transcript.user), shell_tool(request.tools)
    if skill is None or tool is None:
        what = "a tool that runs shell commands" if tool is None else "this kind of task"
        return {"role": "assistant", "content": f"I cannot do this: I know nothing of {what}."}
    noise = Noise.of(request, transcript.system, transcript.user)
    temperature = request.sampling.temperature if request.sampling.temperature is not None else 1.0
    worker = Worker(skill, ability, read_rules(transcript.system), noise, temperature)
    command, over = next_command(worker, transcript.observations)
    number = len(transcript.observations)
    if over:
        closing = closing_command(transcript.system + "\n" + transcript.user)
        return tool_call(tool, closing, number) if closing else {"role": "assistant", "content": command}
    vague = tool.vague and noise.happens(f"vague {number}", 0.08)
    return tool_call(tool, command.removeprefix(MALFORMED), number, malformed=vague or command.startswith(MALFORMED))
