"""The archive: everything that a run knows, folded from its journal. Pure; the same events give the same archive."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any

from harness.hashing import digest_json
from harness.records import Candidate, Claim, Decision, Proposal, Rejection, Trial, Usage
from harness.records.events import (
    AuditDone,
    CandidateAdded,
    ClaimMade,
    Event,
    GateDecided,
    MemoWritten,
    ProposalFailed,
    ProposalMade,
    ProposalRefused,
    RoundStarted,
    RunEnded,
    RunResumed,
    RunStarted,
    SealOpened,
    TrialDone,
)


@dataclass(frozen=True)
class RoundState:
    """How far one round got: what resume looks at."""

    number: int
    parent: str
    proposals: tuple[Proposal, ...] = ()
    """By repair."""
    rejections: tuple[Rejection, ...] = ()
    failure: ProposalFailed | None = None
    refused: bool = False
    candidate: Candidate | None = None
    decision: Decision | None = None
    audit: AuditDone | None = None
    memo: str | None = None


@dataclass(frozen=True)
class Archive:
    """Candidates, trials, verdicts, best. Fields are never changed in place; `fold` makes a new one per event."""

    run: str = ""
    experiment: str = ""
    started_at: float = 0.0
    last_at: float = 0.0
    active_s: float = 0.0
    """Seconds that the run was at work: gaps before a resume left out."""
    config: str = ""
    candidates: dict[str, Candidate] = field(default_factory=dict)
    rounds: dict[int, RoundState] = field(default_factory=dict)
    decisions: tuple[Decision, ...] = ()
    trials: dict[str, tuple[Trial, ...]] = field(default_factory=dict)
    """Gate trials by candidate, in order of arrival."""
    other_trials: dict[str, tuple[Trial, ...]] = field(default_factory=dict)
    """Audit, claim, attribution and eval trials by purpose."""
    trial_rounds: dict[str, int] = field(default_factory=dict)
    """Round in which each gate trial was measured, by trial key."""
    broken: Usage = Usage()
    """Of trials that infrastructure broke and that a later launch measures again."""
    audits: tuple[AuditDone, ...] = ()
    champions: tuple[str, ...] = ()
    """Parents in order of reign; the last is the parent of the next round and the best."""
    seals: int = 0
    claims: tuple[Claim, ...] = ()
    ended: RunEnded | None = None

    @property
    def best(self) -> str:
        """The candidate that reigns: the last one kept and not rolled back."""
        return self.champions[-1] if self.champions else ""

    @property
    def seed(self) -> str:
        """The seed scaffold's candidate id."""
        return next(iter(self.candidates), "")

    @property
    def proposals(self) -> dict[int, Proposal]:
        """The last proposal of each round that has one."""
        return {number: state.proposals[-1] for number, state in self.rounds.items() if state.proposals}

    @property
    def rejections(self) -> tuple[tuple[int, Rejection], ...]:
        return tuple((n, rejection) for n, state in sorted(self.rounds.items()) for rejection in state.rejections)

    @property
    def memos(self) -> tuple[tuple[int, str], ...]:
        return tuple((n, state.memo) for n, state in sorted(self.rounds.items()) if state.memo is not None)

    @property
    def variance(self) -> tuple[float, float]:
        """The gate's pooled variance state (V, n); selection.md section 5 gives the prior."""
        known = [decision.variance for decision in self.decisions if decision.variance is not None]
        return known[-1] if known else (4.5, 30.0)

    @property
    def all_trials(self) -> tuple[Trial, ...]:
        gate = [trial for trials in self.trials.values() for trial in trials]
        return tuple(gate) + tuple(trial for trials in self.other_trials.values() for trial in trials)

    @property
    def finished(self) -> frozenset[str]:
        """Keys of journalled trials."""
        return frozenset(trial.spec.key for trial in self.all_trials)

    def parent_of(self, candidate: str) -> str | None:
        return self.candidates[candidate].parent

    def decision_of(self, candidate: str) -> Decision | None:
        """The last decision on a candidate."""
        return next((d for d in reversed(self.decisions) if d.candidate == candidate), None)

    def spent(self, role: str | None = None) -> Usage:
        """Usage of workers, of proposers, or of both (None)."""
        total = Usage()
        if role in (None, "worker"):
            total += self.broken
            for trial in self.all_trials:
                total += trial.usage
        if role in (None, "proposer"):
            for state in self.rounds.values():
                for proposal in state.proposals:
                    total += proposal.usage
                if state.failure is not None:
                    total += state.failure.usage
        return total

    def fingerprint(self) -> str:
        """Digest of candidates, scores and decisions, times left out: equal for two runs that went the same way."""
        return digest_json(
            {
                "candidates": [c.model_dump(exclude={"commit"}) for c in self.candidates.values()],
                "trials": sorted([t.spec.key, t.outcome, t.score, t.steps] for t in self.all_trials),
                "decisions": [_timeless(d.model_dump(mode="json")) for d in self.decisions],
                "claims": [_timeless(c.model_dump(mode="json")) for c in self.claims],
                "best": self.best,
            }
        )


def _timeless(dump: dict[str, Any]) -> dict[str, Any]:
    return {key: round(value, 9) if isinstance(value, float) else value for key, value in dump.items()}


