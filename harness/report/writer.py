"""report.html of a run: written when a launch ends, however it ends, and made again from the journal at any time."""

from __future__ import annotations

import sys
from pathlib import Path

from harness.errors import HarnessError
from harness.lineage import Lineage
from harness.paths import RunPaths
from harness.records.events import Event
from harness.report.ground import read_ground
from harness.report.page import report_html
from harness.runs import open_run, write_atomic


class ReportWriter:
    """A tracker that writes the report when it is closed: a page in the middle of a run would only take time from it.

    It reads the journal then, and keeps nothing of the events. It warns when it cannot, and never raises.
    """

    def __init__(self, paths: RunPaths) -> None:
        self._paths = paths

    def on(self, event: Event) -> None:
        pass

    def close(self, time_limit: float = 60.0) -> None:
        """Write it, from the journal as it is on disk."""
        try:
            write_report(self._paths, self._paths.report)
        except Exception as error:  # the boundary: a report must never stop a run
            said = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
            print(f"no report: {said}; later: harness export {self._paths.name} --report FILE", file=sys.stderr)


def write_report(paths: RunPaths, target: Path) -> None:
    """Render a run into a file, whole or not at all. Raises UsageError (no journal) and MachineError (cannot be written)."""
    lineage = Lineage(paths.lineage)

    def diff(parent: str, candidate: str) -> str | None:
        try:
            return lineage.diff(parent, candidate)
        except HarnessError:
            return None

    page = report_html(open_run(paths), read_ground(paths), diff)
    write_atomic(target, page.encode())
