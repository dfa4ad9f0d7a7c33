"""What MLflow shall show, computed from the archive: names, metrics, tags, notes, tables. Pure; no MLflow here.

The metric names are stable (docs/mlflow.md); differences are in points, rounded when logged because tables print floats
in full.
"""

from __future__ import annotations

from typing import Any

from harness.archive import Archive
from harness.records import Decision, Experiment, Trial
from harness.render import (
    ROUND_COLUMNS,
    TASK_COLUMNS,
    by_task,
    candidate_text,
    closing,
    compared_rows,
    delta,
    headline,
    manifest_facts,
    markdown_table,
    mean_score,
    origin,
    origin_note,
    points,
    predictions,
    round_rows,
    title_of,
    verdict,
)
from harness.stats import unit_means

TRACES_PER_CANDIDATE = 8


def run_name(decision: Decision) -> str:
    """r03-c0007 keep +11.7pp"""
    gain = f" {points(decision.delta)}pp" if decision.delta is not None else ""
    return f"r{decision.round:02d}-{decision.candidate} {verdict(decision)}{gain}"


def candidate_metrics(archive: Archive, decision: Decision) -> dict[str, float]:
    """Metrics of a candidate's run; what is unknown is left out."""
    trials = archive.trials.get(decision.candidate, ())
    usage = [trial.usage for trial in trials]
    seed = mean_score(archive.trials.get(archive.seed, ()))
    mine = mean_score(trials)
    found: dict[str, float | None] = {
        "score": mine,
        "score_train": mine,
        "score_val": mean_score(
            [t for t in archive.other_trials.get("audit", ()) if t.spec.candidate == decision.candidate]
        ),
        "delta_parent_pp": _pp(decision.delta),
        "ci_lo_pp": _pp(decision.lower),
        "ci_hi_pp": _pp(decision.upper),
        "p_better": decision.p_better,
        "delta_seed_pp": _pp(mine - seed) if mine is not None and seed is not None else None,
        "fixed": float(len(decision.fixed)),
        "broken": float(len(decision.broken)),
        "infra_errors": float(sum(t.outcome == "infra_error" for t in trials)),
        "coverage": decision.coverage,
        "trials": float(len(trials)),
        "cost_usd": None if any(u.usd is None for u in usage) else sum(u.usd or 0.0 for u in usage),
        "tokens_in": float(sum(u.tokens_in for u in usage)),
        "tokens_out": float(sum(u.tokens_out for u in usage)),
        "wall_s": round(sum(t.wall_s for t in trials), 1),
    }
    return {name: round(value, 4) for name, value in found.items() if value is not None}


def candidate_tags(archive: Archive, decision: Decision, experiment: Experiment) -> dict[str, str]:
    """Tags by which a reviewer filters. Child runs inherit nothing, so model and suite are here too."""
    candidate = archive.candidates.get(decision.candidate)
    trials = archive.trials.get(decision.candidate, ())
    return {
        "kind": "candidate",
        "verdict": verdict(decision),
        "reason": decision.reason,
        "parent_candidate": decision.parent,
        "candidate": decision.candidate,
        "round": str(decision.round),
        "components": ", ".join(candidate.components) if candidate else "",
        "origin": _one({t.origin for t in trials}) or origin(archive) or "",
        "isolation": _one({t.isolation for t in trials}),
        "model": experiment.models["main"].name,
        "mlflow.runType": "genai_evaluate",
        "mlflow.note.content": candidate_note(archive, decision),
    }


def candidate_note(archive: Archive, decision: Decision) -> str:
    """The description of a candidate's run: the verdict in plain words first, because the page folds it."""
    gain = f" {delta(decision)} pp vs parent (selected)" if decision.delta is not None else ""
    first = (f"{verdict(decision).upper()}{gain}; fixed {len(decision.fixed)}, broke {len(decision.broken)}; "
             f"{title_of(archive, decision)}")  # fmt: skip
    if decision.detail:
        first += f"\n\n{decision.detail}"
    proposal = archive.proposals.get(decision.round)
    parts = [first]
    if proposal:
        parts += [f"**{name.capitalize()}.** {text}" for name, text in manifest_facts(proposal.manifest)]
    if decision.predictions:
        parts.append(f"**Predictions scored.** {predictions(decision)}")
    rows = compared_rows(archive.trials.get(decision.candidate, ()), archive.trials.get(decision.parent, ()))
    if rows:
        parts.append(markdown_table(rows, TASK_COLUMNS))
    parts.append("Artifacts: change.md (coloured by +/-), manifest.json, trials.json, candidate.txt.")
    return "\n\n".join(parts)


