"""When a run ends by itself. Pure."""

from __future__ import annotations

from harness.archive import Archive
from harness.records.experiment import BudgetChoice


def stop_reason(archive: Archive, budget: BudgetChoice, next_cost: int) -> str | None:
    """The cap that is spent, or None: rounds, trials (the next block must fit), usd, tokens, hours, patience."""
    spent = archive.spent()
    caps = {
        "rounds": budget.rounds is not None and len(archive.rounds) >= budget.rounds,
        "trials": budget.trials is not None and len(archive.finished) + next_cost > budget.trials,
        "usd": budget.usd is not None and spent.usd is not None and spent.usd >= budget.usd,
        "tokens": budget.tokens is not None and spent.tokens >= budget.tokens,
        "hours": budget.hours is not None and archive.active_s >= budget.hours * 3600,
        "patience": budget.patience is not None and _since_keep(archive) >= budget.patience,
    }
    return next((name for name, hit in caps.items() if hit), None)


def _since_keep(archive: Archive) -> int:
    """Rounds decided since the last keep."""
    verdicts = [decision.verdict for decision in archive.decisions]
    return next((n for n, verdict in enumerate(reversed(verdicts)) if verdict == "keep"), len(verdicts))
