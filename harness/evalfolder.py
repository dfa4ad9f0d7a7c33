"""The folder of an evaluation: a run without rounds. Its journal is the truth; asked for again, it goes on where it stopped.

journal.jsonl   run.started, run.resumed, trial.done ..., run.ended
lock.json       as of any run, and the plan of the evaluation under `evaluation`
trials/         trajectories and results
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from harness.config import changed_keys, flat
from harness.errors import UsageError
from harness.evaluation import EvalPlan, Evaluation, evaluation_of
from harness.hashing import digest_json
from harness.journal import Journal, replay
from harness.paths import RunPaths
from harness.records import Experiment, Trial, TrialSpec
from harness.records.events import Event, RunEnded, RunResumed, RunStarted, TrialDone
from harness.runs import write_atomic
from harness.seams import Tracker


class EvalLog:
    """The events of one evaluation, in memory, and on disk where it has a journal. Listeners see each as it is written."""

    def __init__(self, plan: EvalPlan, journal: Journal | None = None, listeners: Sequence[Tracker] = (),
                 before: Sequence[Trial] = ()) -> None:  # fmt: skip
        self._plan, self._journal, self._listeners = plan, journal, listeners
        self._trials = {trial.spec.key: trial for trial in before}

    def emit(self, event: Event) -> None:
        """Write an event down, then tell the listeners."""
        at = event.model_copy(update={"at": time.time()}) if self._journal is None else self._journal.append(event)
        for listener in self._listeners:
            listener.on(at)

    def take(self, trial: Trial) -> None:
        """A trial is done. What a budget cancelled is no result: it is shown, and owed when the evaluation goes on."""
        self._trials[trial.spec.key] = trial
        if trial.outcome != "cancelled":
            self.emit(TrialDone(round=0, purpose="eval", trial=trial))

    def owed(self, specs: Sequence[TrialSpec]) -> list[TrialSpec]:
        """Those without a result yet. A fault of infrastructure is none: the machine may have been mended."""
        return [spec for spec in specs
                if (known := self._trials.get(spec.key)) is None or known.outcome in ("cancelled", "infra_error")]  # fmt: skip

    def evaluation(self, stopped: str = "") -> Evaluation:
        return evaluation_of(self._plan, self._trials.values(), stopped)


@contextlib.contextmanager
def open_log(
    paths: RunPaths | None,
    plan: EvalPlan,
    lock: Mapping[str, Any],
    specs: Sequence[TrialSpec],
    listeners: Sequence[Tracker] = (),
) -> Iterator[EvalLog]:
    """The log of an evaluation, begun or gone on with; `paths` None keeps it in memory.

    Raises UsageError when the folder holds a run, an evaluation of other things, or has a writer already.
    """
    started = RunStarted(run=paths.name if paths else "eval", experiment=lock["experiment"]["name"], config=digest_json(lock["experiment"]),
                         lock=digest_json(plan.model_dump(mode="json")), planned_trials=len(specs))  # fmt: skip
    if paths is None:
        log = EvalLog(plan, None, listeners)
        log.emit(started)
        yield log
        return
    known = paths.journal.is_file()
    if known:
        _refuse_changed(paths, plan, lock)
    else:
        write_atomic(paths.lock, json.dumps({**lock, "evaluation": plan.model_dump(mode="json")}, indent=1).encode())
    with Journal(paths.journal, paths.writer_lock) as journal:
        before = _journalled(paths) if known else []
        log = EvalLog(plan, journal, listeners, before)
        finished = len(specs) - len(log.owed(specs))
        log.emit(RunResumed(finished_trials=finished, planned_trials=len(specs)) if before else started)
        yield log


def ended(log: EvalLog, found: Evaluation) -> None:
    """Write down how it ended: all is measured, a budget ended it, or faults did."""
    reason = "infra" if found.stopped else "budget" if found.unfinished > 0 else "done"
    log.emit(RunEnded(reason=reason, best=""))


def is_evaluation(paths: RunPaths) -> bool:
    """Whether the folder is that of an evaluation."""
    try:
        return "evaluation" in json.loads(paths.lock.read_bytes())
    except (OSError, ValueError, TypeError):
        return False


def read_evaluation(paths: RunPaths) -> Evaluation:
    """As far as it is journalled. Raises UsageError for a folder of another kind, or a damaged one."""
    try:
        plan = EvalPlan.model_validate(json.loads(paths.lock.read_bytes())["evaluation"])
    except (OSError, ValueError, KeyError, TypeError, ValidationError) as error:
        raise UsageError(f"{paths.lock}: no evaluation: {str(error).splitlines()[0]}") from None
    return evaluation_of(plan, _journalled(paths))


def _journalled(paths: RunPaths) -> list[Trial]:
    return [event.trial for event in replay(paths.journal) if isinstance(event, TrialDone)]


def _refuse_changed(paths: RunPaths, plan: EvalPlan, lock: Mapping[str, Any]) -> None:
    if not is_evaluation(paths):
        raise UsageError(f"{paths.root}: holds a run, not an evaluation\nname another folder")
    before = json.loads(paths.lock.read_bytes())
    old, new = flat(before["evaluation"]), flat(plan.model_dump(mode="json"))
    old, new = old | flat(_traced(before)), new | flat(_traced(json.loads(json.dumps(lock))))
    changed = [*changed_keys(Experiment.model_validate(before["experiment"]), Experiment.model_validate(lock["experiment"])),
               *sorted(key for key in old.keys() | new.keys() if key != "scaffold" and old.get(key) != new.get(key))]  # fmt: skip
    if changed:
        more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
        raise UsageError(f"{paths.root}: holds an evaluation of something else: {', '.join(changed[:3])}{more} changed\n"
                         "go on with what it was begun with, or name another folder")  # fmt: skip


def _traced(lock: Mapping[str, Any]) -> dict[str, Any]:
    """What lock.json knows beyond the plan: the scaffold's content, and what sandboxes run on."""
    return {"scaffold": {"digest": lock["scaffold"]["digest"]}, "sandbox": lock["sandbox"]}
