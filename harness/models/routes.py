"""From a model's name to its adapter."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from harness.models.keys import check_route, key_for
from harness.models.litellm_adapter import LitellmModel
from harness.models.recording import RecordedModel, Recorder
from harness.models.replayed import Recordings, ReplayedModel
from harness.models.simulated import SimulatedModel
from harness.records.experiment import ModelChoice
from harness.seams import Model


def adapter_for(choice: ModelChoice) -> Model:
    """The adapter of a declared model. Raises UsageError for an unknown provider or simulated model, MachineError
    for a missing key."""
    check_route(choice)
    if choice.name.startswith("simulated/"):
        return SimulatedModel(choice.name)
    return LitellmModel(key_for(choice))


def recording_to(calls: Path) -> Callable[[ModelChoice], Model]:
    """As adapter_for, with every call recorded in a folder. The embedded model is a pure function: nothing to record."""
    recorder = Recorder(calls)

    def adapter(choice: ModelChoice) -> Model:
        plain = adapter_for(choice)
        return plain if isinstance(plain, SimulatedModel) else RecordedModel(plain, recorder)

    return adapter


def replaying(recordings: Recordings) -> Callable[[ModelChoice], Model]:
    """Adapters that answer from recordings: no key, no network. The embedded model is asked again."""

    def adapter(choice: ModelChoice) -> Model:
        return SimulatedModel(choice.name) if choice.name.startswith("simulated/") else ReplayedModel(recordings)

    return adapter