def trial_table(archive: Archive, candidate: str) -> dict[str, list[Any]]:
    """Every trial of a candidate, by column: what trials.json shows as a table."""
    columns: dict[str, list[Any]] = {
        name: []
        for name in (
            "task",
            "seed",
            "attempt",
            "outcome",
            "score",
            "failed_checks",
            "steps",
            "tokens",
            "usd",
            "wall_s",
            "flags",
            "detail",
        )
    }
    for task, trials in by_task(archive.trials.get(candidate, ())).items():
        for t in trials:
            row = (task, t.spec.seed, t.spec.attempt, t.outcome, t.score,
                   ", ".join(c.name for c in t.checks if not c.passed), t.steps, t.usage.tokens, t.usage.usd,
                   round(t.wall_s, 2), ", ".join(t.flags), t.detail)  # fmt: skip
            for column, value in zip(columns.values(), row, strict=True):
                column.append(value)
    return columns


def traced(archive: Archive, candidate: str, parent: str | None) -> list[Trial]:
    """The trials worth a trace: flipped against the parent first, then failed (one per task), then a passing sample."""
    trials = list(archive.trials.get(candidate, ()))
    before = unit_means(archive.trials.get(parent, ())) if parent else {}
    flipped = [t for t in trials if t.score is not None and abs(t.score - before.get(t.spec.unit, t.score)) > 0.5]
    failed = [group for group in by_task([t for t in trials if not t.passed]).values()]
    passed = [group for group in by_task([t for t in trials if t.passed]).values()]
    wanted = flipped + [group[0] for group in failed] + [group[0] for group in passed]
    return list({t.spec.key: t for t in wanted}.values())[:TRACES_PER_CANDIDATE]


def parent_metrics(archive: Archive, decision: Decision, previous: float) -> dict[str, float]:
    """Stepped metrics of the parent run: the hill-climbing curve, by round. `previous` is the best score so far."""
    mine = mean_score(archive.trials.get(decision.candidate, ()))
    best = decision.score if decision.verdict == "keep" and decision.score is not None else previous
    seed = mean_score(archive.trials.get(archive.seed, ())) or 0.0
    found = {"best_score": best, "best_delta_pp": 100 * (best - seed)}
    if mine is not None:
        found["candidate_score"] = mine
    usd = archive.spent().usd
    if usd is not None:
        found["cum_cost_usd"] = usd
    return {name: round(value, 4) for name, value in found.items()}


def claim_metrics(archive: Archive) -> dict[str, float]:
    """claim_* of the parent run, from the last claim."""
    if not archive.claims:
        return {}
    claim = archive.claims[-1]
    found = {"claim_delta_pp": _pp(claim.delta), "claim_ci_lo_pp": _pp(claim.lower), "claim_ci_hi_pp": _pp(claim.upper),
             "claim_e_value": claim.e_value, "claim_seal_opened": float(claim.opened)}  # fmt: skip
    return {name: round(value, 4) for name, value in found.items() if value is not None}


def run_note(archive: Archive) -> str:
    """The description of the parent run: what came out in the first line, then the rounds as a table."""
    lines = [closing(archive), headline(archive)]
    if archive.decisions:
        lines.append(markdown_table(round_rows(archive), ROUND_COLUMNS))
    if note := origin_note(archive):
        lines.append(note)
    return "\n\n".join(lines)


def change_markdown(archive: Archive, decision: Decision, diff: str) -> str:
    """The diff as Markdown, because the artifact viewer shows no .diff."""
    return f"# {title_of(archive, decision)}\n\n{decision.parent} to {decision.candidate}\n\n```diff\n{diff}\n```\n"


def candidate_page(archive: Archive, decision: Decision) -> str:
    """What `harness show RUN CANDIDATE` prints."""
    return candidate_text(archive, decision.candidate) + "\n"


def _pp(value: float | None) -> float | None:
    return None if value is None else round(100 * value, 1)


def _one(values: set[Any]) -> str:
    return str(values.pop()) if len(values) == 1 else ", ".join(sorted(map(str, values)))
