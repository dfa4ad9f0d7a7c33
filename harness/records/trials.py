"""Measurements: what is asked for, what came of it."""

from __future__ import annotations

from harness.records.base import SCORED_OUTCOMES, Grade, Origin, Outcome, Record, Split
from harness.records.tasks import Unit
from harness.records.usage import Usage


class TrialSpec(Record):
    """Candidate x unit x attempt. `attempt` is the ordinal of a measurement, ever increasing per (candidate, unit)."""

    candidate: str
    task: str
    seed: int
    attempt: int
    split: Split = "train"

    @property
    def unit(self) -> Unit:
        return Unit(task=self.task, seed=self.seed)

    @property
    def key(self) -> str:
        """The trial's name in the journal and its folder under trials/: c0007/<task>/<seed>-<attempt>."""
        return f"{self.candidate}/{self.task}/{self.seed}-{self.attempt}"


class Check(Record):
    """One named check of the verifier."""

    name: str
    passed: bool


class Artifact(Record):
    """One collected file: path below the working folder, sha256 of its bytes, size in bytes."""

    path: str
    sha256: str
    size: int


class Trial(Record):
    """One finished measurement. `score` is None unless the outcome counts."""

    spec: TrialSpec
    outcome: Outcome
    score: float | None
    checks: tuple[Check, ...] = ()
    flags: tuple[str, ...] = ()
    """Limits that ended the agent (message_limit ...) and what the reader should know."""
    detail: str = ""
    """One line: why it is not scored, or how it ended."""
    usage: Usage = Usage()
    steps: int = 0
    """Model replies."""
    counters: tuple[tuple[str, int], ...] = ()
    """What the scaffold counted through log (loop_guard_fired ...), by name."""
    origin: Origin = "simulated"
    isolation: Grade = "B"
    sandbox: str = "bwrap"
    artifacts: tuple[Artifact, ...] = ()
    tries: int = 1
    cached: bool = False
    """Served from the trial cache, or graded again from what it kept: usage and times are those of the measurement."""
    wall_s: float = 0.0
    started: float = 0.0
    """Seconds since the epoch."""

    @property
    def counts(self) -> bool:
        """Whether it has a score."""
        return self.outcome in SCORED_OUTCOMES and self.score is not None

    @property
    def passed(self) -> bool:
        return self.score is not None and self.score >= 1.0
