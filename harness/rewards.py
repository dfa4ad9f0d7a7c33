"""Harbor's rewards: read from what a verifier left, put together over steps, made into one score."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass

from harness.errors import UsageError
from harness.records import Foreign, Step
from harness.seams import File

Rewards = Mapping[str, float]


@dataclass(frozen=True)
class Graded:
    """A verified step. `rewards` is None when the verifier said nothing that can be believed (`problem` tells)."""

    step: str
    rewards: Rewards | None
    problem: str = ""
    log: str = ""
    stopped: int = 0
    """Programs that the agent had left running: they are not there when the tests run."""


def read_rewards(found: Mapping[str, File]) -> dict[str, float]:
    """Rewards by name from the files of /logs/verifier; reward.json goes before reward.txt. Raises UsageError."""
    name = next((name for name in ("reward.json", "reward.txt") if name in found), None)
    if name is None:
        raise UsageError("the verifier wrote neither reward.json nor reward.txt")
    text = found[name].data.decode("utf-8", "replace")
    if not text.strip():
        raise UsageError(f"the verifier's {name} is empty")
    try:
        values = json.loads(text) if name == "reward.json" else {"reward": float(text)}
    except (ValueError, RecursionError):
        raise UsageError(f"the verifier's {name} cannot be read: {text[:80]!r}") from None
    if not isinstance(values, dict):
        values = {"reward": values}
    if not values:
        raise UsageError(f"the verifier's {name} holds no reward")
    return {str(key): _finite(name, key, value) for key, value in values.items()}


def _finite(name: str, key: str, value: object) -> float:
    try:
        number = float(value) if isinstance(value, int | float) else math.nan
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise UsageError(f"the verifier's {name}: {key} is {repr(value)[:40]}, not a finite number")
    return number


def combine(foreign: Foreign, graded: list[Graded]) -> dict[str, float] | None:
    """The rewards of a trial: of the last step that was run, or per key the mean over verified steps, as Harbor makes them."""
    if foreign.strategy == "final":
        return dict(graded[-1].rewards) if graded and graded[-1].rewards is not None else None
    verified = [each.rewards for each in graded if each.rewards is not None]
    keys = sorted({key for rewards in verified for key in rewards})
    return {key: sum(rewards.get(key, 0.0) for rewards in verified) / len(verified) for key in keys} or None


def score_of(rewards: Rewards) -> float:
    """One number out of rewards: `reward`, else the mean of all. Raises UsageError when it is not in 0..1."""
    score = rewards["reward"] if "reward" in rewards else sum(rewards.values()) / len(rewards)
    if not 0.0 <= score <= 1.0:
        raise UsageError(f"the reward is {score:g}; a score is within 0 and 1")
    return score


def below_minimum(step: Step, rewards: Rewards | None) -> bool:
    """Whether later steps are left out: no rewards, or one below what the step asks for (a missing one counts as -inf)."""
    if rewards is None:
        return True
    return any(rewards.get(key, -math.inf) < least for key, least in step.min_reward)


def as_json(graded: list[Graded]) -> bytes:
    """What verifier.json holds."""
    return json.dumps({"steps": [vars(each) for each in graded]}, indent=1, default=dict).encode()
