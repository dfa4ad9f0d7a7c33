"""Where things lie: shipped data, and the folder of a run.

runs/2026-11-24-0935-demo/
  experiment.toml      as given (bytes)
  lock.json            resolved config, versions, digests
  journal.jsonl        TRUTH: events
  lineage.git/         TRUTH: bare repository, one commit per candidate
  trials/c0007/<task>/<seed>-<attempt>/    TRUTH: trajectory.json (ATIF-v1.7), result.json, verifier.json
  proposals/r03-0/     the proposer's trajectory of round 3, repair 0
  evidence/r03/        what the proposer of round 3 could read (derived, kept for reviewers)
  calls/               what went over the wire to live models, one file per trial, proposal and memo: what a replay answers from
  replay.jsonl         of a replay: which run it replays, then where it diverged
  notes/               ledger.md (facts, by the harness), memo.md (by the model)
  report.html          derived: what came out, for a reviewer; one page that needs nothing else
  best/                derived: plain files of the best scaffold
  writer.lock          held by the one writer
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.errors import UsageError, did_you_mean

_PACKAGE = Path(__file__).resolve().parent
_EXTRA = {"scaffolds": _PACKAGE / "scaffolds"}


def shipped(kind: str) -> Path:
    """The folder of shipped data of one kind: tasks, evals, runs (experiments), scaffolds.

    In a wheel it lies inside the package, in a checkout beside it.
    """
    if kind in _EXTRA:
        return _EXTRA[kind]
    inside = _PACKAGE / "_shipped" / kind
    return inside if inside.is_dir() else _PACKAGE.parent / kind


def resolve(name: str, kind: str, suffix: str, noun: str) -> Path:
    """A path if it exists, else a shipped name; raises UsageError with the names that there are."""
    given = Path(name).expanduser()
    if given.exists() and (given.is_dir() == (suffix == "")):
        return given.resolve()
    found = shipped(kind) / f"{name}{suffix}"
    if found.exists():
        return found
    known = sorted(path.stem if suffix else path.name for path in shipped(kind).glob(f"*{suffix or ''}")
                   if path.is_dir() == (suffix == "") and not path.name.startswith((".", "_")))  # fmt: skip
    raise UsageError(f'{noun} "{name}": no such path and no shipped {noun} of that name'
                     f'{did_you_mean(name, known)}\nshipped: {", ".join(known) or "none"}')  # fmt: skip


@dataclass(frozen=True)
class RunPaths:
    """One run's folder; the tree is drawn at the top of this module."""

    root: Path

    @property
    def name(self) -> str:
        return self.root.name

    @property
    def experiment(self) -> Path:
        return self.root / "experiment.toml"

    @property
    def lock(self) -> Path:
        return self.root / "lock.json"

    @property
    def journal(self) -> Path:
        return self.root / "journal.jsonl"

    @property
    def lineage(self) -> Path:
        return self.root / "lineage.git"

    @property
    def writer_lock(self) -> Path:
        return self.root / "writer.lock"

    @property
    def calls(self) -> Path:
        return self.root / "calls"

    @property
    def replay(self) -> Path:
        return self.root / "replay.jsonl"

    @property
    def notes(self) -> Path:
        return self.root / "notes"

    @property
    def report(self) -> Path:
        return self.root / "report.html"

    @property
    def best(self) -> Path:
        return self.root / "best"

    def trial(self, key: str) -> Path:
        """trials/<candidate>/<task>/<seed>-<attempt> of a trial key."""
        return self.root / "trials" / key

    def proposal(self, round_: int, repair: int) -> Path:
        return self.root / "proposals" / f"r{round_:02d}-{repair}"

    def evidence(self, round_: int) -> Path:
        return self.root / "evidence" / f"r{round_:02d}"
