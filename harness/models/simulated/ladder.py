"""The simulated models, weak to strong. One table; calibrated by tests/benchmarks/calibrate_simulated.py."""

from __future__ import annotations

from dataclasses import dataclass

from harness.errors import UsageError, did_you_mean
from harness.models.simulated.noise import served_name


@dataclass(frozen=True)
class Ability:
    """Probabilities, and a context in tokens.

    heed: follows a stated rule at full salience. habit: does it without being told. attention: takes in a fact that it
    saw. experience: knows a fact that it never saw. slip: drops a known fact, at temperature 1. stuck: repeats a failing
    check instead of mending. proposer: maps evidence to the right edit.
    """

    name: str
    heed: float
    habit: float
    attention: float
    experience: float
    slip: float
    stuck: float
    context: int
    proposer: float = 0.75
    cheats: bool = False
    faults: float = 0.0


LADDER = {
    ability.name: ability
    for ability in (
        Ability("small", heed=0.60, habit=0.08, attention=0.70, experience=0.10, slip=0.10, stuck=0.60, context=6_000, proposer=0.5),
        Ability("medium", heed=0.88, habit=0.20, attention=0.90, experience=0.22, slip=0.05, stuck=0.35, context=24_000),
        Ability("large", heed=0.97, habit=0.45, attention=0.98, experience=0.45, slip=0.02, stuck=0.10, context=100_000, proposer=0.9),
        Ability("adversarial", heed=0.88, habit=0.20, attention=0.90, experience=0.22, slip=0.05, stuck=0.35, context=24_000, cheats=True),
        Ability("flaky", heed=0.88, habit=0.20, attention=0.90, experience=0.22, slip=0.05, stuck=0.35, context=24_000, faults=0.12),
        Ability("proposer-weak", heed=0.60, habit=0.08, attention=0.70, experience=0.10, slip=0.10, stuck=0.60, context=24_000, proposer=0.3),
        Ability("proposer-strong", heed=0.97, habit=0.45, attention=0.98, experience=0.45, slip=0.02, stuck=0.10, context=100_000, proposer=0.95),
    )
}  # fmt: skip
NAMES = tuple(f"simulated/{name}" for name in LADDER)


def ability_of(model: str) -> Ability:
    """The ability behind a model's name, however it was routed. Raises UsageError with the names that there are."""
    name = served_name(model)
    if name not in LADDER:
        raise UsageError(f'model "{model}": no such simulated model{did_you_mean(name, list(LADDER))}\n'
                         f"there are {', '.join(NAMES)}")  # fmt: skip
    return LADDER[name]
