"""The one renderer: the words of `show`, the live lines, the report, the notes in MLflow and the ledger. Text, no colour.

Scores are 0..1 with two digits, differences in points (pp) with one. A candidate's difference is its gate's posterior
mean and is labelled *selected*: only a claim has a confidence interval.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from harness.archive import Archive
from harness.records import Claim, Decision, Manifest, Trial, Usage
from harness.records.events import AuditDone

SELECTED = ("A difference is the gate's posterior mean with its 95 % posterior interval, in points. It is selected: the data that "
            "stopped the gate are the data that are shown. Differences of several rounds are never summed; only a claim is for "
            "a reviewer.")  # fmt: skip
ROUND_COLUMNS = ("round", "candidate", "change", "parent", "score", "delta pp (selected)", "verdict")
TASK_COLUMNS = ("task", "parent", "candidate", "delta_pp", "passed", "failed checks")
_UNPRINTABLE = re.compile(
    "[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\\u200e\\u200f\\u202a-\\u202e\\u2066-\\u2069\\ud800-\\udfff\\ufffe\\uffff]"
)


def printable(text: str) -> str:
    """The text with what is no text (control characters, marks that turn the direction) shown as \ufffd; CR LF is LF."""
    return _UNPRINTABLE.sub("\ufffd", text.replace("\r\n", "\n"))


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
        return printable(archive.candidates[decision.candidate].title)
    proposal = archive.proposals.get(decision.round)
    return printable(proposal.manifest.title) if proposal else "no proposal"


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
    flat = " ".join(printable(text).split())
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"


def seed_score(archive: Archive) -> float | None:
    """Mean train score of the seed, over every gate trial of it that counts."""
    return mean_score(archive.trials.get(archive.seed, ()))


def round_rows(archive: Archive) -> list[list[str]]:
    """One row per decided round, under ROUND_COLUMNS."""
    return [[f"r{d.round:02d}", d.candidate, title_of(archive, d), score(d.parent_score), score(d.score), delta(d), verdict(d)]
            for d in archive.decisions]  # fmt: skip


def audit_line(audit: AuditDone) -> str:
    """One audit in one line, with the gap between what train promised and what val gave."""
    return (f"{audit.champion} against {audit.ancestor} on val: {points(audit.delta)} "
            f"[{points(audit.lower)}, {points(audit.upper)}], train {points(audit.train_gain)}: "
            f"{'holds' if audit.passed else 'rolled back'}")  # fmt: skip


def summary(archive: Archive) -> str:
    """One run: its rounds, its best, its claim, what it cost."""
    lines = [f"run {archive.run}   experiment {archive.experiment}   {state(archive)}"]
    lines += [f"seed   {archive.seed}  {'seed scaffold':38}  {score(seed_score(archive))}"]
    lines += [decision_line(archive, decision) for decision in archive.decisions]
    lines += [f"audit r{audit.round:02d}  {audit_line(audit)}" for audit in archive.audits]
    lines += ["", closing(archive)]
    lines += [f"       {text}" for text in (unscored(archive),) if text]
    lines += [claim_text(claim) for claim in archive.claims[-1:]] or [f"       {headline(archive)}"]
    return "\n".join(lines)


def headline(archive: Archive) -> str:
    """What came out, in a sentence or two: the claim, or the plain statement that there is none."""
    if archive.claims:
        return archive.claims[-1].statement
    best, rounds = archive.best, len(archive.decisions)
    if not archive.all_trials:
        return "Nothing was measured."
    if not rounds:
        return f"No round was decided, so best is the seed: {score(seed_score(archive))} on train."
    if best == archive.seed:
        kept = any(decision.verdict == "keep" for decision in archive.decisions)
        what = (
            "What was kept did not hold on val" if kept else f"No edit was kept in {rounds} round{'s' * (rounds > 1)}"
        )
        return f"{what}, so best is the seed: {score(seed_score(archive))} on train. A null result is a result."
    return (f"{best} scores {score(mean_score(archive.trials.get(best, ())))} on train, the seed {score(seed_score(archive))}; it was selected "
            f"on these tasks, so this is no claim. harness claim {archive.run} makes one, on the sealed split.")  # fmt: skip


def origin_note(archive: Archive) -> str:
    """What the origin of the replies means for the scores; nothing for live ones."""
    origins = sorted({trial.origin for trial in archive.all_trials})
    if origins == ["simulated"]:
        return "Origin: simulated. These scores measure the framework, not any model's ability."
    if origins == ["replayed"]:
        return (
            "Origin: replayed. The models were answered from a recording of an earlier run; nothing was sent or spent."
        )
    return (
        f"Origin: {' and '.join(origins)}. Scores of different origins are not comparable." if len(origins) > 1 else ""
    )


def unscored(archive: Archive) -> str:
    """no score: 3 infra_error, 1 task_error of 312 trials; empty when every trial has one."""
    counts = Counter(trial.outcome for trial in archive.all_trials if not trial.counts)
    said = ", ".join(f"{n} {name}" for name, n in sorted(counts.items()))
    return f"no score: {said} of {len(archive.all_trials)} trials" if said else ""


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
        lines.append(f"predictions: {predictions(decision)}")
    proposal = archive.proposals.get(decision.round)
    if proposal:
        lines += [f"{name}: {text}" for name, text in manifest_facts(proposal.manifest)]
    return lines


def predictions(decision: Decision) -> str:
    """How the manifest's predictions did: fix_precision 0.50, fix_chance 0.20 ..."""
    return ", ".join(f"{name} {value:.2f}" for name, value in decision.predictions)


