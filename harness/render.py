"""The one renderer: what `show`, the live lines, the notes in MLflow and the ledger print. Pure text, no colour.

Scores are 0..1 with two digits, differences in points (pp) with one. A candidate's difference is its gate's posterior
mean and is labelled *selected*: only a claim has a confidence interval.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from harness.archive import Archive
from harness.records import Claim, Decision, Trial, Usage


def points(value: float | None) -> str:
    """A difference in score units as points: +11.7, or a dash."""
    return "-" if value is None else f"{100 * value:+.1f}"


def score(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def dollars(usage: Usage, origin: str | None = None) -> str:
    """$2.70, "unpriced", or "simulated, $0"."""
    if origin == "simulated":
        return "simulated, $0"
    return "unpriced" if usage.usd is None else f"${usage.usd:.2f}"


def duration(seconds: float) -> str:
    """41 s, 2 min 05 s, 3 h 20 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def verdict(decision: Decision) -> str:
    """keep, revert, invalid(leak) ..."""
    return f"{decision.verdict}({decision.breach})" if decision.breach else decision.verdict


def delta(decision: Decision) -> str:
    """+11.7 [+3.3, +20.0], the gate's posterior; a dash when nothing was measured."""
    if decision.delta is None:
        return "-"
    return f"{points(decision.delta)} [{points(decision.lower)}, {points(decision.upper)}]"


def table(rows: Sequence[Sequence[str]], header: Sequence[str]) -> str:
    """Left-aligned columns, two blanks between; trailing blanks cut."""
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
             for row in (header, *rows)]  # fmt: skip
    return "\n".join(lines)


def markdown_table(rows: Sequence[Sequence[str]], header: Sequence[str]) -> str:
    """The same as a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def title_of(archive: Archive, decision: Decision) -> str:
    """The candidate's title, from the lineage or from the proposal that never got there."""
    if decision.candidate in archive.candidates:
        return archive.candidates[decision.candidate].title
    proposal = archive.proposals.get(decision.round)
    return proposal.manifest.title if proposal else "no proposal"


def decision_line(archive: Archive, decision: Decision) -> str:
    """One round in one line: `r03  c0003  read the spec first   0.33 -> 0.58  +6.1 [-0.5, +13.5]  keep`."""
    title = title_of(archive, decision)
    title = title if len(title) <= 38 else title[:37] + "…"
    scores = f"{score(decision.parent_score)} -> {score(decision.score)}" if decision.score is not None else ""
    shown = delta(decision) if decision.delta is not None else ""
    end = verdict(decision) + (
        f": {one_line(decision.detail, 60)}" if decision.verdict != "keep" and decision.detail else ""
    )
    return f"r{decision.round:02d}    {decision.candidate}  {title:38}  {scores:12}  {shown:22}  {end}".rstrip()


def one_line(text: str, limit: int) -> str:
    """The text without line breaks, cut with an ellipsis."""
    flat = " ".join(text.split())
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"


def seed_score(archive: Archive) -> float | None:
    """Mean train score of the seed, over every gate trial of it that counts."""
    scores = [t.score for t in archive.trials.get(archive.seed, ()) if t.score is not None]
    return sum(scores) / len(scores) if scores else None


def summary(archive: Archive) -> str:
    """One run: its rounds, its best, its claim, what it cost."""
    lines = [f"run {archive.run}   experiment {archive.experiment}   {state(archive)}"]
    lines += [f"seed   {archive.seed}  {'seed scaffold':38}  {score(seed_score(archive))}"]
    lines += [decision_line(archive, decision) for decision in archive.decisions]
    lines += [f"audit r{a.round:02d}  {a.champion} against {a.ancestor} on val: {points(a.delta)} "
              f"[{points(a.lower)}, {points(a.upper)}], train {points(a.train_gain)}: "
              f"{'holds' if a.passed else 'rolled back'}" for a in archive.audits]  # fmt: skip
    lines += ["", closing(archive)]
    lines += [claim_text(claim) for claim in archive.claims[-1:]]
    return "\n".join(lines)


def state(archive: Archive) -> str:
    """ended (rounds), or how far it got and how to go on."""
    if archive.ended is not None:
        return f"ended ({archive.ended.reason})"
    return f"not ended: {len(archive.decisions)} rounds decided; harness run --resume {archive.run}"


def closing(archive: Archive) -> str:
    """best c0003   8 rounds, 2 kept, 312 trials, simulated $0, 1 min 41 s."""
    kept = sum(d.verdict == "keep" for d in archive.decisions)
    spent = archive.spent()
    count = len(archive.all_trials)
    return (f"best   {archive.best}   {len(archive.decisions)} rounds, {kept} kept, {count} trials, "
            f"{spent.tokens:,} tokens, {dollars(spent, origin(archive))}, {duration(archive.active_s)}")  # fmt: skip


