"""The run: rounds straight down, then the claim. Resume is: replay the journal, do the first step that is missing.

Every step asks the archive whether its event is there; nothing else remembers anything.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from harness.archive import Archive, RoundState, fold
from harness.audits import audit_specs, audit_verdict, due_for_audit
from harness.claims import ClaimPlan, claim_specs, make_claim, matched_specs
from harness.draws import draw, draw_int
from harness.duels import make_duel
from harness.errors import InfraError, ProposalError
from harness.hashing import digest_texts
from harness.journal import Journal
from harness.lineage import Lineage
from harness.paths import RunPaths
from harness.records import (
    Breach,
    Candidate,
    Claim,
    Decision,
    Experiment,
    Proposal,
    Rejection,
    Split,
    Suite,
    Trial,
    TrialSpec,
    Unit,
    Usage,
    Verdict,
)
from harness.records.decisions import Reason
from harness.records.events import (
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
    SealOpened,
    TrialDone,
)
from harness.seams import Duel, Executor, Gate, Proposer, RoundContext, Selector, Tracker
from harness.stopping import stop_reason

Purpose = Literal["gate", "audit", "claim"]

FAULTS = 3
"""Rounds in a row whose proposer infrastructure broke: then the run stops, as the next would be lost too."""
REPAIRS = 2
"""How often a refused proposal may be repaired."""


async def _at_once() -> None:
    """What is always ready."""


@dataclass(frozen=True)
class Effects:
    """What the loop lets others do. Bound to concrete classes in wiring.py only."""

    run_trial: Callable[[TrialSpec], Awaitable[Trial]]
    executor: Executor
    proposer: Proposer
    build_evidence: Callable[[Archive, str, int], Path]
    validate: Callable[[Archive, str, dict[str, str]], Awaitable[Rejection | None]]
    write_memo: Callable[[Archive, int], Awaitable[str]]
    score_predictions: Callable[[Archive, Decision], Decision]
    """The decision with the scores of its manifest's predictions."""
    ready: Callable[[], Awaitable[None]] = _at_once
    """Waits until models can be asked at all; raises InfraError when they ask for too much patience."""
    spent_out: Callable[[], str] = lambda: ""
    """The cap that has refused a call or a trial (usd, tokens, hours), or ''."""
    listeners: Sequence[Tracker] = ()
    last_round: int | None = None
    """A replay ends with the last round that was recorded whole."""


