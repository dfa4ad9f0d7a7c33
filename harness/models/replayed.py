"""A replay: calls are answered from a run's recordings, by trial and ordinal. Nothing is sent; there is no client here.

A request that is not the one that was recorded is a divergence: its trial ends there, without a score.
"""

from __future__ import annotations

import contextlib
import json
from collections import deque
from collections.abc import Callable, Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any, NoReturn

from harness.budget import RUN_BUDGET
from harness.errors import InfraError, LimitReached, ModelFault, UsageError
from harness.models.keys import redact
from harness.models.recording import Recorded, canonical, digest_of, file_of, read_recording
from harness.records import ModelReply, ModelRequest, Trial
from harness.records.base import Origin, Record

SHOWN = 100
"""Characters of a differing line that are shown."""


class Divergence(Record):
    """Where one trial (or proposal, or memo) left its recording; `where` is the first difference in the request."""

    trial: str
    call: int
    where: str
    was: str
    now: str

    @property
    def text(self) -> str:
        """One line for people; calls count from 1."""
        return f"diverged at call {self.call + 1}, {self.where}: was {self.was}, is {self.now}"


class Diverged(LimitReached):
    """The replay of a trial left its recording: the trial ends, unscored."""

    def __init__(self, divergence: Divergence) -> None:
        super().__init__("diverged", divergence.text)


class Recordings:
    """The calls of one run. `trials` are that run's measurements: how many tries each took, and what limit ended it. `capped`:
    the run ended by a cap, so where the recording of what it did not finish ends, the cap had refused the call."""

    def __init__(
        self,
        folder: Path,
        trials: Mapping[str, Trial],
        on_divergence: Callable[[Divergence], None] = lambda found: None,
        capped: bool = False,
    ) -> None:
        self._capped = capped
        self._folder, self._trials, self._on_divergence = folder, dict(trials), on_divergence
        self._open: dict[str, _Cursor] = {}

    def origin(self) -> Origin:
        """Of the replies: a served simulated model stays simulated."""
        for path in sorted(self._folder.rglob("*.jsonl")):
            with contextlib.suppress(UsageError):  # damage is named where it is met
                for record in read_recording(path):
                    if record.reply is not None:
                        return _origin(record.reply)
        return "replayed"

    def answer(self, request: ModelRequest) -> ModelReply:
        """What was answered then. Raises the ModelFault of then, Diverged, InfraError and LimitReached as it was then."""
        cursor, place = self._cursor(request), (request.call, request.number)
        if not cursor.session or (record := cursor.session[0]).place != place:
            self._exhausted(request, cursor)
        asked = canonical(request)
        if digest_of(asked) != record.digest:
            raise self._diverged(request, *first_difference(record.asked, asked))
        cursor.session.popleft()
        if record.reply is not None:
            return record.reply.model_copy(update={"origin": _origin(record.reply)})
        again = bool(cursor.session) and cursor.session[0].call == request.call
        if record.fault is None and again:
            raise ModelFault("timeout", "no answer in time", retry_after=0.0)
        if record.fault is None:
            raise self._cut_off(request, cursor)
        fault = ModelFault(record.fault.kind, record.fault.message, retry_after=0.0 if again else None)
        # What was given up then is given up now: the gateway is not to try again what has no second recording.
        same = again or fault.kind in ("context", "bad_request")
        raise fault if same else InfraError(f"{fault.kind}: {str(fault)[:300]} (after {request.number} tries)")

    def _cut_off(self, request: ModelRequest, cursor: _Cursor) -> InfraError | LimitReached:
        """What a call without an answer came to: as the gateway has it, infrastructure's where an earlier try had failed."""
        trial = self._trials.get(request.trial)
        ended = trial is not None and "time_limit" in trial.flags and not cursor.later
        if request.number == 1 or ended:
            return LimitReached("time_limit")
        return InfraError(f"no answer before the time limit (after {request.number} tries)")

    def _cursor(self, request: ModelRequest) -> _Cursor:
        place = (request.call, request.number)
        cursor = self._open.get(request.trial)
        if cursor is None:
            path = file_of(self._folder, request.trial)
            if not path.exists():
                self._refused(request)
            try:
                cursor = _Cursor(list(read_recording(path)), self._tries(request.trial))
            except UsageError as error:
                raise self._diverged(request, "the recording", str(error), "this call") from None
            self._open[request.trial] = cursor
        elif place <= cursor.place:
            cursor.next_session()
        cursor.place = place
        return cursor

    def _tries(self, key: str) -> int:
        return self._trials[key].tries if key in self._trials else 1

    def _refused(self, request: ModelRequest) -> None:
        """Raise LimitReached where the cap of the recorded run had refused this call."""
        if self._capped and request.trial not in self._trials:
            raise LimitReached(RUN_BUDGET, "the run's budget ended here")

    def _exhausted(self, request: ModelRequest, cursor: _Cursor) -> NoReturn:
        if cursor.later:
            raise InfraError("the recorded trial broke off here and was tried again")
        if not cursor.session:
            self._refused(request)
        trial = self._trials.get(request.trial)
        if not cursor.session and trial is not None and trial.outcome == "infra_error":
            raise InfraError("the recorded trial broke off here")
        if not cursor.session and trial is not None and trial.flags:
            raise LimitReached(trial.flags[0])
        was = f"call {cursor.session[0].call + 1}" if cursor.session else "the end of the recording"
        raise self._diverged(request, "the order of calls", was, "this call")

    def _diverged(self, request: ModelRequest, where: str, was: str, now: str) -> Diverged:
        found = Divergence(trial=request.trial, call=request.call, where=where, was=redact(was), now=redact(now))
        self._on_divergence(found)
        return Diverged(found)


