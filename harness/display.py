"""Progress on stderr: a line per finished round, and one live line below it on a terminal. Listens to events."""

from __future__ import annotations

import sys
import time
from typing import TextIO

from harness.archive import Archive, fold
from harness.records.events import (
    AuditDone,
    ClaimMade,
    Event,
    GateDecided,
    ProposalRefused,
    RoundStarted,
    RunEnded,
    RunResumed,
    RunStarted,
    SealOpened,
    TrialDone,
)
from harness.render import audit_line, claim_text, closing, decision_line, score, seed_score


class _Screen:
    """Lines, and on a terminal one live line below them that is drawn again at most so often."""

    def __init__(self, out: TextIO | None) -> None:
        self._out = out or sys.stderr
        self._live = self._out.isatty()
        self._drawn = 0.0

    def close(self, time_limit: float = 60.0) -> None:
        """Clear the live line."""
        if self._live:
            self._out.write("\r\x1b[K")
            self._out.flush()

    def _line(self, text: str) -> None:
        self._out.write(("\r\x1b[K" if self._live else "") + text + "\n")
        self._out.flush()

    def _due(self, every: float) -> bool:
        """Whether so many seconds are over since the last time that they were."""
        now = time.monotonic()
        if now - self._drawn < every:
            return False
        self._drawn = now
        return True

    def _draw(self, text: str) -> None:
        self._out.write(f"\r\x1b[K{text}")
        self._out.flush()


class Display(_Screen):
    """A tracker that prints. It folds the events itself, so that it needs nothing from the loop."""

    def __init__(self, archive: Archive, out: TextIO | None = None) -> None:
        super().__init__(out)
        self._archive = archive
        self._since = 0
        self._seed_shown = False

    def on(self, event: Event) -> None:
        """Print what a reader wants to know of this event."""
        self._archive = fold([event], self._archive)
        match event:
            case RunResumed():
                self._line(f"resumed: {len(self._archive.finished)} trials are there and will not run again")
            case RoundStarted():
                self._since = 0
            case ProposalRefused() if not event.final:
                self._line(f"r{event.round:02d}    proposal refused, to be repaired: {event.rejection.reason}")
            case TrialDone():
                self._since += 1
                self._status(event)
            case GateDecided():
                self._first_seed_line()
                self._line(decision_line(self._archive, event.decision))
            case AuditDone():
                self._line(f"audit  {audit_line(event)}")
            case SealOpened():
                self._line(
                    f"claim  opening the sealed split (time {event.opened}): {event.best} against {event.baseline}"
                )
            case ClaimMade():
                self._line(claim_text(event.claim))
            case RunEnded():
                self._line(f"{closing(self._archive)}   ended: {event.reason}")
            case _:
                pass

    def _first_seed_line(self) -> None:
        if not self._seed_shown and (seed := seed_score(self._archive)) is not None:
            self._seed_shown = True
            self._line(f"seed   {self._archive.seed}  {'seed scaffold':38}  {score(seed)}")

    def _status(self, event: TrialDone) -> None:
        if self._live and self._due(0.1):
            total = len(self._archive.finished)
            self._draw(f"r{event.round:02d}    {self._since} trials this round, {total} in all; "
                       f"last {event.trial.spec.task} {score(event.trial.score)}")  # fmt: skip


class EvalProgress(_Screen):
    """A tracker for evaluations: one live line on a terminal, elsewhere a line now and then, so that a CI sees life."""

    def __init__(self, out: TextIO | None = None, every: float = 60.0) -> None:
        super().__init__(out)
        self._every = 0.1 if self._live else every
        self._drawn = time.monotonic()
        self._planned = self._done = self._unscored = 0

    def on(self, event: Event) -> None:
        """Count, and print when it is time."""
        match event:
            case RunStarted() | RunResumed():
                self._planned = event.planned_trials or 0
                if isinstance(event, RunResumed):
                    self._done = event.finished_trials
                    self._line(f"goes on: {event.finished_trials} of {self._planned} trials are there")
            case TrialDone():
                self._done += 1
                self._unscored += not event.trial.counts
                self._print(event)
            case _:
                pass

    def _print(self, event: TrialDone) -> None:
        if not self._due(self._every):
            return
        unscored = f", {self._unscored} without a score" if self._unscored else ""
        text = (
            f"{self._done} of {self._planned} trials{unscored}; last {event.trial.spec.task} {score(event.trial.score)}"
        )
        (self._draw if self._live else self._line)(text)