def fold(events: Iterable[Event], archive: Archive | None = None) -> Archive:
    """Fold events, in order, into an archive. Linear: trials in a row are taken in one step."""
    state = archive or Archive()
    for are_trials, group in groupby(events, key=lambda event: isinstance(event, TrialDone)):
        if are_trials:
            state = _trials(state, [event for event in group if isinstance(event, TrialDone)])
            continue
        for event in group:
            state = _step(_at(state, (event,)), event)
    return state


def _at(state: Archive, events: Sequence[Event]) -> Archive:
    """The clock: gaps before a launch are no work, nor is a clock that was set; time goes on from where it was set to."""
    active, last = state.active_s, state.last_at
    for event in events:
        active += 0.0 if isinstance(event, RunStarted | RunResumed) else max(0.0, event.at - last)
        last = event.at
    return replace(state, last_at=last, active_s=active)


def _step(state: Archive, event: Event) -> Archive:
    if isinstance(event, ProposalMade | ProposalRefused | ProposalFailed | RoundStarted | MemoWritten):
        return _round_step(state, event)
    match event:
        case RunStarted():
            return replace(state, run=event.run, experiment=event.experiment, config=event.config, started_at=event.at)
        case RunResumed():
            return _mended(replace(state, ended=None))
        case CandidateAdded():
            return _candidate(state, event)
        case TrialDone():
            return _trials(state, [event])
        case GateDecided():
            return _decided(state, event.decision)
        case AuditDone():
            return _audited(state, event)
        case SealOpened():
            return replace(state, seals=event.opened)
        case ClaimMade():
            return replace(state, claims=(*state.claims, event.claim))
        case RunEnded():
            return replace(state, ended=event)


def _mended(state: Archive) -> Archive:
    """A launch that goes on measures again what infrastructure broke, where nothing was decided on it yet: in the round that
    is under way, in the seed's first pass, in a claim that was begun. What that had cost is kept.
    """
    undecided = {n for n, each in state.rounds.items() if each.decision is None} or ({0} if not state.rounds else set())
    again = {trial.spec.key for trials in state.trials.values() for trial in trials
             if trial.outcome == "infra_error" and state.trial_rounds[trial.spec.key] in undecided}  # fmt: skip
    if state.seals > len(state.claims):
        again |= {t.spec.key for t in state.other_trials.get("claim", ()) if t.outcome == "infra_error"}
    if not again:
        return state
    gone = [trial for trial in state.all_trials if trial.spec.key in again]
    kept, other = ({name: tuple(t for t in trials if t.spec.key not in again) for name, trials in each.items()}
                   for each in (state.trials, state.other_trials))  # fmt: skip
    return replace(
        state, broken=sum((trial.usage for trial in gone), state.broken), trials=kept, other_trials=other,
        trial_rounds={key: number for key, number in state.trial_rounds.items() if key not in again},
    )  # fmt: skip


def _round_step(
    state: Archive, event: ProposalMade | ProposalRefused | ProposalFailed | RoundStarted | MemoWritten
) -> Archive:
    before = state.rounds.get(event.round)
    match event:
        case RoundStarted():
            return _round(state, event.round, parent=event.parent)
        case ProposalMade():
            made = before.proposals if before else ()
            return _round(state, event.round, proposals=(*made, event.proposal))
        case ProposalRefused():
            refused = before.rejections if before else ()
            return _round(state, event.round, rejections=(*refused, event.rejection), refused=event.final)
        case ProposalFailed():
            return _round(state, event.round, failure=event)
        case MemoWritten():
            return _round(state, event.round, memo=event.text)


def _round(state: Archive, number: int, **changes: Any) -> Archive:
    before = state.rounds.get(number) or RoundState(number=number, parent=state.best)
    return replace(state, rounds={**state.rounds, number: replace(before, **changes)})


def _candidate(state: Archive, event: CandidateAdded) -> Archive:
    added = event.candidate
    state = replace(state, candidates={**state.candidates, added.id: added})
    if added.parent is None:
        return replace(state, champions=(added.id,))
    return _round(state, added.round, candidate=added)


def _trials(state: Archive, events: Sequence[TrialDone]) -> Archive:
    gate: dict[str, list[Trial]] = {}
    other: dict[str, list[Trial]] = {}
    for event in events:
        if event.purpose == "gate":
            gate.setdefault(event.trial.spec.candidate, []).append(event.trial)
        else:
            other.setdefault(event.purpose, []).append(event.trial)
    return replace(
        _at(state, events),
        trials={**state.trials, **{name: (*state.trials.get(name, ()), *new) for name, new in gate.items()}},
        other_trials={
            **state.other_trials,
            **{name: (*state.other_trials.get(name, ()), *new) for name, new in other.items()},
        },
        trial_rounds={**state.trial_rounds, **{e.trial.spec.key: e.round for e in events if e.purpose == "gate"}},
    )


def _decided(state: Archive, decision: Decision) -> Archive:
    state = replace(state, decisions=(*state.decisions, decision))
    if decision.round in state.rounds:
        state = _round(state, decision.round, decision=decision)
    if decision.verdict == "keep":
        return replace(state, champions=(*state.champions, decision.candidate))
    return state


def _audited(state: Archive, event: AuditDone) -> Archive:
    state = replace(state, audits=(*state.audits, event))
    if event.round in state.rounds:
        state = _round(state, event.round, audit=event)
    return state if event.passed else replace(state, champions=(*state.champions, event.ancestor))
