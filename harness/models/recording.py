"""Recordings: every call to a live model as it went over the wire, one file of JSON lines per trial, proposal and memo.

A line holds a try: what was asked (in a canonical form, with its digest), the exchanges on the wire, what came of it. What
is equal to the line before is left out, so that a long conversation grows linearly. A line counts once it ends with a
newline. Only allow-listed headers are kept (wire.py), and every line passes `redact`: no key reaches the disk.
"""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from harness.errors import FaultKind, MachineError, ModelFault, UsageError
from harness.hashing import sha256
from harness.models.keys import redact
from harness.models.wire import Exchange, tap
from harness.records import ModelReply, ModelRequest, Usage
from harness.records.base import Record
from harness.seams import Model

KEPT_FILES = 256
"""Files whose last line is held in memory; one that falls out begins anew with a full line."""
_VARYING = re.compile(
    r"/tmp/[A-Za-z0-9_.\-]+"
    r"|\b\d+\.\d+ ?(?:ms|s|seconds?)\b"
    r"|0x[0-9a-f]{6,}"
    r"|\b\d{4}-\d\d-\d\d\b|\b(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) +\d{1,2}\b"
    r"|\b\d{1,2}:\d\d(?::\d\d(?:[.,]\d+)?)?\b"
)
"""What differs when the same thing is done again: temporary names, durations, addresses, dates and times of day."""


class Fault(Record):
    """A ModelFault, as data."""

    kind: FaultKind
    message: str
    retry_after: float | None = None


class Recorded(Record):
    """One try of one call. Neither reply nor fault: it was cancelled, by a limit or with the run."""

    trial: str
    call: int
    number: int
    digest: str
    asked: dict[str, Any]
    wire: tuple[Exchange, ...] = ()
    reply: ModelReply | None = None
    fault: Fault | None = None
    seconds: float

    @property
    def place(self) -> tuple[int, int]:
        """Call and try: they rise within a session; where they do not, the trial was begun anew."""
        return self.call, self.number


def canonical(request: ModelRequest) -> dict[str, Any]:
    """What a request asks: no call ids, no nulls, no address; durations, dates and temporary names made equal."""
    return {
        "model": request.model, "messages": [_plain(message) for message in request.messages],
        "tools": list(request.tools), "sampling": request.sampling.model_dump(mode="json", exclude_none=True),
        "shape": request.shape.model_dump(mode="json", exclude_none=True), "seed": request.seed,
        "reasoning_effort": request.reasoning_effort,
    }  # fmt: skip


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return _VARYING.sub("~", value)
    if isinstance(value, Mapping):
        ids = ("id", "tool_call_id") if {"function", "role"} & value.keys() else ()
        return {key: _plain(inner) for key, inner in value.items() if inner is not None and key not in ids}
    return [_plain(inner) for inner in value] if isinstance(value, list | tuple) else value


def digest_of(asked: Mapping[str, Any]) -> str:
    """Of a canonical request, keys taken out: the same for the original and for its recording."""
    return sha256(redact(json.dumps(asked, sort_keys=True, ensure_ascii=False)).encode("utf-8", "replace"))


def file_of(folder: Path, trial: str) -> Path:
    """calls/<trial, proposal or memo key>.jsonl"""
    return folder / f"{trial}.jsonl"