def origin(archive: Archive) -> str | None:
    """Where the replies came from, when it is one place."""
    origins = {trial.origin for trial in archive.all_trials}
    return origins.pop() if len(origins) == 1 else None


def claim_text(claim: Claim) -> str:
    """The claim, what it cost, and how often the seal was opened."""
    ratio = "-" if claim.cost_ratio is None else f"{claim.cost_ratio:.2f}"
    rest = f"cost ratio {ratio}; seal opened {claim.opened} time{'s' if claim.opened != 1 else ''}"
    if claim.best_of_n is not None:
        rest += f"; seed, best of {claim.best_of_n_attempts} attempts: {claim.best_of_n:.2f}"
    return f"claim  {claim.statement}\n       {rest}"


def candidate_text(archive: Archive, candidate: str) -> str:
    """One candidate: verdict, hypothesis, predictions, per-task scores against the parent's."""
    decision = archive.decision_of(candidate)
    lines = [candidate]
    if candidate in archive.candidates:
        record = archive.candidates[candidate]
        lines = [f"{candidate}  {record.title}", f"parent {record.parent or '-'}   round {record.round}   "
                 f"commit {record.commit[:12]}   digest {record.digest[:12]}"]  # fmt: skip
        if record.components:
            lines.append(f"changed: {', '.join(record.components)}")
    if decision is not None:
        lines += _decision_text(archive, decision)
    rows = task_rows(archive, candidate)
    if rows:
        lines += ["", table(rows, ("task", "passed", "score", "parent", "failed checks"))]
    return "\n".join(lines)


def _decision_text(archive: Archive, decision: Decision) -> list[str]:
    lines = ["", f"{verdict(decision)} ({decision.reason}){': ' + decision.detail if decision.detail else ''}"]
    if decision.delta is not None:
        better = f"   P(better) {decision.p_better:.2f}" if decision.p_better is not None else ""
        lines.append(f"delta {delta(decision)} pp, selected, posterior{better}   raw mean {points(decision.mean)} "
                     f"over {decision.pairs} pairs, {decision.trials} trials")  # fmt: skip
        lines.append(f"fixed: {', '.join(decision.fixed) or 'none'}   broken: {', '.join(decision.broken) or 'none'}")
    if decision.predictions:
        lines.append("predictions: " + ", ".join(f"{name} {value:.2f}" for name, value in decision.predictions))
    proposal = archive.proposals.get(decision.round)
    if proposal:
        manifest = proposal.manifest
        lines += [f"{name}: {text}" for name, text in (("mechanism", manifest.mechanism), ("hypothesis", manifest.hypothesis),
                  ("root cause", manifest.root_cause), ("predicted fixes", ", ".join(manifest.predicted_fixes)),
                  ("predicted risks", ", ".join(manifest.predicted_risks))) if text]  # fmt: skip
    return lines


def task_rows(archive: Archive, candidate: str) -> list[list[str]]:
    """Per train task: passed of counted trials, mean score, the parent's mean, checks that failed."""
    parent = archive.candidates[candidate].parent if candidate in archive.candidates else None
    mine = by_task(archive.trials.get(candidate, ()))
    theirs = by_task(archive.trials.get(parent, ())) if parent else {}
    return [[task, f"{sum(t.passed for t in trials)}/{len(trials)}", score(_mean(trials)), score(_mean(theirs.get(task, ()))),
             failed_checks(trials)] for task, trials in mine.items()]  # fmt: skip


def by_task(trials: Iterable[Trial]) -> dict[str, list[Trial]]:
    """Trials by task id, sorted by task, seed, attempt."""
    groups: dict[str, list[Trial]] = {}
    for trial in sorted(trials, key=lambda t: (t.spec.task, t.spec.seed, t.spec.attempt)):
        groups.setdefault(trial.spec.task, []).append(trial)
    return groups


def failed_checks(trials: Iterable[Trial]) -> str:
    """Names of failed checks with counts, the most frequent first: `touching 3, order 1`; other outcomes by name."""
    counts: dict[str, int] = {}
    for trial in trials:
        names = [c.name for c in trial.checks if not c.passed] if trial.outcome == "scored" else [trial.outcome]
        for name in names:
            counts[name] = counts.get(name, 0) + 1
    return ", ".join(f"{name} {n}" for name, n in sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _mean(trials: Iterable[Trial]) -> float | None:
    scores = [t.score for t in trials if t.score is not None]
    return sum(scores) / len(scores) if scores else None


def trial_line(trial: Trial) -> str:
    """One measurement in one line."""
    flags = f"  [{', '.join(trial.flags)}]" if trial.flags else ""
    detail = f"  {one_line(trial.detail, 60)}" if trial.detail else ""
    return (f"{trial.spec.key:48}  {trial.outcome:11}  {score(trial.score):5}  {trial.steps:3} steps  "
            f"{trial.usage.tokens:7,} tokens  {trial.wall_s:5.1f} s{flags}{detail}").rstrip()  # fmt: skip