def manifest_facts(manifest: Manifest) -> list[tuple[str, str]]:
    """What the proposer said of its edit, by name; what it left out is left out."""
    facts = (("mechanism", manifest.mechanism), ("hypothesis", manifest.hypothesis), ("root cause", manifest.root_cause),
             ("predicted fixes", ", ".join(manifest.predicted_fixes)), ("predicted risks", ", ".join(manifest.predicted_risks)))  # fmt: skip
    return [(name, printable(text)) for name, text in facts if text]


def task_rows(archive: Archive, candidate: str) -> list[list[str]]:
    """Per train task: passed of counted trials, mean score, the parent's mean, checks that failed."""
    parent = archive.candidates[candidate].parent if candidate in archive.candidates else None
    mine = by_task(archive.trials.get(candidate, ()))
    theirs = by_task(archive.trials.get(parent, ())) if parent else {}
    return [[task, passed(trials), score(mean_score(trials)), score(mean_score(theirs.get(task, ()))), failed_checks(trials)]
            for task, trials in mine.items()]  # fmt: skip


def compared_rows(mine: Iterable[Trial], theirs: Iterable[Trial]) -> list[list[str]]:
    """Under TASK_COLUMNS, per task of `mine`: the other's mean, the own mean, the difference in points, passed of counted
    trials, checks that failed."""
    before = by_task(theirs)
    rows = []
    for task, trials in by_task(mine).items():
        here, there = mean_score(trials), mean_score(before.get(task, ()))
        gain = None if here is None or there is None else here - there
        rows.append([task, score(there), score(here), points(gain), passed(trials), failed_checks(trials)])
    return rows


def passed(trials: Sequence[Trial]) -> str:
    """Passed of all: 3/6."""
    return f"{sum(trial.passed for trial in trials)}/{len(trials)}"


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
        names = (
            [printable(c.name) for c in trial.checks if not c.passed] if trial.outcome == "scored" else [trial.outcome]
        )
        for name in names:
            counts[name] = counts.get(name, 0) + 1
    return ", ".join(f"{name} {n}" for name, n in sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def mean_score(trials: Iterable[Trial]) -> float | None:
    """Mean over the trials that have a score."""
    scores = [t.score for t in trials if t.score is not None]
    return sum(scores) / len(scores) if scores else None


def trial_line(trial: Trial) -> str:
    """One measurement in one line."""
    flags = f"  [{', '.join(trial.flags)}]" if trial.flags else ""
    detail = f"  {one_line(trial.detail, 60)}" if trial.detail else ""
    return (f"{trial.spec.key:48}  {trial.outcome:11}  {score(trial.score):5}  {trial.steps:3} steps  "
            f"{trial.usage.tokens:7,} tokens  {trial.wall_s:5.1f} s{flags}{detail}").rstrip()  # fmt: skip