class Recorder:
    """Appends to the files of one run's calls/. Raises MachineError when it cannot be written."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._before: OrderedDict[str, dict[str, Any]] = OrderedDict()

    def append(self, record: Recorded) -> None:
        """Write one try."""
        path = file_of(self._folder, record.trial)
        whole = record.model_dump(mode="json", exclude_none=True)
        line = json.dumps(_shrink(whole, self._before.get(record.trial, {})), ensure_ascii=False)
        try:
            if record.trial not in self._before:
                path.parent.mkdir(parents=True, exist_ok=True)
                _cut_torn_line(path)
            with path.open("ab") as file:
                file.write(redact(line).encode("utf-8", "replace") + b"\n")
        except OSError as error:
            raise MachineError(f"{path}: {error.strerror}; the calls of this run cannot be recorded\n"
                               "make room, then go on with --resume") from None  # fmt: skip
        self._before[record.trial] = whole
        self._before.move_to_end(record.trial)
        if len(self._before) > KEPT_FILES:
            self._before.popitem(last=False)


def _cut_torn_line(path: Path) -> None:
    if path.exists():
        with path.open("r+b") as file:
            file.truncate(file.read().rfind(b"\n") + 1)


class RecordedModel:
    """An adapter whose calls are recorded: faults and cancelled calls too. Implements seams.Model."""

    def __init__(self, adapter: Model, recorder: Recorder) -> None:
        self._adapter, self._recorder = adapter, recorder

    async def complete(self, request: ModelRequest) -> ModelReply:
        begun = time.monotonic()
        reply: ModelReply | None = None
        fault: Fault | None = None
        with tap() as wire:
            try:
                reply = await self._adapter.complete(request)
            except ModelFault as error:
                message = str(error).removeprefix(f"{error.kind}: ")
                fault = Fault(kind=error.kind, message=message, retry_after=error.retry_after)
                raise
            finally:
                asked = canonical(request)
                self._recorder.append(Recorded(
                    trial=request.trial, call=request.call, number=request.number, digest=digest_of(asked), asked=asked,
                    wire=tuple(wire), reply=reply, fault=fault, seconds=round(time.monotonic() - begun, 4),
                ))  # fmt: skip
        return reply


def read_recording(path: Path) -> Iterator[Recorded]:
    """The tries in a file, in order; a torn last line is none. Raises UsageError that names a missing or damaged line."""
    try:
        data = path.read_bytes()
    except OSError:
        raise UsageError(f"{path}: not recorded") from None
    before: dict[str, Any] = {}
    for number, line in enumerate(data[: data.rfind(b"\n") + 1].splitlines(), start=1):
        try:
            before = _grow(json.loads(line), before)
            yield Recorded.model_validate(before)
        except (ValueError, KeyError, TypeError, AttributeError, ValidationError):
            raise UsageError(f"{path}, line {number}: the recording is damaged") from None


def recorded_usage(path: Path) -> Iterator[tuple[str, Usage]]:
    """Model and usage of every reply in a file, as the server said; quick, and what is damaged is passed over."""
    model = ""
    for line in path.read_bytes().splitlines():
        with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):
            record = json.loads(line)
            model = record["asked"]["rest"].get("model", model)
            if "reply" in record:
                yield model, Usage.model_validate({**record["reply"]["usage"], "calls": 1})


# --- what is equal to the line before is left out: "kept" counts leading messages, "same" names whole entries ---


def _shrink(record: dict[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    small = {**record, "asked": _delta(record["asked"], before.get("asked", {}))}
    if isinstance(body := _body_of(record), dict):
        last = _body_of(before)
        small["wire"] = _with_body(record["wire"], _delta(body, last if isinstance(last, dict) else {}))
    return small


def _grow(small: dict[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    record = {**small, "asked": _whole(small["asked"], before.get("asked", {}))}
    if isinstance(body := _body_of(small), dict):
        record["wire"] = _with_body(small["wire"], _whole(body, _body_of(before)))
    return record


def _body_of(record: Mapping[str, Any]) -> Any:
    """What the last exchange sent."""
    wire = record.get("wire") or ()
    return wire[-1]["request"].get("body") if wire else None


def _with_body(wire: list[Exchange], body: dict[str, Any]) -> list[Exchange]:
    return [*wire[:-1], {**wire[-1], "request": {**wire[-1]["request"], "body": body}}]


def _delta(value: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    same = sorted(key for key in value if key != "messages" and key in before and before[key] == value[key])
    delta = {key: inner for key, inner in value.items() if key not in same}
    old, new = before.get("messages"), value.get("messages")
    kept = 0
    if isinstance(new, list):
        pairs = zip(new, old if isinstance(old, list) else (), strict=False)
        kept = next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(new), len(old or ())))
        delta["messages"] = new[kept:]
    return {"same": same, "kept": kept, "rest": delta}


def _whole(delta: Mapping[str, Any], before: Any) -> dict[str, Any]:
    whole = {**{key: before[key] for key in delta["same"]}, **delta["rest"]}
    if delta["kept"]:
        whole["messages"] = [*before["messages"][: delta["kept"]], *whole["messages"]]
    return whole
