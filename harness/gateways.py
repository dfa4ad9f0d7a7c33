"""The gateway of a run: to its models, recorded, or to the recording of another run; and what origin its replies have."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path

from harness.archive import Archive
from harness.budget import Budget
from harness.models.gateway import ModelGateway, build_routes
from harness.models.keys import check_route, is_loopback
from harness.models.routes import adapter_for, recording_to, replaying
from harness.records import Experiment, Origin
from harness.replays import Replay


def open_gateway(
    experiment: Experiment, archive: Archive | None = None, calls: Path | None = None, replay: Replay | None = None
) -> ModelGateway:
    """A gateway with the budget that `archive` leaves. Calls to live models are recorded in the folder `calls`. A replay
    needs no key and has no cap: nothing is spent. Raises UsageError and MachineError for a model that cannot be called.
    """
    if replay is not None:
        return ModelGateway(build_routes(experiment.models, replaying(replay.recordings)))
    for choice in experiment.models.values():
        check_route(choice)
    budget = Budget(usd=experiment.budget.usd, tokens=experiment.budget.tokens)
    if archive is not None:
        budget.book("worker", archive.spent("worker"))
        budget.book("proposer", archive.spent("proposer"))
    return ModelGateway(build_routes(experiment.models, recording_to(calls) if calls else adapter_for), budget)


def origin_of(experiment: Experiment, replay: Replay | None = None) -> Origin:
    """The origin of what this run's models answer."""
    if replay is not None and not all(choice.name.startswith("simulated/") for choice in experiment.models.values()):
        return replay.recordings.origin()
    return "simulated" if is_simulated(experiment) else "live"


def is_simulated(experiment: Experiment) -> bool:
    """Whether every model is simulated, embedded or served by us on loopback."""
    return all(
        choice.name.startswith("simulated/") or _served_simulated(choice.api_base)
        for choice in experiment.models.values()
    )


def _served_simulated(base: str | None) -> bool:
    if not is_loopback(base):
        return False
    try:
        with urllib.request.urlopen(f"{base}/models", timeout=2) as answer:
            listed = json.load(answer)["data"]
    except (OSError, ValueError, KeyError):
        return False
    return bool(listed) and all(str(model.get("id", "")).startswith("simulated/") for model in listed)
