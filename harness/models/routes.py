"""From a model's name to its adapter."""

from __future__ import annotations

from harness.models.keys import check_route, key_for
from harness.models.litellm_adapter import LitellmModel
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