class _Cursor:
    """How far the replay of one file has come: sessions, and the tries that are left of the one that is open."""

    def __init__(self, records: list[Recorded], tries: int) -> None:
        sessions: list[list[Recorded]] = []
        for record in records:
            if not sessions or record.place <= sessions[-1][-1].place:
                sessions.append([])
            sessions[-1].append(record)
        # Sessions before these were cut off when the run was killed, and done anew by the launch that resumed it.
        self.later = deque(deque(session) for session in sessions[-tries:])
        self.session: deque[Recorded] = deque()
        self.place = (-1, -1)
        self.next_session()

    def next_session(self) -> None:
        self.session = self.later.popleft() if self.later else deque()


class ReplayedModel:
    """Implements seams.Model from recordings."""

    def __init__(self, recordings: Recordings) -> None:
        self._recordings = recordings

    async def complete(self, request: ModelRequest) -> ModelReply:
        return self._recordings.answer(request)


def first_difference(was: Any, now: Any, where: str = "") -> tuple[str, str, str]:
    """Where two values differ first, and both sides of it; of texts, the first line that differs."""
    if isinstance(was, dict) and isinstance(now, dict):
        for key in [*was, *(key for key in now if key not in was)]:
            if was.get(key) != now.get(key):
                return first_difference(was.get(key), now.get(key), f"{where}.{key}" if where else key)
    if isinstance(was, list) and isinstance(now, list):
        for number, (old, new) in enumerate(zip_longest(was, now)):
            if old != new:
                role = next(
                    (f" ({side['role']})" for side in (old, new) if isinstance(side, dict) and "role" in side), ""
                )
                return first_difference(old, new, f"{where}[{number}]{role}")
    if isinstance(was, str) and isinstance(now, str):
        for number, (one, other) in enumerate(zip_longest(was.splitlines(), now.splitlines()), start=1):
            if one != other:
                return (f"{where}, line {number}", *_shown(one, other))
    return (where or "the request", *_shown(was, now))


def _shown(was: Any, now: Any) -> tuple[str, str]:
    """Both sides, cut to the part around their first difference."""
    texts = [None if side is None else json.dumps(side, ensure_ascii=False) for side in (was, now)]
    one, other = texts
    if one is None or other is None:
        return _cut(one, 0), _cut(other, 0)
    at = next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), 0)
    return _cut(one, at), _cut(other, at)


def _cut(text: str | None, at: int) -> str:
    if text is None:
        return "nothing"
    start = max(0, at - SHOWN // 2) if len(text) > SHOWN else 0
    part = text[start : start + SHOWN]
    return f"{'...' if start else ''}{part}{'...' if start + SHOWN < len(text) else ''}"


def _origin(reply: ModelReply) -> Origin:
    return "simulated" if reply.origin == "simulated" else "replayed"
