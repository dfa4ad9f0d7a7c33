"""Charts as inline SVG: the one module that imports matplotlib.

Colours are names of the page's own (CSS variables), so that a chart follows the page into the dark and onto paper; text
stays text. The same data give the same bytes.
"""

from __future__ import annotations

import io
import logging
import re
from dataclasses import dataclass
from typing import Any, Literal

from harness.archive import Archive
from harness.records import Decision
from harness.render import mean_score

Kind = Literal["kept", "reverted", "unmeasured"]
INK, MUTED, RULE, GOOD, PAPER = "#010101", "#020202", "#030303", "#040404", "#050505"
_NAMES = {INK: "--ink", MUTED: "--muted", RULE: "--rule", GOOD: "--good", PAPER: "--paper"}
"""Colours that matplotlib draws with, and the page's names that they are replaced by."""
_SETTINGS = {"svg.fonttype": "none", "svg.hashsalt": "selfharness", "font.size": 9, "axes.linewidth": 0.8, "text.color": INK,
             "axes.edgecolor": RULE, "axes.labelcolor": MUTED, "xtick.color": RULE, "ytick.color": RULE,
             "xtick.labelcolor": MUTED, "ytick.labelcolor": MUTED, "figure.facecolor": "none",
             "axes.facecolor": "none"}  # fmt: skip
LABELS, MANY = 14, 40
"""As many names fit beside each other; from so many rounds on the marks are smaller."""


@dataclass(frozen=True)
class Mark:
    """One round of the chart. `best` is the score of the reigning candidate after it, when it was last judged."""

    round: int
    candidate: str
    kind: Kind
    parent: float | None
    score: float | None
    best: float | None
    delta: float | None
    lower: float | None
    upper: float | None
    rolled_back: bool = False


def climb(archive: Archive) -> tuple[Mark, ...]:
    """The decided rounds as marks. A failed audit takes the best back to the ancestor's score."""
    judged = {archive.seed: mean_score(archive.trials.get(archive.seed, ()))}
    best, marks = judged[archive.seed], []
    failed = {audit.round: audit.ancestor for audit in archive.audits if not audit.passed}
    for d in archive.decisions:
        kept = d.verdict == "keep"
        if kept:
            judged[d.candidate] = best = d.score if d.score is not None else best
        if d.round in failed:
            best = judged.get(failed[d.round], best)
        marks.append(
            _mark(d, "kept" if kept else "reverted" if d.score is not None else "unmeasured", best, d.round in failed)
        )
    return tuple(marks)


def _mark(d: Decision, kind: Kind, best: float | None, rolled_back: bool) -> Mark:
    return Mark(round=d.round, candidate=d.candidate, kind=kind, parent=d.parent_score, score=d.score, best=best,
                delta=d.delta, lower=d.lower, upper=d.upper, rolled_back=rolled_back)  # fmt: skip


