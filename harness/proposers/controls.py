"""Control proposers: placebo (an edit that does nothing) and random (an edit that nobody thought about)."""

from __future__ import annotations

import re

from harness.draws import generator
from harness.errors import ProposalError
from harness.proposers.manifest import changes_between
from harness.records import Manifest, Proposal
from harness.seams import RoundContext

_NEUTRAL = (
    "Thank you for your work.", "The tasks come from different people.", "Each task stands for itself.",
    "Work in the way that suits you.", "There is no hurry and no delay.", "The sandbox is yours for this task.",
)  # fmt: skip
_SENTENCES = (
    "Use as few commands as you can.", "Write short files.", "Prefer Python to shell.", "Prefer shell to Python.",
    "Say what you do before you do it.", "Do one thing at a time.", "List the files first.", "Check your result.",
    "Read the documents first.", "Explain your reasoning.",
)  # fmt: skip


class PlaceboProposer:
    """Appends a sentence that asks for nothing. What it gains is what noise gains."""

    kind = "placebo"

    async def propose(self, context: RoundContext) -> Proposal:
        sentence = generator(context.seed, "placebo").choice(_NEUTRAL) + f" (note {context.round})"
        return _append(context, self.kind, sentence, "placebo: a neutral sentence", "none: this edit is a control")


class RandomProposer:
    """A random sentence in the prompt, or a random temperature: what search without thought gains."""

    kind = "random"

    async def propose(self, context: RoundContext) -> Proposal:
        luck = generator(context.seed, "random")
        settings = context.files.get("scaffold.toml", "")
        if luck.random() < 0.3 and re.search(r"^temperature = .*$", settings, re.MULTILINE):
            value = luck.choice([0.0, 0.2, 0.4, 0.6, 0.8, 1.2])
            edited = re.sub(r"^temperature = .*$", f"temperature = {value}", settings, flags=re.MULTILINE)
            after = {**context.files, "scaffold.toml": edited}
            manifest = Manifest(title=f"random: temperature {value}", mechanism="a drawn temperature",
                                components=("scaffold.toml",))  # fmt: skip
            return Proposal(manifest=manifest, changes=changes_between(context.files, after), kind=self.kind)
        return _append(context, self.kind, luck.choice(_SENTENCES), "random: a drawn sentence", "a drawn sentence")


def _append(context: RoundContext, kind: str, sentence: str, title: str, mechanism: str) -> Proposal:
    prompts = sorted(path for path in context.files if path.startswith("prompts/") and path.endswith(".md"))
    if not prompts:
        raise ProposalError(f"{kind}: the scaffold has no prompts/*.md to edit")
    path = "prompts/system.md" if "prompts/system.md" in prompts else prompts[0]
    after = {**context.files, path: context.files[path].rstrip("\n") + f"\n{sentence}\n"}
    manifest = Manifest(title=f"{title}", mechanism=mechanism, components=(path,))
    return Proposal(manifest=manifest, changes=changes_between(context.files, after), kind=kind)
