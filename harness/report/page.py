"""The page: parts in the order in which a reviewer asks. Text in, text out; it reads nothing but what it is given."""

from __future__ import annotations

from harness.archive import Archive
from harness.plots import climb, climb_svg
from harness.render import seed_score
from harness.report.candidates import Diffs, candidates_section
from harness.report.effort import cost_section, faults_section
from harness.report.ground import Ground, ground_section
from harness.report.html import Html, tag
from harness.report.results import audits_section, claim_section, head, rounds_section, tasks_section
from harness.report.style import CSS

POLICY = "default-src 'none'; style-src 'unsafe-inline'"
"""Nothing is fetched and no script runs, whatever a title may hold."""


def report_html(archive: Archive, ground: Ground, diffs: Diffs) -> str:
    """The whole document. The same journal gives the same bytes."""
    chart, trouble = _chart(archive)
    body = tag(
        "main",
        head(archive, ground),
        rounds_section(archive, chart, trouble),
        tasks_section(archive),
        audits_section(archive),
        claim_section(archive),
        cost_section(archive, ground),
        faults_section(archive),
        ground_section(archive, ground),
        candidates_section(archive, diffs),
        tag("footer", f"Made from the journal of the run, {len(archive.all_trials):,} trials; "
            f"harness export {archive.run} --report FILE makes it again."),
    )  # fmt: skip
    top = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", f"{archive.run}: {archive.best or 'no candidate'}"),
        tag("style", Html(CSS)),
    )
    return "<!doctype html>\n" + tag("html", top, tag("body", body), lang="en") + "\n"


def _chart(archive: Archive) -> tuple[Html | None, str]:
    """The chart, or why there is none: a report is worth having without it."""
    if not archive.decisions:
        return None, ""
    try:
        return Html(climb_svg(climb(archive), seed_score(archive))), ""
    except Exception as error:  # the boundary: matplotlib wants fonts, a cache folder and memory, and raises anything
        return None, f"{type(error).__name__}: {error}"