def climb_svg(marks: tuple[Mark, ...], seed: float | None) -> str:
    """Score by round above, difference to the parent with its interval below. Raises whatever matplotlib raises."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    with matplotlib.rc_context(_SETTINGS):
        figure = Figure(figsize=(10.8, 4.1))
        FigureCanvasSVG(figure)
        above, below = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": [3, 2], "hspace": 0.12})
        figure.subplots_adjust(left=0.065, right=0.93, top=0.97, bottom=0.1)
        size = 6.5 if len(marks) < MANY else 4.5
        _scores(above, marks, seed, size)
        _differences(below, marks, size)
        for axes in (above, below):
            axes.spines[["top", "right", "bottom"]].set_visible(False)
            axes.spines["left"].set_visible(False)
            axes.grid(axis="y", color=RULE, linewidth=0.6)
            axes.set_axisbelow(True)
            axes.tick_params(length=0)
        _rounds(below, marks)
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None})
    return _inline(out.getvalue())


def _rounds(axes: Any, marks: tuple[Mark, ...]) -> None:
    last = max(mark.round for mark in marks)
    step = next(step for step in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if last / step <= 20 or step == 1000)
    ticks = [0, *range(step, last + 1, step)]
    axes.set_xlim(-0.4, last + 0.6)
    axes.set_xticks(ticks, ["seed", *(f"r{tick:02d}" for tick in ticks[1:])])


def _scores(axes: Any, marks: tuple[Mark, ...], seed: float | None, size: float) -> None:
    """Each round as a line from the re-measured parent to the candidate; the best so far as steps."""
    axes.set_ylim(-0.05, 1.08)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1.0])
    axes.set_ylabel("score on train")
    steps = [(0, seed), *((mark.round, mark.best) for mark in marks)]
    known = [(x, y) for x, y in steps if y is not None]
    if known:
        xs, ys = [*(x for x, _ in known), known[-1][0] + 0.5], [*(y for _, y in known), known[-1][1]]
        axes.step(xs, ys, where="post", color=GOOD, linewidth=1.4, alpha=0.55)
        axes.annotate("best so far", (xs[-1], ys[-1]), xytext=(4, 0), textcoords="offset points", color=GOOD, va="center",
                      fontsize=8.5, annotation_clip=False)  # fmt: skip
    if seed is not None:
        axes.plot([0], [seed], "o", color=INK, markersize=5)
    named = _named(marks)
    for mark in marks:
        if mark.score is not None and mark.parent is not None:
            axes.plot([mark.round] * 2, [mark.parent, mark.score], color=MUTED, linewidth=0.8)
            axes.plot([mark.round], [mark.parent], "_", color=MUTED, markersize=size + 1.5)
        _point(axes, mark, mark.score if mark.score is not None else 0.0, size)
        if mark.candidate in named and mark.score is not None:
            axes.annotate(mark.candidate, (mark.round, mark.score), xytext=(0, 7), textcoords="offset points", ha="center",
                          fontsize=8.5, color=INK)  # fmt: skip
        if mark.rolled_back:
            axes.axvline(mark.round + 0.5, color=MUTED, linewidth=0.8, linestyle=(0, (2, 2)))
            axes.annotate("rolled back", (mark.round + 0.5, 1.04), xytext=(3, 0), textcoords="offset points", fontsize=8.5,
                          color=MUTED, va="center")  # fmt: skip


def _named(marks: tuple[Mark, ...]) -> set[str]:
    """The keeps that are named: from the last one back, as far apart as names are wide."""
    named: dict[int, str] = {}
    for mark in reversed(marks):
        if (
            mark.kind == "kept"
            and min(named, default=mark.round + marks[-1].round) - mark.round >= marks[-1].round / LABELS
        ):
            named[mark.round] = mark.candidate
    return set(named.values())


def _differences(axes: Any, marks: tuple[Mark, ...], size: float) -> None:
    axes.axhline(0, color=MUTED, linewidth=0.8)
    axes.set_ylabel("delta, points\n(selected)")
    for mark in marks:
        if mark.delta is None or mark.lower is None or mark.upper is None:
            _point(axes, mark, 0.0, size)
            continue
        colour = GOOD if mark.kind == "kept" else MUTED
        axes.plot(
            [mark.round] * 2, [100 * mark.lower, 100 * mark.upper], color=colour, linewidth=1.4, solid_capstyle="butt"
        )
        _point(axes, mark, 100 * mark.delta, size)


def _point(axes: Any, mark: Mark, y: float, size: float) -> None:
    """Told apart by shape: a filled disc is kept, a ring is reverted, a cross was not measured."""
    looks: dict[Kind, dict[str, Any]] = {
        "kept": {"marker": "o", "color": GOOD, "markersize": size},
        "reverted": {"marker": "o", "markerfacecolor": PAPER, "markeredgecolor": MUTED, "markersize": size - 0.5},
        "unmeasured": {"marker": "x", "color": MUTED, "markersize": size - 1},
    }
    axes.plot([mark.round], [y], linestyle="none", markeredgewidth=1.2, zorder=3, **looks[mark.kind])


def _inline(svg: str) -> str:
    """The element alone: no prologue, no metadata, no ids of groups (they would clash), sizes left to the page."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<g id=\"[^\"]*\"", "<g", svg)
    svg = re.sub(r"<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r' (?:width|height)="[\d.]+pt"', "", svg, count=2)
    for colour, name in _NAMES.items():
        svg = svg.replace(colour, f"var({name})")
    return svg.replace(
        "<svg ", '<svg role="img" aria-label="Score by round, and difference to the parent with its interval" ', 1
    )
