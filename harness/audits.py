"""Val audits: every fourth keep the champion meets its last audited ancestor on val (selection.md section 5). Pure."""

from __future__ import annotations

from statistics import fmean

from harness.archive import Archive
from harness.records import Trial, TrialSpec, Unit
from harness.records.events import AuditDone
from harness.stats import paired

EVERY = 4
PASSES = 2
Z = 1.28
SMALLEST = 0.01
"""A gain that cannot reach this is no gain; the thresholds are economic, not a claim."""


def due_for_audit(archive: Archive) -> str | None:
    """The ancestor to audit the champion against, when the last decision was the fourth keep since the last audit."""
    if not archive.decisions or archive.decisions[-1].verdict != "keep":
        return None
    audited_in = archive.audits[-1].round if archive.audits else 0
    keeps = [d for d in archive.decisions if d.verdict == "keep" and d.round > audited_in]
    if len(keeps) < EVERY:
        return None
    if not archive.audits:
        return archive.seed
    last = archive.audits[-1]
    return last.champion if last.passed else last.ancestor


def audit_specs(units: tuple[Unit, ...], champion: str, ancestor: str, archive: Archive) -> tuple[TrialSpec, ...]:
    """Both on every val unit, twice, interleaved. Attempts of earlier audits are never reused."""
    first = PASSES * len(archive.audits)
    return tuple(
        TrialSpec(candidate=who, task=unit.task, seed=unit.seed, attempt=first + k, split="val")
        for k in range(PASSES) for unit in units for who in (champion, ancestor)
    )  # fmt: skip


def audit_verdict(
    archive: Archive, number: int, champion: str, ancestor: str, specs: tuple[TrialSpec, ...]
) -> AuditDone:
    """Pass if the gain holds on val; else the run goes back to the ancestor."""
    wanted = {spec.key for spec in specs}
    trials = [trial for trial in archive.other_trials.get("audit", ()) if trial.spec.key in wanted]
    compared = paired(_of(trials, champion), _of(trials, ancestor))
    mean, error = compared.mean, compared.error
    if mean - Z * error > 0:
        passed = True
    elif mean + Z * error < SMALLEST:
        passed = False
    else:
        passed = mean > 0
    gain = _train_gain(archive, champion, ancestor)
    return AuditDone(round=number, champion=champion, ancestor=ancestor, passed=passed, delta=mean,
                     lower=mean - Z * error, upper=mean + Z * error, train_gain=gain, pairs=compared.pairs)  # fmt: skip


def _of(trials: list[Trial], candidate: str) -> tuple[Trial, ...]:
    return tuple(trial for trial in trials if trial.spec.candidate == candidate)


def _train_gain(archive: Archive, champion: str, ancestor: str) -> float:
    """Mean train score of the champion less the ancestor's, as measured: selected, and labelled so."""
    means = []
    for who in (champion, ancestor):
        scores = [t.score for t in archive.trials.get(who, ()) if t.score is not None]
        means.append(fmean(scores) if scores else 0.0)
    return means[0] - means[1]
