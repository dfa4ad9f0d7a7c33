"""The gateway of a run: to its models, recorded, or to the recording of another run; and what origin its replies have."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from harness.archive import Archive
from harness.budget import Budget
from harness.models.gateway import ModelGateway, build_routes
from harness.models.keys import check_route, is_loopback
from harness.models.prices import price_of
from harness.models.recording import recorded_usage
from harness.models.routes import adapter_for, recording_to, replaying
from harness.records import Experiment, Origin, Role, Usage
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
        journalled = _journalled(archive)
        for role, usage in journalled.values():
            budget.book(role, usage)
        if calls is not None and (budget.usd is not None or budget.tokens is not None):
            _book_lost(budget, experiment, {key: usage for key, (_, usage) in journalled.items()}, calls)
    return ModelGateway(build_routes(experiment.models, recording_to(calls) if calls else adapter_for), budget)


def _journalled(archive: Archive) -> dict[str, tuple[Role, Usage]]:
    """What each trial and proposal has used, by the key under which its calls are recorded."""
    found: dict[str, tuple[Role, Usage]] = {trial.spec.key: ("worker", trial.usage) for trial in archive.all_trials}
    for number, state in archive.rounds.items():
        used = {repair: made.usage for repair, made in enumerate(state.proposals)}
        if state.failure is not None:
            used[state.failure.repair] = state.failure.usage
        found |= {f"proposal/r{number:02d}-{repair}": ("proposer", usage) for repair, usage in used.items()}
    return found


def _book_lost(budget: Budget, experiment: Experiment, journalled: Mapping[str, Usage], calls: Path) -> None:
    """Book what was paid for and is in no event: calls of trials that a kill or a cap cut off, memos, and the priced part of a
    trial that used an unpriced model too.
    """
    prices = {choice.name: price_of(choice) for choice in experiment.models.values()}
    for path in sorted(calls.rglob("*.jsonl")):
        key, paid, usd = path.relative_to(calls).as_posix().removesuffix(".jsonl"), Usage(), 0.0
        for model, usage in recorded_usage(path):
            price = prices.get(model)
            paid += usage.model_copy(update={"usd": None if price is None else 0.0})
            usd += 0.0 if price is None else price.of(usage)
        told = journalled.get(key, Usage())
        role: Role = "proposer" if key.startswith(("proposal/", "memo/")) else "worker"
        budget.book(role, Usage(calls=max(0, paid.calls - told.calls), tokens_in=max(0, paid.tokens_in - told.tokens_in),
                                tokens_out=max(0, paid.tokens_out - told.tokens_out), usd=max(0.0, usd - (told.usd or 0.0))))  # fmt: skip
        if paid.usd is None:
            budget.book(role, Usage(usd=None))


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
