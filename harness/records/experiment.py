"""An experiment file, complete: every key, its default, its bounds."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from harness.records.base import Record
from harness.records.usage import Limits


class ScaffoldChoice(Record):
    start: str = "plain"
    editable: tuple[str, ...] = ("**",)


class ModelChoice(Record):
    """A model behind an alias. `name` as litellm names it; `api_base` for a compatible server."""

    name: str
    api_base: str | None = None
    reasoning_effort: str | None = None
    usd_per_mtok_in: float | None = Field(default=None, ge=0)
    """Price in dollars per million prompt tokens, when our table does not know the model."""
    usd_per_mtok_out: float | None = Field(default=None, ge=0)
    usd_per_mtok_cached: float | None = Field(default=None, ge=0)


class ProposerChoice(Record):
    kind: Literal["editor", "oneshot", "command", "random", "placebo"] = "editor"
    scaffold: str = "editor"
    model: str = "main"


class SuiteChoice(Record):
    name: str
    seeds: int = Field(default=3, ge=1, le=1000)


class GateChoice(Record):
    kind: Literal["pool", "strict", "paired", "random"] = "pool"
    preset: Literal["explore", "default", "cautious"] = "default"


class SelectorChoice(Record):
    kind: Literal["ratchet", "pareto", "thompson"] = "ratchet"


class BudgetChoice(Record):
    """At least one of the caps is set; patience is rounds without a keep."""

    rounds: int | None = Field(default=None, ge=0)
    trials: int | None = Field(default=None, ge=0)
    usd: float | None = Field(default=None, ge=0)
    tokens: int | None = Field(default=None, ge=0)
    hours: float | None = Field(default=None, gt=0)
    patience: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _one_cap(self) -> BudgetChoice:
        if all(cap is None for cap in (self.rounds, self.trials, self.usd, self.tokens, self.hours)):
            raise ValueError("set at least one of rounds, trials, usd, tokens, hours")
        return self


class SandboxChoice(Record):
    kind: Literal["auto", "docker", "bwrap", "local"] = "auto"
    min_grade: Literal["A", "B", "C"] | None = None
    """None: A for live models, B for simulated and replayed ones."""
    concurrency: int = Field(default=2, ge=1, le=256)
    root: str | None = None
    """A full root folder for bwrap, in place of the host's /usr and the task runtime."""
    image: str | None = None
    """What docker runs tasks in that name no image; by default the one that harness check names."""
    images: dict[str, str] = Field(default_factory=dict)
    """What to use instead of an image's name: mirrors, air-gapped sites."""
    live: tuple[str, ...] = ()
    """Foreign tasks, by name or pattern, whose tests run beside what the agent left running (docs/tasks.md): grade C."""


class TrackingChoice(Record):
    uri: str = "sqlite:///runs/mlflow.db"


class ClaimChoice(Record):
    """The claim at the end of a run. `at_end` runs it when the run ends by itself."""

    at_end: bool = False
    passes: int = Field(default=2, ge=1, le=20)


class Experiment(Record):
    """One experiment file. Defaults are DESIGN section 14's."""

    name: str
    description: str = ""
    seed: int = 7
    scaffold: ScaffoldChoice = ScaffoldChoice()
    models: dict[str, ModelChoice]
    proposer: ProposerChoice = ProposerChoice()
    suite: SuiteChoice
    gate: GateChoice = GateChoice()
    selector: SelectorChoice = SelectorChoice()
    budget: BudgetChoice
    sandbox: SandboxChoice = SandboxChoice()
    limits: Limits = Limits()
    tracking: TrackingChoice = TrackingChoice()
    claim: ClaimChoice = ClaimChoice()

    @model_validator(mode="after")
    def _aliases(self) -> Experiment:
        if "main" not in self.models:
            raise ValueError('models: an alias "main" is required')
        if self.proposer.model not in self.models:
            raise ValueError(f'proposer.model: no model alias "{self.proposer.model}" is declared under [models]')
        return self