class Loop:
    """One run of one experiment. `run` returns the archive at its end."""

    def __init__(
        self,
        experiment: Experiment,
        suite: Suite,
        seed_files: dict[str, str],
        paths: RunPaths,
        journal: Journal,
        archive: Archive,
        gate: Gate,
        selector: Selector,
        effects: Effects,
        families: Mapping[str, str],
    ) -> None:
        self.experiment = experiment
        self.suite = suite
        self.seed_files = seed_files
        self.paths = paths
        self.archive = archive
        self.lineage = Lineage(paths.lineage)
        self._journal = journal
        self._gate = gate
        self._selector = selector
        self._do = effects
        self._families = families
        self._faults = 0

    async def run(self) -> Archive:
        """Rounds until a cap, patience or the design ends the run; then the claim, if the experiment asks for it."""
        self._plant_seed()
        await self._baseline()
        while (reason := self._stop_reason()) is None:
            await self._round(self._round_number())
        if self.experiment.claim.at_end and not self.archive.claims and self._do.spent_out() not in ("usd", "tokens"):
            await self.claim()
        if self.archive.ended is None:
            self._emit(RunEnded(reason=reason, best=self.archive.best))
        return self.archive

    async def _baseline(self) -> None:
        """One pass of the seed over train: what the first proposer goes by, and fresh trials of the first parent."""
        specs = [TrialSpec(candidate=self.archive.seed, task=unit.task, seed=unit.seed, attempt=0)
                 for unit in self._units("train")]  # fmt: skip
        if self.experiment.budget.rounds != 0:
            await self._measure(self._affordable(tuple(specs)), 0)

    # --- one round, straight down ---

    async def _round(self, number: int) -> None:
        state = self.archive.rounds.get(number)
        if state is None:
            parent = self._selector.choose(self.archive, lambda what: draw(self.experiment.seed, number, what))
            self._emit(RoundStarted(round=number, parent=parent))
        await self._candidate(number)
        if self._state(number).decision is None:
            await self._decide(number)
        await self._audit(number)
        if self._state(number).memo is None:
            self._emit(MemoWritten(round=number, text=await self._do.write_memo(self.archive, number)))
        self._watch_proposer(self._state(number))

    def _watch_proposer(self, state: RoundState) -> None:
        """Raise InfraError when round after round, of this launch, is lost before anything is proposed."""
        broken = state.failure is not None and state.failure.infra
        self._faults = self._faults + 1 if broken else 0
        if state.failure is not None and self._faults >= FAULTS:
            raise InfraError(f"{FAULTS} rounds in a row had no proposal: {state.failure.reason}\n"
                             "the run stopped; mend it, then go on with --resume")  # fmt: skip

    async def _candidate(self, number: int) -> None:
        """Propose and validate until there is a candidate, a final refusal, or nothing to measure."""
        while not self._settled(state := self._state(number)):
            if len(state.proposals) == len(state.rejections):
                await self._propose(state)
            else:
                await self._validate(state)

    @staticmethod
    def _settled(state: RoundState) -> bool:
        return bool(state.candidate or state.refused or state.failure or state.decision)

    async def _propose(self, state: RoundState) -> None:
        repair = len(state.proposals)
        await self._do.ready()
        try:
            proposal = await self._do.proposer.propose(self._context(state, repair))
        except ProposalError as error:
            self._emit(ProposalFailed(round=state.number, repair=repair, reason=str(error),
                                      infra=error.infra, usage=error.usage or Usage()))  # fmt: skip
        else:
            self._emit(ProposalMade(round=state.number, repair=repair, proposal=proposal))

    def _context(self, state: RoundState, repair: int) -> RoundContext:
        return RoundContext(
            round=state.number,
            parent=self.archive.candidates[state.parent],
            files=self.lineage.files(state.parent),
            evidence=self._do.build_evidence(self.archive, state.parent, state.number),
            editable=self.experiment.scaffold.editable,
            seed=draw_int(self.experiment.seed, state.number, "proposal", repair, bits=31),
            repair=repair,
            rejection=state.rejections[-1] if state.rejections else None,
            previous=state.proposals[-1] if state.proposals else None,
        )

    async def _validate(self, state: RoundState) -> None:
        proposal = state.proposals[-1]
        before = self.lineage.files(state.parent)
        after = apply_changes(before, proposal)
        if after == before:
            self._emit(GateDecided(decision=self._verdict(state, "no_change", "identical", "the edit changes nothing")))
            return
        repair = len(state.rejections)
        rejection = await self._do.validate(self.archive, state.parent, after)
        if rejection is not None:
            self._emit(ProposalRefused(round=state.number, repair=repair, rejection=rejection, final=repair >= REPAIRS))
            return
        self._emit(CandidateAdded(candidate=self._commit(state, proposal, before, after)))

    def _commit(
        self, state: RoundState, proposal: Proposal, before: dict[str, str], after: dict[str, str]
    ) -> Candidate:
        name = candidate_id(state.number)
        manifest = proposal.manifest
        message = f"{manifest.title}\n\n{manifest.hypothesis}\n"
        commit = self.lineage.add(name, after, state.parent, message)
        changed = sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))
        return Candidate(id=name, parent=state.parent, commit=commit, digest=digest_texts(after), title=manifest.title,
                         round=state.number, components=tuple(changed))  # fmt: skip

    # --- measuring ---

    async def _decide(self, number: int) -> None:
        state = self._state(number)
        if state.candidate is None:
            self._emit(GateDecided(decision=self._refusal(state)))
            return
        while specs := self._affordable(self._gate.next_block(duel := self._duel(state))):
            await self._measure(specs, number)
            if self._do.spent_out():  # the gate would ask again for what was cancelled
                duel = self._duel(state)
                break
        decision = self._gate.decide(duel)
        self._emit(GateDecided(decision=self._do.score_predictions(self.archive, decision)))

    def _duel(self, state: RoundState) -> Duel:
        return make_duel(self.archive, state.number, self.experiment, self._units("train"))

    def _affordable(self, specs: tuple[TrialSpec, ...]) -> tuple[TrialSpec, ...]:
        """The block, or nothing when the budget does not hold it: the gate then decides on what it has.

        What a killed launch finished of the block is paid for already.
        """
        cap, finished = self.experiment.budget.trials, self.archive.finished
        owed = sum(spec.key not in finished for spec in specs)
        return () if cap is not None and len(finished) + owed > cap else specs

    async def _measure(self, specs: Sequence[TrialSpec], number: int, purpose: Purpose = "gate") -> None:
        """Run what is not journalled yet; each trial is journalled as it ends."""
        owed = [spec for spec in specs if spec.key not in self.archive.finished]
        async with aclosing(
            self._do.executor.run(owed, self._do.run_trial)
        ) as trials:  # nothing runs on when this breaks
            async for trial in trials:
                if trial.outcome != "cancelled" or "diverged" in trial.flags:
                    self._emit(TrialDone(round=number, purpose=purpose, trial=trial))

    def _refusal(self, state: RoundState) -> Decision:
        if state.failure is not None:
            verdict: Verdict = "infra" if state.failure.infra else "invalid"
            reason: Reason = "infra" if state.failure.infra else "refused"
            return self._verdict(state, verdict, reason, state.failure.reason)
        last = state.rejections[-1]
        detail = f"{last.where}: {last.reason}" if last.where else last.reason
        return self._verdict(state, "invalid", "refused", detail, last.breach)

    def _verdict(
        self, state: RoundState, verdict: Verdict, reason: Reason, detail: str, breach: Breach | None = None
    ) -> Decision:
        return Decision(round=state.number, candidate=candidate_id(state.number), parent=state.parent, verdict=verdict,
                        reason=reason, detail=detail, breach=breach, gate=self._gate.name)  # fmt: skip

    async def _audit(self, number: int) -> None:
        """Every fourth keep: does the gain hold on val? If not, back to the last audited ancestor."""
        ancestor = due_for_audit(self.archive)
        if ancestor is None or self._state(number).audit is not None or not self.suite.val:
            return
        champion = self.archive.best
        specs = audit_specs(self._units("val"), champion, ancestor, self.archive)
        await self._measure(specs, number, "audit")
        self._emit(audit_verdict(self.archive, number, champion, ancestor, specs))

    # --- the end ---

    async def claim(self) -> Claim | None:
        """Open the seal once: best against seed on the test split, fresh trials, journalled before and after.

        None when the budget ends first: the seal stays open, and a later launch goes on with what is measured.
        """
        archive, seed = self.archive, self.archive.seed
        opened = archive.seals + (0 if archive.seals > len(archive.claims) else 1)
        if opened > archive.seals:
            self._emit(SealOpened(best=archive.best, baseline=seed, opened=opened))
        plan = ClaimPlan(best=archive.best, baseline=seed, units=self._units("test"),
                         passes=self.experiment.claim.passes, opened=opened, run_seed=self.experiment.seed,
                         families=self._families)  # fmt: skip
        if not await self._sealed(claim_specs(plan)) or not await self._sealed(matched_specs(plan, self.archive)):
            return None
        claim = make_claim(plan, self.archive)
        self._emit(ClaimMade(claim=claim))
        return claim

    async def _sealed(self, specs: Sequence[TrialSpec]) -> bool:
        """Measure for a claim; whether all of it is done."""
        await self._measure(specs, 0, "claim")
        return self.archive.finished.issuperset(spec.key for spec in specs)

    def _stop_reason(self) -> str | None:
        archive = self.archive
        if self._unfinished() is not None:
            return None
        if archive.ended is not None:
            return archive.ended.reason
        reason = stop_reason(archive, self.experiment.budget, next_cost=2 * min(3, len(self._units("train"))))
        if reason is None and (spent := self._do.spent_out()):
            return spent
        if reason is None and self._do.last_round is not None and len(archive.rounds) >= self._do.last_round:
            return "recording"
        return reason

    # --- small things ---

    def _plant_seed(self) -> None:
        self.lineage.create()
        if not self.archive.candidates:
            name = candidate_id(0)
            commit = self.lineage.add(name, self.seed_files, None, "seed scaffold")
            digest = digest_texts(self.seed_files)
            title = f"seed {self.experiment.scaffold.start}"
            seed = Candidate(id=name, parent=None, commit=commit, digest=digest, title=title, round=0)
            self._emit(CandidateAdded(candidate=seed))

    def _unfinished(self) -> int | None:
        return next((n for n, state in sorted(self.archive.rounds.items()) if state.memo is None), None)

    def _round_number(self) -> int:
        unfinished = self._unfinished()
        return unfinished if unfinished is not None else max(self.archive.rounds, default=0) + 1

    def _state(self, number: int) -> RoundState:
        return self.archive.rounds[number]

    def _units(self, split: Split) -> tuple[Unit, ...]:
        return self.suite.units(split, self.experiment.suite.seeds)

    def _emit(self, event: Event) -> None:
        written = self._journal.append(event)
        self.archive = fold([written], self.archive)
        for listener in self._do.listeners:
            listener.on(written)


def candidate_id(number: int) -> str:
    """The candidate of a round is named after it: c0007 is round 7's; c0000 is the seed."""
    return f"c{number:04d}"


def apply_changes(files: Mapping[str, str], proposal: Proposal) -> dict[str, str]:
    """The parent's files with the proposal's changes."""
    after = dict(files)
    for change in proposal.changes:
        if change.text is None:
            after.pop(change.path, None)
        else:
            after[change.path] = change.text
    return after
