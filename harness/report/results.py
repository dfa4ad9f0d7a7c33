"""The parts of a report that say what came out: head, rounds, tasks, audits, claim."""

from __future__ import annotations

import time

from harness.archive import Archive
from harness.claims import FAMILIES_FOR_E, families_needed, too_few
from harness.plots import Mark, climb
from harness.records import Claim, Decision, Trial
from harness.render import (
    ROUND_COLUMNS,
    SELECTED,
    by_task,
    dollars,
    duration,
    failed_checks,
    headline,
    mean_score,
    one_line,
    origin,
    origin_note,
    passed,
    points,
    round_rows,
    score,
    seed_score,
    state,
)
from harness.report.ground import Ground
from harness.report.html import Cell, Html, facts, join, section, table, tag

WHY = {"upper": "crossed the upper boundary", "lower": "crossed the lower boundary", "last_look": "decided at the last look",
       "smoke": "failed everything at the first look", "audit": "audit", "identical": "changes nothing", "coverage": "too few scores",
       "infra": "infrastructure", "refused": "refused before it was measured", "budget": "the budget ended", "score": "score"}  # fmt: skip
"""The gate's reasons in words."""
PRIOR = "The gate expects most edits to do little, which holds P(gain > 0) low until there is much evidence."


def head(archive: Archive, ground: Ground) -> Html:
    """What came out, in a sentence, and the figures that a reviewer looks for first."""
    note = origin_note(archive)
    sealed = ground.tasks("test")
    small = not archive.claims and sealed is not None and sealed < FAMILIES_FOR_E
    return tag(
        "header",
        tag("p", f"Run report  ·  experiment {archive.experiment}  ·  {state(archive)}", class_="kicker"),
        tag("h1", archive.run or "a run without a journal"),
        tag("p", note, class_="origin") if note else None,
        tag("p", headline(archive), class_="lead"),
        tag("p", too_few(sealed or 0, families_needed()), class_="note") if small else None,
        tag("dl", *(tag("div", tag("dt", name), tag("dd", value)) for name, value in _figures(archive)), class_="figures"),
    )  # fmt: skip


def _figures(archive: Archive) -> list[tuple[str, Cell]]:
    kept, spent = sum(d.verdict == "keep" for d in archive.decisions), archive.spent()
    trials = archive.all_trials
    best = mean_score(archive.trials.get(archive.best, ()))
    claim = archive.claims[-1] if archive.claims else None
    started = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(archive.started_at)) if archive.started_at else "-"
    covered = f", {sum(t.counts for t in trials) / len(trials):.1%} scored" if trials else ""
    return [
        ("best", archive.best or "-"),
        ("train, seed → best (selected)", f"{score(seed_score(archive))} → {score(best)}"),
        ("sealed difference", _sealed(claim)),
        ("e-value", f"{claim.e_value:.2g}" if claim and claim.best != claim.baseline else "-"),
        ("rounds", f"{len(archive.decisions)}, {kept} kept"),
        ("trials", f"{len(trials):,}{covered}"),
        ("tokens", f"{spent.tokens:,}"),
        ("cost", dollars(spent, origin(archive))),
        ("started", started),
        ("at work", duration(archive.active_s)),
    ]


def _sealed(claim: Claim | None) -> str:
    if claim is None:
        return "no claim made"
    if claim.best == claim.baseline:
        return "none: best is the seed"
    interval = f" [{points(claim.lower)}, {points(claim.upper)}]" if claim.lower is not None else ", no interval"
    return f"{points(claim.delta)}{interval}"


def rounds_section(archive: Archive, chart: Html | None, trouble: str) -> Html:
    """The chart, and every round as a row."""
    if not archive.decisions:
        return section("Rounds", tag("p", "No round was decided."))
    legend = tag("figcaption", join((
        tag("span", "●", class_="good"), " kept   ○ reverted   × not measured   – parent, measured again beside its candidate")))  # fmt: skip
    figure = tag("figure", chart, legend) if chart is not None else tag("p", f"No chart: {trouble}", class_="note")
    rows = [_round(archive, d, row, mark)
            for d, row, mark in zip(archive.decisions, round_rows(archive), climb(archive), strict=True)]  # fmt: skip
    header = (*ROUND_COLUMNS[:6], "P(gain > 0)", "pairs", "verdict", "why")
    return section(
        "Rounds", figure, table(header, rows, numeric=(3, 4, 5, 6, 7), class_="full rounds"), note=f"{SELECTED} {PRIOR}"
    )


def _round(archive: Archive, d: Decision, row: list[str], mark: Mark) -> list[Cell]:
    number, candidate, *rest, verdict = row
    better = "-" if d.p_better is None else f"{d.p_better:.2f}"
    link = tag("a", candidate, href=f"#{candidate}")
    sign = {"kept": "●", "reverted": "○", "unmeasured": "×"}[mark.kind]
    good = "good" if mark.kind == "kept" else None
    shown = tag("span", f"{sign} {verdict}", class_=f"verdict {good or ''}".strip())
    why = WHY.get(d.reason, d.reason) + (f": {one_line(d.detail, 120)}" if d.detail else "")
    if mark.rolled_back:
        why += f"; then rolled back to {next(a.ancestor for a in archive.audits if a.round == d.round)}"
    return [number, link, *rest, better, str(d.pairs) if d.pairs else "-", shown, why]


