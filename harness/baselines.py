"""Baselines: the trials of an evaluation kept in a file, and later ones compared with them, pair by pair.

CI needs one answer: is this worse than before, beyond noise? The pairs are units (task and seed), the interval is clustered
by family, and what the comparison could have detected at all is said beside it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from harness.config import flat
from harness.errors import UsageError
from harness.power import LEVEL, detectable_drop, randomisation_p
from harness.records import Trial
from harness.runs import write_atomic
from harness.stats import by_family, clustered_interval, paired

SCHEMA = 2


@dataclass(frozen=True)
class Baseline:
    """What was measured once: `identity` says on what, and must be the same for a comparison to mean anything."""

    identity: Mapping[str, Any]
    trials: tuple[Trial, ...]
    reruns: tuple[Trial, ...] = ()
    """Of must_pass units: what a shard knows and the merged evaluation has to know too."""


@dataclass(frozen=True)
class Comparison:
    """Now minus baseline over the units that both have.

    `interval` is clustered by family: what to expect on other tasks of the kind; None with fewer than two families.
    `p_value` is of the randomisation test within units: whether the drop is beyond the noise of measuring these units again.
    `detectable` is the smallest drop, spread evenly over the units, that would have been found with 80 % power; None: none.
    """

    now: float
    before: float
    difference: float
    interval: tuple[float, float] | None
    p_value: float
    detectable: float | None
    units: int

    @property
    def worse(self) -> bool:
        """Whether the drop is beyond noise."""
        return self.p_value <= LEVEL


def write_baseline(
    path: Path, identity: Mapping[str, Any], trials: Sequence[Trial], reruns: Sequence[Trial] = ()
) -> None:
    """Keep an evaluation as a baseline, whole or not at all."""
    kept, again = ([trial.model_dump(mode="json") for trial in each] for each in (trials, reruns))
    data = {"schema": SCHEMA, "kind": "baseline", "identity": dict(identity), "trials": kept, "reruns": again}
    write_atomic(path, json.dumps(data, indent=1, sort_keys=True).encode())


def read_baseline(path: Path) -> Baseline:
    """Raises UsageError for a file that is none, or of another schema."""
    try:
        data = json.loads(path.read_text("utf-8"))
        if data["kind"] != "baseline" or data["schema"] != SCHEMA:
            raise UsageError(
                f"{path}: schema {data['schema']} of {data['kind']}; this version reads baselines of schema {SCHEMA}\n"
                "measure it again: --update-baseline"
            )
        trials, reruns = (tuple(Trial.model_validate(trial) for trial in data[key]) for key in ("trials", "reruns"))
        return Baseline(dict(data["identity"]), trials, reruns)
    except (OSError, ValueError, KeyError, TypeError, ValidationError) as error:
        first = str(error).splitlines()[0]
        raise UsageError(f"{path}: no baseline: {first}\nmake one with --update-baseline {path}") from None


def refuse_stale(identity: Mapping[str, Any], base: Baseline) -> None:
    """Raise UsageError, with what changed, when the baseline was measured on something else."""
    now, before = (flat(json.loads(json.dumps(dict(each)))) for each in (identity, base.identity))
    changed = sorted(key for key in now.keys() | before.keys() if now.get(key) != before.get(key))
    if changed:
        shown = ", ".join(
            f"{key} ({before.get(key)} -> {now.get(key)})" if len(str(now.get(key))) < 40 else key
            for key in changed[:3]
        )
        raise UsageError(
            f"the baseline is stale: {shown} changed since it was measured\nmeasure it again: --update-baseline"
        )


def compare(
    identity: Mapping[str, Any], trials: Sequence[Trial], base: Baseline, families: Mapping[str, str]
) -> Comparison:
    """Raises UsageError when the baseline was measured on something else, or shares no unit."""
    refuse_stale(identity, base)
    pairs = paired(trials, base.trials)
    if not pairs.differences:
        raise UsageError(
            "the baseline shares no task and seed with this evaluation\nmeasure it again: --update-baseline"
        )
    groups = by_family(pairs.differences, families)
    return Comparison(
        now=pairs.first, before=pairs.second, difference=pairs.first - pairs.second,
        interval=clustered_interval(groups), p_value=randomisation_p(trials, base.trials),
        detectable=detectable_drop(trials, base.trials), units=len(pairs.differences),
    )  # fmt: skip
