"""What a run stood on: the experiment and the lock beside its journal, as far as they can still be read."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from harness.archive import Archive
from harness.config import parse_experiment
from harness.errors import UsageError
from harness.paths import RunPaths
from harness.records import Experiment
from harness.report.html import Child, Html, facts, folded, join, section, table, tag


@dataclass(frozen=True)
class Ground:
    """`experiment` is None when neither file can be read; `missing` says what could not."""

    experiment: Experiment | None = None
    lock: dict[str, Any] = field(default_factory=dict)
    missing: str = ""

    def tasks(self, split: str) -> int | None:
        """How many tasks a split has; None for a run from before the lock said so."""
        found = self.lock.get("splits", {}).get(split)
        return None if found is None else len(found)


def read_ground(paths: RunPaths) -> Ground:
    """From lock.json; from experiment.toml as it was given, when the lock is lost."""
    try:
        lock = json.loads(paths.lock.read_text("utf-8"))
        return Ground(Experiment.model_validate(lock["experiment"]), lock)
    except (OSError, ValueError, KeyError, TypeError):
        pass
    lost = "lock.json cannot be read: versions, digests and overrides (--set) of this run are unknown."
    try:
        return Ground(parse_experiment(paths.experiment.read_bytes(), paths.experiment.name), missing=lost)
    except (OSError, UsageError):
        return Ground(missing=f"{lost} Nor can experiment.toml.")


def ground_section(archive: Archive, ground: Ground) -> Html:
    """What it ran on: everything by which a result can be traced."""
    lock, trials = ground.lock, archive.all_trials
    suite, sandbox = lock.get("suite", {}), lock.get("sandbox", {})
    grades: list[str] = sorted({str(trial.isolation) for trial in trials}) or [str(sandbox.get("grade", ""))]
    where = sorted({trial.sandbox for trial in trials}) or [str(sandbox.get("provider", ""))]
    rows: list[tuple[str, Child]] = [
        *_chosen(ground),
        ("suite digest", _digest(suite.get("digest"))),
        ("scaffold digest", _digest(lock.get("scaffold", {}).get("digest"))),
        ("sandbox", ", ".join(filter(None, where))),
        ("isolation", f"grade {', '.join(grades)}" if any(grades) else ""),
        ("sandbox image", _digest(sandbox.get("image"))),
        ("config digest", _digest(archive.config)),
        ("versions", ", ".join(f"{name} {number}" for name, number in lock.get("versions", {}).items())),
    ]
    digests = [[name, _digest(entry.get("digest")), _digest(entry.get("grading"))]
               for name, entry in lock.get("tasks", {}).items()]  # fmt: skip
    tasks = (
        folded(f"digests of {len(digests)} tasks", table(("task", "task digest", "grading digest"), digests))
        if digests
        else None
    )
    return section("What it ran on", facts(rows), tasks, note=ground.missing)


def _chosen(ground: Ground) -> list[tuple[str, Child]]:
    """The experiment's own choices, as far as they bear on a result."""
    e = ground.experiment
    if e is None:
        return []
    sizes = [f"{count} {split}" for split in ("train", "val", "test") if (count := ground.tasks(split)) is not None]
    size = (
        f" ({', '.join(sizes)} tasks)"
        if sizes
        else f" ({len(ground.lock['tasks'])} tasks)"
        if "tasks" in ground.lock
        else ""
    )
    limits = ", ".join(f"{name} {value:g}" for name, value in e.limits.model_dump().items() if value is not None)
    return [
        *((f"model {alias}", _model(choice.name, choice.reasoning_effort, choice.api_base)) for alias, choice in e.models.items()),
        ("suite", f"{e.suite.name}{size}, {e.suite.seeds} seeds a task"),
        ("scaffold", f"{e.scaffold.start}, editable {' '.join(e.scaffold.editable)}"),
        ("proposer", f"{e.proposer.kind}, scaffold {e.proposer.scaffold}, model {e.proposer.model}"),
        ("gate", f"{e.gate.kind}, preset {e.gate.preset}; selector {e.selector.kind}"),
        ("seed", str(e.seed)),
        ("limits per trial", limits),
    ]  # fmt: skip


def _model(name: str, effort: str | None, base: str | None) -> str:
    """The model, and where it was served: host alone, because an address may carry a key."""
    served = urlsplit(base).hostname if base else None
    return name + (f", effort {effort}" if effort else "") + (f", served by {served}" if served else "")


def _digest(value: object) -> Html | None:
    """Twelve digits, the rest on demand."""
    return tag("code", str(value)[:12], title=str(value)) if value else None


def budget_text(archive: Archive, ground: Ground) -> str:
    """What was spent of every cap: rounds 8 of 8, trials 495 of 1000."""
    if ground.experiment is None:
        return ""
    caps, spent = ground.experiment.budget, archive.spent()
    used = {"rounds": len(archive.rounds), "trials": len(archive.finished), "usd": spent.usd, "tokens": spent.tokens,
            "hours": round(archive.active_s / 3600, 2)}  # fmt: skip
    said = []
    for name, value in used.items():
        if (cap := getattr(caps, name)) is not None:
            said.append(f"{name} {'unpriced' if value is None else f'{value:,g}'} of {cap:,g}")
    return str(join(said, ", "))
