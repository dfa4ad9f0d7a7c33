"""The parts of a report that say what it took, and what has no score."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import get_args

from harness.archive import Archive
from harness.records import Outcome, Trial, Usage
from harness.render import dollars, duration, one_line, origin, unscored
from harness.report.ground import Ground, budget_text
from harness.report.html import Cell, Html, join, section, table, tag

PURPOSES = {
    "gate": "workers: train, for decisions",
    "audit": "workers: val, for audits",
    "claim": "workers: sealed, for the claim",
}


def measured(archive: Archive) -> dict[str, tuple[Trial, ...]]:
    """Every trial by what it was for."""
    gate = tuple(trial for trials in archive.trials.values() for trial in trials)
    found = {"gate": gate, **archive.other_trials}
    return {purpose: trials for purpose, trials in found.items() if trials}


def cost_section(archive: Archive, ground: Ground) -> Html:
    """By role: calls, tokens, dollars, time. What has no price is unpriced."""
    where = origin(archive)
    rows: list[list[Cell]] = []
    for purpose, trials in measured(archive).items():
        usage = sum((trial.usage for trial in trials), Usage())
        rows.append(
            _row(PURPOSES.get(purpose, f"workers: {purpose}"), len(trials), usage, where, sum(t.wall_s for t in trials))
        )
    proposals = [proposal for state in archive.rounds.values() for proposal in state.proposals]
    failed = sum(state.failure is not None for state in archive.rounds.values())
    if proposals or failed:
        rows.append(
            _row(
                "proposer", len(proposals) + failed, archive.spent("proposer"), where, sum(p.wall_s for p in proposals)
            )
        )
    total = _row("total", len(archive.all_trials) + len(proposals) + failed, archive.spent(), where, None)
    header = ("role", "runs", "calls", "tokens in", "of them cached", "tokens out", "cost", "time, summed")
    budget = budget_text(archive, ground)
    note = join((f"{duration(archive.active_s)} at work. ", f"Budget: {budget}. " if budget else "",
                 "Round memos are metered by the budget and are not in the journal."))  # fmt: skip
    return section("Cost", table(header, [*rows, [tag("b", cell) for cell in total]], numeric=range(1, 8)), note=note)


def _row(name: str, runs: int, usage: Usage, where: str | None, seconds: float | None) -> list[Cell]:
    return [name, f"{runs:,}", f"{usage.calls:,}", f"{usage.tokens_in:,}", f"{usage.tokens_cached:,}", f"{usage.tokens_out:,}",
            dollars(usage, where), "" if seconds is None else duration(seconds)]  # fmt: skip


def faults_section(archive: Archive) -> Html:
    """Coverage, outcomes, flags, and every trial that has no score or ended badly, with what was said of it."""
    by_purpose = measured(archive)
    if not by_purpose:
        return section("Coverage and faults", tag("p", "Nothing was measured."))
    rows: list[list[Cell]] = []
    for purpose, trials in by_purpose.items():
        counts = Counter(trial.outcome for trial in trials)
        rows.append([PURPOSES.get(purpose, purpose).removeprefix("workers: "), str(len(trials)),
                     f"{sum(t.counts for t in trials) / len(trials):.1%}", *(str(counts[name] or "-") for name in get_args(Outcome))])  # fmt: skip
    header = ("trials", "all", "coverage", *get_args(Outcome))
    note = "agent_error and time_up count as 0. task_error, infra_error and cancelled have no score and lower the coverage."
    return section("Coverage and faults", table(header, rows, numeric=range(1, 9)), tag("p", _said(archive)),
                   _listed(archive.all_trials), note=note)  # fmt: skip


def _said(archive: Archive) -> str:
    trials = archive.all_trials
    flags = Counter(flag for trial in trials for flag in trial.flags)
    retried = sum(trial.tries - 1 for trial in trials)
    parts = [unscored(archive) or "every trial has a score",
             "flags: " + (", ".join(f"{n} {name}" for name, n in flags.most_common()) or "none"),
             f"infrastructure retries: {retried or 'none'}"]  # fmt: skip
    return "; ".join(parts).capitalize() + "."


def _listed(trials: tuple[Trial, ...]) -> Html | None:
    groups: dict[tuple[str, str, str], list[Trial]] = {}
    for trial in trials:
        if trial.outcome != "scored" or trial.flags:
            key = (trial.outcome, ", ".join(trial.flags), one_line(trial.detail, 160))
            groups.setdefault(key, []).append(trial)
    rows: list[list[Cell]] = [
        [str(len(group)), outcome, flags or "-", detail or "-", _names(t.spec.task for t in group), _names(t.spec.candidate for t in group)]
        for (outcome, flags, detail), group in sorted(groups.items(), key=lambda item: -len(item[1]))
    ]  # fmt: skip
    header = ("n", "outcome", "flags", "detail", "tasks", "candidates")
    return table(header, rows, numeric=(0,)) if rows else None


def _names(names: Iterable[str]) -> str:
    counts = Counter(names)
    return ", ".join(f"{name} {n}" if n > 1 else name for name, n in sorted(counts.items()))
