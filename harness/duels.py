"""What the gate gets to see of a round: the candidate's and the parent's fresh trials. Pure."""

from __future__ import annotations

from collections import Counter

from harness.archive import Archive
from harness.records import Experiment, Trial, Unit
from harness.seams import Duel

TYPICAL_PROPOSAL = 5.0
"""What a proposal costs in trials before any was measured (selection.md section 2)."""


def make_duel(archive: Archive, number: int, experiment: Experiment, units: tuple[Unit, ...]) -> Duel:
    """The duel of round `number` as far as it is journalled. Raises KeyError when the round has no candidate yet."""
    state = archive.rounds[number]
    assert state.candidate is not None
    candidate, parent = state.candidate.id, state.parent
    now = [trial for trial in archive.trials.get(parent, ()) if archive.trial_rounds[trial.spec.key] == number]
    return Duel(
        run_seed=experiment.seed,
        round=number,
        candidate=candidate,
        parent=parent,
        units=units,
        candidate_trials=archive.trials.get(candidate, ()),
        parent_trials=fresh_trials(archive, parent, number),
        parent_now=tuple(now),
        first_attempt=_first_attempts(archive, number, (candidate, parent)),
        trials_left=_trials_left(archive, experiment),
        rounds_left=_rounds_left(archive, experiment),
        proposal_trials=_proposal_trials(archive, number),
        variance=archive.variance,
        preset=experiment.gate.preset,
    )


def fresh_trials(archive: Archive, candidate: str, before: int) -> tuple[Trial, ...]:
    """A candidate's trials of rounds before this one, but never those that selected it."""
    selected_in = archive.candidates[candidate].round if candidate != archive.seed else -1
    rounds = archive.trial_rounds
    return tuple(trial for trial in archive.trials.get(candidate, ()) if selected_in < rounds[trial.spec.key] < before)


def _first_attempts(archive: Archive, number: int, candidates: tuple[str, ...]) -> tuple[tuple[str, int], ...]:
    """Attempts that were used before this duel, per candidate and unit: ordinals never repeat."""
    used: Counter[str] = Counter()
    for trial in archive.all_trials:
        if trial.spec.candidate in candidates and archive.trial_rounds.get(trial.spec.key) != number:
            key = f"{trial.spec.candidate}/{trial.spec.unit}"
            used[key] = max(used[key], trial.spec.attempt + 1)
    return tuple(sorted(used.items()))


def _trials_left(archive: Archive, experiment: Experiment) -> int | None:
    cap = experiment.budget.trials
    return None if cap is None else max(0, cap - len(archive.finished))


def _rounds_left(archive: Archive, experiment: Experiment) -> int | None:
    cap = experiment.budget.rounds
    return None if cap is None else max(0, cap - max(archive.rounds, default=0))


def _proposal_trials(archive: Archive, number: int) -> float:
    """What a proposal costs in trials: tokens over tokens, because they are the same on every machine."""
    spent = [p.usage.tokens for n, state in archive.rounds.items() if n <= number for p in state.proposals]
    trials = [t.usage.tokens for n, t in _gate_trials(archive) if n < number]
    if not spent or not trials or not sum(trials):
        return TYPICAL_PROPOSAL
    ratio = (sum(spent) / len(spent)) / (sum(trials) / len(trials))
    return round(min(60.0, max(1.0, ratio)), 1)


def _gate_trials(archive: Archive) -> list[tuple[int, Trial]]:
    return [(archive.trial_rounds[t.spec.key], t) for trials in archive.trials.values() for t in trials]
