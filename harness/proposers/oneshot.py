"""The oneshot proposer: one model call that sees the scaffold and the evidence's pages, and answers with edits as JSON."""

from __future__ import annotations

import json
import re
import time
from typing import Any

from pydantic import ValidationError

from harness.broker import Gateway
from harness.errors import InfraError, LimitReached, ProposalError
from harness.proposers.manifest import changes_between
from harness.records import Manifest, ModelCall, Proposal, Usage
from harness.seams import RoundContext

SYSTEM = """You improve a scaffold: the prompts, tools, loop, skills, memory and settings that a language model works in.
Answer with one JSON object: {"manifest": {"title", "mechanism", "hypothesis", "root_cause", "predicted_fixes": [],
"predicted_risks": []}, "edits": [{"path", "text"} for a whole file, or {"path", "find", "replace"} where find occurs exactly
once]}. One mechanism. No task ids, answers or phrases; no raised limits."""
PAGES = ("README.md", "summary.md", "history.md", "rejected.md", "memo.md", "settings.toml")


class OneshotProposer:
    """Implements seams.Proposer with a single completion."""

    kind = "oneshot"

    def __init__(self, gateway: Gateway, alias: str) -> None:
        self._gateway, self._alias = gateway, alias

    async def propose(self, context: RoundContext) -> Proposal:
        """Raises ProposalError for an answer that cannot be applied."""
        begun = time.monotonic()
        call = ModelCall(alias=self._alias, role="proposer", trial=f"proposal/r{context.round:02d}-{context.repair}",
                         seed=context.seed, deadline=begun + 300,
                         messages=({"role": "system", "content": SYSTEM}, {"role": "user", "content": _prompt(context)}))  # fmt: skip
        try:
            reply = await self._gateway.complete(call)
        except (InfraError, LimitReached) as error:
            raise ProposalError(f"the proposer's call failed: {error}", infra=isinstance(error, InfraError)) from error
        return _read(str(reply.message.get("content") or ""), context, reply.usage, time.monotonic() - begun)


def _prompt(context: RoundContext) -> str:
    parts = [f"# evidence/{name}\n\n{(context.evidence / name).read_text('utf-8')}" for name in PAGES]
    parts += [f"# scaffold/{path}\n\n```\n{text}\n```" for path, text in sorted(context.files.items())]
    if context.rejection is not None:
        parts.append(f"# Your last answer was refused\n\n{context.rejection.breach}: {context.rejection.reason}")
    return "\n\n".join(parts)


def _read(text: str, context: RoundContext, usage: Usage, seconds: float) -> Proposal:
    found = re.search(r"\{.*\}", text, re.DOTALL)
    try:
        answer: dict[str, Any] = json.loads(found.group(0)) if found else {}
        json.dumps(answer, ensure_ascii=False).encode()  # half a character can be written to no journal
        after = dict(context.files)
        for edit in answer["edits"]:
            after[edit["path"]] = _edited(after.get(edit["path"]), edit)
        manifest = Manifest.model_validate(answer["manifest"])
        changes = changes_between(context.files, after)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, ValidationError) as error:
        reason = f"the answer is not the JSON that was asked for: {type(error).__name__}: {str(error)[:160]}"
        raise ProposalError(reason, usage=usage) from None
    return Proposal(manifest=manifest, changes=changes, usage=usage, wall_s=round(seconds, 3), kind="oneshot")  # fmt: skip


def _edited(before: str | None, edit: dict[str, Any]) -> str:
    if "text" in edit:
        return str(edit["text"])
    if before is None or before.count(edit["find"]) != 1:
        raise ValueError(
            f"{edit['path']}: the text to find occurs {0 if before is None else before.count(edit['find'])} times"
        )
    return before.replace(edit["find"], edit["replace"])
