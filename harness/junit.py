"""An evaluation, or a candidate of a run, as a JUnit file: one suite per task, one case per unit and attempt. A fault of
infrastructure is an error; what fails in quarantine is skipped."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol
from xml.etree.ElementTree import Element, SubElement, tostring

from harness.archive import Archive
from harness.records import Trial, Unit
from harness.render import by_task, printable


class Evaluated(Protocol):
    """What a JUnit file is made of."""

    @property
    def scaffold(self) -> str: ...

    @property
    def trials(self) -> tuple[Trial, ...]: ...

    @property
    def quarantine(self) -> tuple[str, ...]: ...

    @property
    def rerun(self) -> dict[Unit, int]: ...


@dataclass(frozen=True)
class OfRun:
    """One candidate of a run, every trial of it: train, val audits, the sealed ones of a claim."""

    scaffold: str
    trials: tuple[Trial, ...]
    quarantine: tuple[str, ...] = ()
    rerun: dict[Unit, int] = field(default_factory=dict)


def of_run(archive: Archive, candidate: str) -> OfRun:
    """A candidate of a run as something evaluated; without trials when it was never measured."""
    return OfRun(f"{archive.run}/{candidate}", tuple(t for t in archive.all_trials if t.spec.candidate == candidate))


def junit_xml(found: Evaluated) -> str:
    """The document as text."""
    root = Element("testsuites", name=printable(found.scaffold))
    for task, trials in by_task(found.trials).items():
        aside = task in found.quarantine
        suite = SubElement(root, "testsuite", name=printable(task), tests=str(len(trials)),
                           failures=str(sum(t.counts and not t.passed and not aside for t in trials)),
                           errors=str(sum(not t.counts and not aside for t in trials)),
                           skipped=str(aside * sum(not t.passed for t in trials)))  # fmt: skip
        for t in trials:
            case = SubElement(
                suite,
                "testcase",
                classname=printable(task),
                name=f"{t.spec.seed}-{t.spec.attempt}",
                time=f"{t.wall_s:.3f}",
            )
            failed = ", ".join(printable(c.name) for c in t.checks if not c.passed)
            detail = printable(t.detail)
            if aside and not t.passed:
                SubElement(case, "skipped", message=f"quarantine: {failed or detail or t.outcome}")
            elif not t.counts:
                SubElement(case, "error", type=t.outcome, message=detail)
            elif not t.passed:
                SubElement(case, "failure", type=t.outcome, message=failed or detail)
            if t.spec.unit in found.rerun:
                SubElement(case, "system-out").text = f"must_pass: {found.rerun[t.spec.unit]} fresh re-runs passed"
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + tostring(root, encoding="unicode") + "\n"
