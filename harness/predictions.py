"""Scoring what a proposer predicted against what happened, and against chance. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from harness.records import Decision, Manifest


def score_predictions(manifest: Manifest, decision: Decision, tasks: Sequence[str]) -> tuple[tuple[str, float], ...]:
    """Precision and recall of predicted fixes and risks by task, with the precision that guessing would have.

    A task counts as fixed when one of its units is among `decision.fixed`, as broken likewise.
    """
    scores: list[tuple[str, float]] = []
    for name, predicted, happened in (
        ("fix", manifest.predicted_fixes, decision.fixed),
        ("risk", manifest.predicted_risks, decision.broken),
    ):
        guessed = {task for task in predicted if task in tasks}
        real = {unit.rpartition("/")[0] for unit in happened}
        if guessed:
            scores.append((f"{name}_precision", len(guessed & real) / len(guessed)))
        if real:
            scores.append((f"{name}_recall", len(guessed & real) / len(real)))
        scores.append((f"{name}_chance", len(real) / len(tasks) if tasks else 0.0))
    return tuple(scores)


def record(decisions: Collection[Decision]) -> dict[str, float]:
    """A proposer's track record: means of the scores over the decisions that have them."""
    sums: dict[str, list[float]] = {}
    for decision in decisions:
        for name, value in decision.predictions:
            sums.setdefault(name, []).append(value)
    return {name: sum(values) / len(values) for name, values in sorted(sums.items())}
