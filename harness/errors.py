"""What can go wrong, and what each kind means to the person in front of it.

    HarnessError                    one message: what, where, what to do; an exit code
    ├── UsageError           (2)    bad input: command line, experiment, suite, task, scaffold, resume
    ├── MachineError         (3)    this machine is not ready: no bubblewrap, no key, folder not writable, disk full
    ├── ThresholdError       (4)    a threshold was not met
    ├── InfraError           (5)    infrastructure broke: retryable, never a score
    │   ├── SandboxFault            a sandbox could not be started, or broke
    │   │   └── ImageFault          what one task asks for cannot be had: its trials have no score, the others go on
    │   └── ModelFault              a model call failed, with its kind and Retry-After
    ├── ProposalError               a proposer handed nothing in: a verdict with its reason, not a crash
    ├── LimitReached                a trial's limit ended its agent (a value to the trial engine, never a crash)
    └── Interrupted    (130/143)    a signal; the run can be resumed

Anything else that escapes is a bug of the harness (exit 1). A bad trial is data, not a crash: the trial engine turns
what untrusted code does into an outcome; only the harness's own faults are exceptions.
"""

from __future__ import annotations

from typing import Any, Literal

FaultKind = Literal["rate_limit", "server", "timeout", "malformed", "auth", "context", "bad_request", "connection"]

RETRYABLE: frozenset[FaultKind] = frozenset({"rate_limit", "server", "timeout", "malformed", "connection"})


class HarnessError(Exception):
    """Base of all. The text is what the user reads: at most three lines."""

    exit_code = 1


class UsageError(HarnessError):
    exit_code = 2


class MachineError(HarnessError):
    exit_code = 3


class ThresholdError(HarnessError):
    exit_code = 4


class InfraError(HarnessError):
    exit_code = 5


class SandboxFault(InfraError):
    """A sandbox could not be had or broke under us. Retryable; the trial has no score."""


class ImageFault(SandboxFault):
    """What one task asks of the engine cannot be had: its image cannot be pulled, found or built, or it is too large for it."""


class ModelFault(InfraError):
    """A model call failed. `kind` says how; `retry_after` is the server's wish in seconds, when it gave one."""

    def __init__(self, kind: FaultKind, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(f"{kind}: {message}")
        self.kind: FaultKind = kind
        self.retry_after = retry_after

    @property
    def retryable(self) -> bool:
        return self.kind in RETRYABLE


class ProposalError(HarnessError):
    """A proposer handed in nothing that can be read. `usage` (records.Usage) is what it cost all the same.

    `infra` says that infrastructure broke, not the proposer: the round's verdict is then `infra`.
    """

    def __init__(self, message: str, *, usage: Any = None, infra: bool = False) -> None:
        super().__init__(message)
        self.usage = usage
        self.infra = infra


class LimitReached(HarnessError):
    """A limit ended it: time_, working_, message_, token_ or cost_limit of the trial, run_budget, or diverged (a replay)."""

    def __init__(self, limit: str, message: str = "") -> None:
        super().__init__(message or f"{limit} reached")
        self.limit = limit


class Interrupted(HarnessError):
    """Stopped by a signal, resumable. The exit code is 128 + the signal."""

    def __init__(self, signal_number: int = 2, message: str = "interrupted") -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number


def did_you_mean(word: str, known: list[str]) -> str:
    """' (did you mean "x"?)' for the closest known word, or ''."""
    import difflib

    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f' (did you mean "{close[0]}"?)' if close else ""
