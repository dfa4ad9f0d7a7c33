"""What harness eval prints: text, JSON and a page in Markdown, all from one evaluation."""

from __future__ import annotations

from dataclasses import asdict

from harness.baselines import Comparison
from harness.evaluation import COVERED, Evaluation
from harness.render import by_task, failed_checks, score, table


def text_of(found: Evaluation, compared: Comparison | None) -> str:
    """The table of tasks and what it comes to."""
    return "\n".join([table(_rows(found), ("task", "passed", "score", "failed checks")), "", *_lines(found, compared)])


def markdown(found: Evaluation, compared: Comparison | None, problem: str) -> str:
    """The same as a page for a CI's step summary."""
    head = ["task", "passed", "score", "failed checks"]
    rows = [head, ["---"] * 4, *_rows(found)]
    lines = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)
    verdict = f"**failed**: {problem}" if problem else "**passed**" if found.coverage >= COVERED else "**not finished**"
    listed = "\n".join(f"- {line}" for line in _lines(found, compared))
    return f"### {found.scaffold} on {found.suite}\n\n{verdict}\n\n{lines}\n\n{listed}\n\n"


def json_of(found: Evaluation, compared: Comparison | None) -> dict[str, object]:
    """The same for programs."""
    against = {**asdict(compared), "worse": compared.worse} if compared is not None else None
    return {"baseline": against, "scaffold": found.scaffold, "suite": found.suite, "score": found.score, "interval": found.interval,
            "coverage": found.coverage, "planned": found.plan.planned, "cached": sum(t.cached for t in found.trials),
            "spent": found.spent.model_dump(mode="json"), "quarantine": list(found.quarantine),
            "stopped": found.stopped, "must_pass": {str(unit): passed for unit, passed in found.rerun.items()},
            "trials": [t.model_dump(mode="json") for t in found.trials],
            "reruns": [t.model_dump(mode="json") for t in found.reruns]}  # fmt: skip


def comparison_line(found: Comparison) -> str:
    """The paired difference, whether it is beyond noise, and what could have been found."""
    interval = f" [{found.interval[0]:+.2f}, {found.interval[1]:+.2f}]" if found.interval is not None else ""
    noise = "beyond the noise of measuring again" if found.worse else "not beyond the noise of measuring again"
    power = (
        f"a drop of {found.detectable:.2f} over all tasks"
        if found.detectable is not None
        else "on so few units no drop"
    )
    return (f"{found.difference:+.2f}{interval} against the baseline ({score(found.before)} -> {score(found.now)}, {found.units} pairs), "
            f"{noise} (p {found.p_value:.3f}); {power} would have been detected with 80 % power")  # fmt: skip


def _rows(found: Evaluation) -> list[list[str]]:
    return [[task + (" (quarantine)" if task in found.quarantine else ""), f"{sum(t.passed for t in trials)}/{len(trials)}",
             score(sum(t.score or 0.0 for t in trials) / len(trials)), failed_checks([t for t in trials if not t.passed])]
            for task, trials in by_task(found.trials).items()]  # fmt: skip


def _lines(found: Evaluation, compared: Comparison | None) -> list[str]:
    lines = []
    attempts = max((t.spec.attempt for t in found.trials), default=0) + 1
    if attempts > 1 and (passes := found.passes(attempts)) is not None:
        lines.append(f"pass@{attempts} {score(passes[0])}, pass^{attempts} {score(passes[1])}")
    for unit, passed in found.rerun.items():
        again = sum(t.spec.unit == unit for t in found.reruns)
        lines.append(f"must_pass {unit}: failed, and {passed} of {again} fresh re-runs passed")
    interval = (
        f" [{score(found.interval[0])}, {score(found.interval[1])}] (95 %, clustered by task)" if found.interval else ""
    )
    cached = sum(t.cached for t in found.trials)
    origins = ", ".join(sorted({t.origin for t in found.trials}))
    lines.append(f"{found.scaffold} on {found.suite}: {score(found.score)}{interval}; coverage {found.coverage:.0%}, "
                 f"{len(found.trials)} trials{f' ({cached} cached)' if cached else ''}, {origins}")  # fmt: skip
    if (missing := found.unfinished) > 0 and not found.stopped:
        lines.append(f"the budget ended: {missing} of {found.plan.planned} trials were not finished")
    spent = found.spent
    if spent.calls:
        money = "unpriced" if spent.usd is None else f"${spent.usd:.2f}"
        lines.append(f"spent {money}, {spent.tokens:,} tokens in {spent.calls} calls")
    if compared is not None:
        lines.append(comparison_line(compared))
    return lines
