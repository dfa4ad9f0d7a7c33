"""Markup out of Python calls. What is not markup already is escaped: there is no other way in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from harness.render import printable

_VOID = frozenset({"meta", "br", "hr", "col"})


class Html(str):
    """Markup. It is not escaped again, so nobody but this module and a chart makes one."""

    __slots__ = ()


Child = str | Html | None
Cell = str | Html


def tag(name: str, /, *children: Child, **attributes: str | None) -> Html:
    """One element. Text is escaped, None is left out; a trailing underscore of an attribute's name is dropped (class_)."""
    given = "".join(f' {key.rstrip("_").replace("_", "-")}="{escape(printable(value))}"'
                    for key, value in attributes.items() if value is not None)  # fmt: skip
    return Html(f"<{name}{given}>" + ("" if name in _VOID else f"{join(children)}</{name}>"))


def join(children: Iterable[Child], between: str = "") -> Html:
    """Texts and markup in a row."""
    return Html(between.join(child if isinstance(child, Html) else escape(printable(child))
                             for child in children if child is not None))  # fmt: skip


def table(
    header: Sequence[str], rows: Iterable[Sequence[Cell]], numeric: Iterable[int] = (), **attributes: str
) -> Html:
    """A table that scrolls sideways where it does not fit; `numeric` columns are aligned to the right."""
    right = frozenset(numeric)

    def line(kind: str, cells: Sequence[Cell]) -> Html:
        return tag("tr", *(tag(kind, cell, class_="n" if i in right else None) for i, cell in enumerate(cells)))

    body = tag("tbody", *(line("td", row) for row in rows))
    return tag("div", tag("table", tag("thead", line("th", header)), body, **attributes), class_="wide")


def facts(pairs: Iterable[tuple[str, Child]]) -> Html:
    """Names and values, one pair a line; a value that is None or empty is left out."""
    return tag("dl", *(join((tag("dt", name), tag("dd", value))) for name, value in pairs if value), class_="facts")


def folded(summary: Child, *children: Child, **attributes: str | None) -> Html:
    """Shown when it is asked for."""
    return tag("details", tag("summary", summary), *children, **attributes)


def section(title: str, *children: Child, note: str = "") -> Html:
    """A headed part of the page."""
    return tag("section", tag("h2", title), tag("p", note, class_="note") if note else None, *children)
