"""selfharness: a language model improves the scaffold it runs in; every change is measured, kept or reverted.

`harness.evaluate(scaffold, suite)` scores a scaffold; `harness.load(run)` gives a run as tidy frames; `harness.Experiment` is
an experiment file as a record. All are imported when they are asked for.
"""

from __future__ import annotations

import importlib
from typing import Any

__all__ = ["Evaluation", "Experiment", "Frames", "evaluate", "load"]

_HOMES = {
    "evaluate": "harness.measure",
    "Evaluation": "harness.evaluation",
    "Experiment": "harness.records",
    "Frames": "harness.frames",
    "load": "harness.frames",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'harness' has no attribute {name!r}")
