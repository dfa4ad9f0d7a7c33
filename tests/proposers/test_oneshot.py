"""The oneshot proposer: an answer that cannot be applied or written down is a ProposalError, never a crash."""

import asyncio
import json

import pytest

from harness.errors import ProposalError
from harness.proposers.oneshot import PAGES, OneshotProposer
from harness.records import Candidate, ModelReply, Usage
from harness.records.events import EVENTS, ProposalMade
from harness.seams import RoundContext

MANIFEST = {"title": "t", "mechanism": "m", "hypothesis": "h", "root_cause": "r"}
GOOD = {"manifest": MANIFEST, "edits": [{"path": "prompts/system.md", "text": "new"}]}


class Says:
    def __init__(self, text):
        self.text = text

    async def complete(self, call):
        return ModelReply(
            message={"role": "assistant", "content": self.text}, usage=Usage(calls=1, tokens_in=7), origin="live"
        )


def propose(folder, text):
    for page in PAGES:
        (folder / page).write_text("nothing")
    parent = Candidate(id="c0000", parent=None, commit="x", digest="x", title="seed", round=0)
    context = RoundContext(round=1, parent=parent, files={"prompts/system.md": "old"}, evidence=folder, editable=("**",), seed=1,
                           repair=0, rejection=None, previous=None)  # fmt: skip
    return asyncio.run(OneshotProposer(Says(text), "main").propose(context))


def test_an_answer_is_read_and_can_be_journalled(tmp_path):
    proposal = propose(tmp_path, f"Here it is: {json.dumps(GOOD)}")
    assert [(change.path, change.text) for change in proposal.changes] == [("prompts/system.md", "new")]
    assert EVENTS.dump_json(ProposalMade(round=1, proposal=proposal))


@pytest.mark.parametrize(
    "answer",
    [
        "no", json.dumps({**GOOD, "edits": [{"path": 5, "text": "x"}]}), json.dumps({**GOOD, "edits": [{"path": "a.md", "text": "\ud800"}]}),
        json.dumps({**GOOD, "manifest": {**MANIFEST, "title": "\ud800"}}), '{"a":' * 10**5 + "1" + "}" * 10**5,
    ],
)  # fmt: skip
def test_an_answer_that_cannot_be_used_is_refused_with_what_it_has_cost(tmp_path, answer):
    with pytest.raises(ProposalError) as caught:
        propose(tmp_path, answer)
    assert caught.value.usage.tokens == 7
