"""Every fact that the harness writes down, as frozen records. No I/O, no behaviour beyond reading a field."""

from harness.records.base import (
    SCORED_OUTCOMES,
    Breach,
    Grade,
    Origin,
    Outcome,
    Record,
    Role,
    Split,
    Verdict,
)
from harness.records.candidates import Candidate, Change, Manifest, Proposal, Rejection
from harness.records.decisions import Claim, Decision, Look
from harness.records.experiment import Experiment
from harness.records.model import Message, ModelCall, ModelReply, ModelRequest, Prompt, Sampling, Shape, Tool
from harness.records.tasks import Foreign, Healthcheck, Hook, Kept, Place, Step, Suite, Task, Unit
from harness.records.trials import Artifact, Check, Trial, TrialSpec
from harness.records.usage import Limits, Usage

__all__ = [
    "SCORED_OUTCOMES", "Artifact", "Breach", "Candidate", "Change", "Check", "Claim", "Decision", "Experiment", "Foreign",
    "Grade", "Healthcheck", "Hook", "Kept", "Limits", "Look", "Manifest", "Message", "ModelCall", "ModelReply", "ModelRequest", "Origin", "Outcome", "Place",
    "Prompt", "Proposal", "Record", "Rejection", "Role", "Sampling", "Shape", "Split", "Step", "Suite", "Task", "Tool", "Trial",
    "TrialSpec", "Unit", "Usage", "Verdict",
]  # fmt: skip
