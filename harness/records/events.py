"""The journal's lines: a tagged union with a schema number."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from harness.records.base import Record
from harness.records.candidates import Candidate, Proposal, Rejection
from harness.records.decisions import Claim, Decision
from harness.records.trials import Trial
from harness.records.usage import Usage

SCHEMA: Literal[1] = 1


class _Event(Record):
    seq: int = 0
    """Position in the journal, from 1; given by the journal."""
    at: float = 0.0
    """Seconds since the epoch; given by the journal."""


class RunStarted(_Event):
    """First line of every journal. `config` and `lock` are digests of experiment and lock.json."""

    type: Literal["run.started"] = "run.started"
    schema_: Literal[1] = Field(default=SCHEMA, alias="schema")
    run: str
    experiment: str
    config: str
    lock: str
    planned_trials: int | None = None
    """Of an evaluation; a run decides as it goes."""


class RunResumed(_Event):
    type: Literal["run.resumed"] = "run.resumed"
    finished_trials: int
    planned_trials: int | None = None


class CandidateAdded(_Event):
    """A scaffold version is in the lineage. The seed comes first, as c0000 in round 0."""

    type: Literal["candidate.added"] = "candidate.added"
    candidate: Candidate


class RoundStarted(_Event):
    type: Literal["round.started"] = "round.started"
    round: int
    parent: str


class ProposalMade(_Event):
    """Journalled before validation, so that a proposal is never paid for twice. `repair` counts repairs, 0..2."""

    type: Literal["proposal.made"] = "proposal.made"
    round: int
    repair: int = 0
    proposal: Proposal


class ProposalRefused(_Event):
    """Validation failed; the proposer may repair until `final`."""

    type: Literal["proposal.refused"] = "proposal.refused"
    round: int
    repair: int
    rejection: Rejection
    final: bool


class ProposalFailed(_Event):
    """The proposer itself broke (no manifest, ran out of a limit, infrastructure)."""

    type: Literal["proposal.failed"] = "proposal.failed"
    round: int
    repair: int = 0
    reason: str
    infra: bool = False
    usage: Usage = Usage()


class TrialDone(_Event):
    type: Literal["trial.done"] = "trial.done"
    round: int
    purpose: Literal["gate", "audit", "claim", "attribution", "eval"] = "gate"
    trial: Trial


class GateDecided(_Event):
    type: Literal["gate.decided"] = "gate.decided"
    decision: Decision


class AuditDone(_Event):
    """The champion against the last audited ancestor on val; a failed audit rolls back to `ancestor`."""

    type: Literal["audit.done"] = "audit.done"
    round: int
    champion: str
    ancestor: str
    passed: bool
    delta: float
    lower: float
    upper: float
    train_gain: float
    pairs: int


class MemoWritten(_Event):
    """The round's memory: facts from the harness, self-criticism from the model. Text in notes/."""

    type: Literal["memo.written"] = "memo.written"
    round: int
    text: str


class SealOpened(_Event):
    """The sealed split is about to be used; written before the first trial of a claim."""

    type: Literal["seal.opened"] = "seal.opened"
    best: str
    baseline: str
    opened: int


class ClaimMade(_Event):
    type: Literal["claim.made"] = "claim.made"
    claim: Claim


class RunEnded(_Event):
    """`reason`: rounds, trials, usd, tokens, hours, patience, recording; of an evaluation done, budget, infra."""

    type: Literal["run.ended"] = "run.ended"
    reason: str
    best: str


Event = Annotated[
    RunStarted
    | RunResumed
    | CandidateAdded
    | RoundStarted
    | ProposalMade
    | ProposalRefused
    | ProposalFailed
    | TrialDone
    | GateDecided
    | AuditDone
    | MemoWritten
    | SealOpened
    | ClaimMade
    | RunEnded,
    Field(discriminator="type"),
]
EVENTS: TypeAdapter[Event] = TypeAdapter(Event)
