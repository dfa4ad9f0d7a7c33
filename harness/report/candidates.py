"""Every candidate, folded: what its proposer said, what came of it, and the diff."""

from __future__ import annotations

from collections.abc import Callable

from harness.archive import Archive, RoundState
from harness.records import Decision
from harness.render import (
    TASK_COLUMNS,
    compared_rows,
    delta,
    manifest_facts,
    points,
    predictions,
    printable,
    title_of,
    verdict,
)
from harness.report.html import Child, Html, facts, folded, join, section, table, tag
from harness.report.results import WHY

DIFF_LINES = 400
"""Lines of a diff that are shown; the rest is counted."""
Diffs = Callable[[str, str], str | None]
"""The diff of parent and candidate; None when the lineage cannot give it."""


def candidates_section(archive: Archive, diffs: Diffs) -> Html:
    """One folded entry per decided round, in order."""
    entries = [_entry(archive, decision, diffs) for decision in archive.decisions]
    return section("Candidates", *entries) if entries else section("Candidates", tag("p", "The seed alone."))


def _entry(archive: Archive, d: Decision, diffs: Diffs) -> Html:
    state = archive.rounds.get(d.round)
    summary = join(
        (tag("b", d.candidate), " ", title_of(archive, d), tag("span", f"r{d.round:02d}, {verdict(d)}", class_="aside"))
    )
    rows = compared_rows(archive.trials.get(d.candidate, ()), archive.trials.get(d.parent, ()))
    tasks = table((*TASK_COLUMNS[:3], "points", *TASK_COLUMNS[4:]), rows, numeric=(1, 2, 3, 4)) if rows else None
    return folded(summary, facts(_facts(archive, d, state)), tasks, _change(archive, d, diffs), id=d.candidate)


def _facts(archive: Archive, d: Decision, state: RoundState | None) -> list[tuple[str, Child]]:
    proposal = archive.proposals.get(d.round)
    record = archive.candidates.get(d.candidate)
    manifest = proposal.manifest if proposal else None
    rows: list[tuple[str, Child]] = [
        ("parent", d.parent),
        ("verdict", f"{verdict(d)}: {WHY.get(d.reason, d.reason)}{f': {d.detail}' if d.detail else ''}"),
    ]
    if d.delta is not None:
        rows.append(
            ("delta, points", f"{delta(d)} selected; raw mean {points(d.mean)} over {d.pairs} pairs, {d.trials} trials")
        )
        rows += [("fixed", ", ".join(d.fixed) or "none"), ("broken", ", ".join(d.broken) or "none")]
    if manifest is not None:
        rows += manifest_facts(manifest)
        rows += [
            ("evidence", "; ".join(manifest.evidence)),
            ("cost effect", manifest.cost_effect),
            ("contract test", manifest.contract_test),
        ]
    rows.append(("predictions scored", predictions(d)))
    if record is not None:
        rows += [
            ("changed", ", ".join(record.components)),
            ("commit", tag("code", record.commit[:12])),
            ("digest", tag("code", record.digest[:12])),
        ]
    elif proposal is not None:
        rows.append(("would have changed", ", ".join(change.path for change in proposal.changes)))
    if state is not None:
        rows += [
            (f"refusal {n}", f"{r.breach}: {r.reason}{f' at {r.where}' if r.where else ''}")
            for n, r in enumerate(state.rejections, 1)
        ]
        rows.append(("memo", state.memo))
    return rows


def _change(archive: Archive, d: Decision, diffs: Diffs) -> Html | None:
    """The diff, added and removed lines told apart by their signs and by colour."""
    if d.candidate not in archive.candidates:
        return None
    text = diffs(d.parent, d.candidate)
    if text is None:
        return tag("p", "No diff: the run's lineage cannot be read.", class_="note")
    lines = printable(text).splitlines()
    shown = [_line(line) for line in lines[:DIFF_LINES]]
    more = len(lines) - len(shown)
    rest = (
        tag("p", f"{more} more lines: harness diff {archive.run} {d.parent} {d.candidate}", class_="note")
        if more > 0
        else None
    )
    return join((tag("pre", join(shown, "\n")), rest))


def _line(line: str) -> Html:
    if line.startswith(("+++", "---", "diff ", "index ", "new file", "deleted file", "@@")):
        return tag("span", line, class_="meta")
    if line.startswith(("+", "-")):
        return tag("ins" if line[0] == "+" else "del", line)
    return join((line,))
