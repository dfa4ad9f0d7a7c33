"""The base of every record, and the words that records share."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

Split = Literal["train", "val", "test"]
Origin = Literal["live", "simulated", "replayed"]
Grade = Literal["A", "B", "C"]
Role = Literal["worker", "proposer"]
Outcome = Literal["scored", "agent_error", "time_up", "task_error", "infra_error", "cancelled"]
Verdict = Literal["keep", "revert", "invalid", "no_change", "indecisive", "infra", "rolled_back", "pending"]
Breach = Literal["tamper", "leak", "scope", "treatment", "broken"]

SCORED_OUTCOMES: frozenset[Outcome] = frozenset({"scored", "agent_error", "time_up"})
"""Outcomes that count: the last two as 0. The others have no score and lower the coverage."""


class Record(BaseModel):
    """A frozen fact. Unknown fields are refused, sequences are tuples, equality is by value."""

    model_config = ConfigDict(frozen=True, extra="forbid")
