"""Tidy frames of a run: one row per trial, candidate, round and model call (docs/frames.md has the columns).

The only module that imports pandas. Read from the journal and the trajectories, so a running or broken run can be read too.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from harness.archive import Archive
from harness.config import runs_folder
from harness.errors import UsageError
from harness.paths import RunPaths
from harness.records import Trial
from harness.runs import find_run, open_run

Row = dict[str, Any]
TRIALS = ("purpose", "round", "candidate", "task", "seed", "attempt", "split", "outcome", "score", "passed", "steps", "tokens_in", "tokens_out",
          "tokens_cached", "usd", "wall_s", "tries", "cached", "flags", "detail", "origin", "isolation", "sandbox", "started")  # fmt: skip
CANDIDATES = ("candidate", "parent", "round", "title", "components", "digest", "commit", "verdict", "reason", "score", "parent_score", "delta",
              "lower", "upper", "p_better", "pairs", "fixed", "broken")  # fmt: skip
ROUNDS = ("round", "parent", "candidate", "title", "verdict", "reason", "repairs", "proposer_calls", "proposer_tokens", "proposer_usd",
          "proposer_s", "trials", "memo")  # fmt: skip
CALLS = ("candidate", "task", "seed", "attempt", "call", "tokens_in", "tokens_out", "tokens_cached", "usd", "seconds", "finish", "origin",
         "tools")  # fmt: skip


@dataclass(frozen=True)
class Frames:
    """Four pandas data frames. Column order is fixed; a run without such rows gives an empty frame with the columns."""

    trials: Any
    candidates: Any
    rounds: Any
    calls: Any


def load(run: str | Path) -> Frames:
    """The frames of a run, by folder, name, part of a name, or "last". Raises UsageError."""
    paths = RunPaths(Path(run)) if Path(run).is_dir() else find_run(runs_folder(), str(run))
    archive = open_run(paths)
    frame = importlib.import_module("pandas").DataFrame
    return Frames(
        trials=frame(list(_trials(archive)), columns=list(TRIALS)),
        candidates=frame(list(_candidates(archive)), columns=list(CANDIDATES)),
        rounds=frame(list(_rounds(archive)), columns=list(ROUNDS)),
        calls=frame(list(_calls(paths)), columns=list(CALLS)),
    )


def write_parquet(run: str | Path, folder: Path) -> tuple[Path, ...]:
    """One parquet file per frame. Raises UsageError when the folder exists and is not empty."""
    if folder.exists() and any(folder.iterdir()):
        raise UsageError(f"{folder}: is not empty; name a folder that is, nothing is overwritten")
    frames = load(run)
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for field in fields(frames):
        written.append(folder / f"{field.name}.parquet")
        getattr(frames, field.name).to_parquet(written[-1], index=False)
    return tuple(written)


def _trials(archive: Archive) -> Iterator[Row]:
    for trials in archive.trials.values():
        for trial in trials:
            yield {"purpose": "gate", "round": archive.trial_rounds.get(trial.spec.key), **_trial(trial)}
    for purpose, trials in archive.other_trials.items():
        for trial in trials:
            yield {"purpose": purpose, "round": None, **_trial(trial)}


def _trial(trial: Trial) -> Row:
    spec, usage = trial.spec, trial.usage
    return {
        "candidate": spec.candidate, "task": spec.task, "seed": spec.seed, "attempt": spec.attempt, "split": spec.split,
        "outcome": trial.outcome, "score": trial.score, "passed": trial.passed, "steps": trial.steps,
        "tokens_in": usage.tokens_in, "tokens_out": usage.tokens_out, "tokens_cached": usage.tokens_cached, "usd": usage.usd,
        "wall_s": trial.wall_s, "tries": trial.tries, "cached": trial.cached, "flags": " ".join(trial.flags), "detail": trial.detail,
        "origin": trial.origin, "isolation": trial.isolation, "sandbox": trial.sandbox, "started": trial.started,
    }  # fmt: skip


def _candidates(archive: Archive) -> Iterator[Row]:
    for candidate in archive.candidates.values():
        decision = archive.decision_of(candidate.id)
        judged = {name: getattr(decision, name) for name in ("verdict", "reason", "score", "parent_score", "delta", "lower", "upper",
                                                             "p_better", "pairs")} if decision else {}  # fmt: skip
        yield {
            "candidate": candidate.id, "parent": candidate.parent, "round": candidate.round, "title": candidate.title,
            "components": " ".join(candidate.components), "digest": candidate.digest, "commit": candidate.commit, **judged,
            "fixed": len(decision.fixed) if decision else None, "broken": len(decision.broken) if decision else None,
        }  # fmt: skip


def _rounds(archive: Archive) -> Iterator[Row]:
    for number, state in sorted(archive.rounds.items()):
        proposal, decision = (state.proposals[-1] if state.proposals else None), state.decision
        spent = [proposal.usage for proposal in state.proposals] + ([state.failure.usage] if state.failure else [])
        usd = [usage.usd for usage in spent]
        yield {
            "round": number, "parent": state.parent, "candidate": state.candidate.id if state.candidate else None,
            "title": proposal.manifest.title if proposal else None, "verdict": decision.verdict if decision else None,
            "reason": decision.reason if decision else None, "repairs": len(state.rejections),
            "proposer_calls": sum(usage.calls for usage in spent), "proposer_tokens": sum(usage.tokens for usage in spent),
            "proposer_usd": None if any(value is None for value in usd) else sum(value or 0.0 for value in usd),
            "proposer_s": sum(proposal.wall_s for proposal in state.proposals),
            "trials": sum(1 for where in archive.trial_rounds.values() if where == number), "memo": state.memo,
        }  # fmt: skip


def _calls(paths: RunPaths) -> Iterator[Row]:
    """Model replies of the trajectories that are there; one that cannot be read is left out."""
    for path in sorted((paths.root / "trials").glob("*/*/*/trajectory.json")):
        candidate, task, unit = path.parts[-4:-1]
        seed, _, attempt = unit.partition("-")
        try:
            steps = json.loads(path.read_text("utf-8"))["steps"]
        except (OSError, ValueError, KeyError):
            continue
        replies = (step for step in steps if step.get("source") == "agent" and step.get("metrics"))
        for number, step in enumerate(replies, 1):
            metrics, extra = step["metrics"], step.get("extra") or {}
            yield {
                "candidate": candidate, "task": task, "seed": int(seed), "attempt": int(attempt), "call": number,
                "tokens_in": metrics.get("prompt_tokens"), "tokens_out": metrics.get("completion_tokens"),
                "tokens_cached": metrics.get("cached_tokens"), "usd": metrics.get("cost_usd"), "seconds": extra.get("seconds"),
                "finish": extra.get("finish"), "origin": extra.get("origin"),
                "tools": " ".join(str(call.get("function_name")) for call in step.get("tool_calls") or ()),
            }  # fmt: skip