def tasks_section(archive: Archive) -> Html:
    """Seed against best, task by task: train as decided on, val where it was audited, sealed where it was claimed."""
    seed, best = archive.seed, archive.best
    rows: list[list[Cell]] = []
    for split, (before, after) in _arms(archive).items():
        theirs, mine = by_task(before), by_task(after)
        rows += [_task(split, task, theirs.get(task, []), mine.get(task, [])) for task in sorted({*theirs, *mine})]
    if not rows:
        return section("Tasks: seed against best", tag("p", "Nothing was measured."))
    header = ("split", "task", f"seed {seed}", "passed", f"best {best}", "passed", "points", "0 to 1",
              "checks that best fails")  # fmt: skip
    note = ("○ seed, ● best. Train scores are those that decisions were made on (selected), pooled over the run; val is here when "
            "the best was audited there; test is the claim's.")  # fmt: skip
    return section("Tasks: seed against best", table(header, rows, numeric=(2, 3, 4, 5, 6), class_="full"), note=note)


def _arms(archive: Archive) -> dict[str, tuple[list[Trial], list[Trial]]]:
    """Trials of seed and best by split. Of a claim, the paired passes alone: extra attempts of the seed are another baseline."""
    audit, claimed = archive.other_trials.get("audit", ()), archive.other_trials.get("claim", ())
    if archive.claims:
        claim = archive.claims[-1]
        first = (claim.opened - 1) * 100
        claimed = tuple(t for t in claimed if t.spec.attempt in range(first, first + claim.passes))
    found = {}
    for split, trials in (("train", (*archive.trials.get(archive.seed, ()), *archive.trials.get(archive.best, ()))),
                          ("val", audit), ("test", claimed)):  # fmt: skip
        unique = {t.spec.key: t for t in trials}.values()
        found[split] = tuple([t for t in unique if t.spec.candidate == who] for who in (archive.seed, archive.best))
    return {split: (before, after) for split, (before, after) in found.items() if after}


def _task(split: str, task: str, before: list[Trial], after: list[Trial]) -> list[Cell]:
    was, now = mean_score(before), mean_score(after)
    gain = None if was is None or now is None else now - was
    return [split, tag("span", task, class_="id"), score(was), passed(before) if before else "-", score(now), passed(after) if after else "-", points(gain),
            dumbbell(was, now), failed_checks(after)]  # fmt: skip


def dumbbell(before: float | None, after: float | None) -> Html:
    """Two scores on a line from 0 to 1: a ring and a disc."""
    x = [None if value is None else f"{6 + 108 * value:.1f}" for value in (before, after)]
    parts = [tag("line", x1="6", x2="114", y1="7", y2="7", class_="track")]
    if x[0] and x[1]:
        parts.append(tag("line", x1=x[0], x2=x[1], y1="7", y2="7", class_="span"))
    parts += [
        tag("circle", cx=at, cy="7", r=r, class_=name)
        for at, r, name in ((x[0], "3.6", "ring"), (x[1], "3.2", "disc"))
        if at
    ]
    return tag("svg", *parts, viewBox="0 0 120 14", class_="dumbbell", aria_hidden="true")


def audits_section(archive: Archive) -> Html:
    """What train promised against what val gave."""
    if not archive.audits:
        return section(
            "Audits on val",
            tag("p", "None: the champion is audited at every fourth keep, where the suite has val tasks."),
        )
    rows: list[list[Cell]] = [
        [f"r{a.round:02d}", a.champion, a.ancestor, points(a.train_gain), f"{points(a.delta)} [{points(a.lower)}, {points(a.upper)}]",
         points(a.train_gain - a.delta), str(a.pairs), "holds" if a.passed else "rolled back"]
        for a in archive.audits
    ]  # fmt: skip
    header = (
        "round",
        "champion",
        "ancestor",
        "gain on train (selected)",
        "gain on val",
        "gap, train - val",
        "pairs",
        "result",
    )
    return section("Audits on val", table(header, rows, numeric=(3, 4, 5, 6)),
                   note="Points; brackets are 1.28 standard errors to either side, the audit's threshold and no claim.")  # fmt: skip


def claim_section(archive: Archive) -> Html:
    """Everything behind the claim; earlier openings of the seal are not hidden."""
    if not archive.claims:
        opened = f" The seal was opened {archive.seals} time(s) and no claim was finished." if archive.seals else ""
        return section("Claim", tag("p", f"None was made.{opened}"))
    claim = archive.claims[-1]
    rows: list[tuple[str, Html | str]] = [
        ("candidate, baseline", f"{claim.best} against {claim.baseline}, fresh trials on the sealed split"),
        ("measured", f"{claim.tasks} tasks in {claim.families} families, {claim.units} units, {claim.passes} passes each"),
        ("scores", f"{score(claim.score_best)} against {score(claim.score_baseline)}"),
        ("difference, points", f"{_sealed(claim)} (95 %, clustered by family)"),
        ("e-value", f"{claim.e_value:.3g}; p at most {claim.p_value:.2g}"),
        ("coverage", f"{claim.coverage:.1%}"),
        ("cost ratio", "-" if claim.cost_ratio is None else f"{claim.cost_ratio:.2f}, a trial of the candidate over one of the baseline"),
        ("matched budget", "-" if claim.best_of_n is None else
         f"{score(claim.best_of_n)}: the seed, best of {claim.best_of_n_attempts} attempts"),
        ("seal", f"opened {claim.opened} time{'s' * (claim.opened != 1)}"),
    ]  # fmt: skip
    earlier = [tag("li", f"opening {c.opened}: {c.statement}") for c in archive.claims[:-1]]
    return section("Claim", facts(rows), tag("ul", *earlier) if earlier else None)
