"""MLflow as a projection of the journal: the one module that imports mlflow.

A publisher thread folds the events and writes runs, metrics, artifacts, models and traces with explicit ids and times
(never MLflow's fluent state). It is idempotent: what is there already is found by its tag and left alone. When the
server is down a run goes on; `harness export --mlflow URI` publishes it later.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness.archive import Archive, fold
from harness.errors import HarnessError
from harness.lineage import Lineage
from harness.paths import RunPaths
from harness.records import Decision, Experiment, Suite, Trial
from harness.records.events import AuditDone, ClaimMade, Event, GateDecided, RunEnded, RunResumed, RunStarted
from harness.trackers import projection

ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "GIT_PYTHON_REFRESH": "quiet",
}
"""Set before mlflow is imported: no look-ups, no minutes of retries, no hang beside litellm on an offline machine."""

_WORTH_PUBLISHING = (GateDecided, AuditDone, ClaimMade, RunEnded, RunStarted, RunResumed)


class MlflowTracker:
    """Listens to a run and publishes in a thread of its own. It warns once when it cannot, and never raises."""

    def __init__(self, uri: str, paths: RunPaths, experiment: Experiment, suite: Suite, archive: Archive) -> None:
        self._archive = archive
        self._inbox: queue.Queue[Event | None] = queue.Queue()
        self._warned = False
        self._uri = uri
        self._arguments = (uri, paths, experiment, suite)
        self._thread = threading.Thread(target=self._work, name="mlflow", daemon=True)
        self._thread.start()

    def on(self, event: Event) -> None:
        self._inbox.put(event)

    def close(self, time_limit: float = 60.0) -> None:
        """Publish what is left, for at most `time_limit` seconds."""
        self._inbox.put(None)
        self._thread.join(time_limit)
        if self._thread.is_alive():
            self._warn(f"MLflow at {self._uri} did not take everything in {time_limit:.0f} s")

    def _work(self) -> None:
        publisher: Publisher | None = None
        while True:
            events = [self._inbox.get()]
            with contextlib.suppress(queue.Empty):
                while True:
                    events.append(self._inbox.get_nowait())
            known = [event for event in events if event is not None]
            self._archive = fold(known, self._archive)
            if any(isinstance(event, _WORTH_PUBLISHING) for event in known):
                try:
                    publisher = publisher or Publisher(*self._arguments)
                    publisher.publish(self._archive)
                except Exception as error:  # the boundary: a tracker must never stop a run
                    self._warn(
                        f"MLflow: {type(error).__name__}: {str(error).splitlines()[0][:160] if str(error) else ''}"
                    )
            if None in events:
                return

    def _warn(self, message: str) -> None:
        if not self._warned:
            self._warned = True
            print(f"{message}\nthe run goes on; later: harness export RUN --mlflow URI", file=sys.stderr)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """MLflow writes progress and hints to the terminal through logging; a run's terminal is ours."""
    import logging

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    yield


class Publisher:
    """Writes one run into one MLflow server or store. `publish` may be called any number of times.

    Raises whatever MLflow raises; callers decide what that means.
    """

    def __init__(self, uri: str, paths: RunPaths, experiment: Experiment, suite: Suite) -> None:
        for name, value in ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        import mlflow

        self._mlflow: Any = mlflow
        self._paths = paths
        self._experiment = experiment
        self._suite = suite
        self._lineage = Lineage(paths.lineage)
        with _quiet():
            mlflow.set_tracking_uri(uri)
            self._client: Any = mlflow.MlflowClient(tracking_uri=uri)
            self._exp = self._experiment_id(uri)
        self._parent = ""
        self._done: set[str] = set()
        self._best = 0.0

    def publish(self, archive: Archive) -> str:
        """Bring MLflow up to date with the archive; the id of the parent run."""
        with _quiet():
            self._parent = self._parent or self._parent_run(archive)
            for decision in archive.decisions:
                if decision.candidate not in self._done:
                    self._candidate(archive, decision)
                    self._done.add(decision.candidate)
            self._finish(archive)
        return self._parent

    def _experiment_id(self, uri: str) -> str:
        if uri.startswith("sqlite:///"):
            Path(uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
        found = self._client.get_experiment_by_name(self._experiment.name)
        if found is not None:
            return str(found.experiment_id)
        note = self._experiment.description or f"selfharness experiment {self._experiment.name}"
        location = None
        if uri.startswith("sqlite:///"):
            location = (Path(uri.removeprefix("sqlite:///")).resolve().parent / "artifacts").as_uri()
        tags = {"mlflow.note.content": note, "mlflow.experimentKind": "genai_development"}
        return str(self._client.create_experiment(self._experiment.name, artifact_location=location, tags=tags))

    def _find(self, kind: str, key: str) -> str | None:
        found = self._client.search_runs([self._exp], f"tags.kind = '{kind}' and tags.key = '{key}'", max_results=1)
        return str(found[0].info.run_id) if found else None

    def _parent_run(self, archive: Archive) -> str:
        found = self._find("experiment", archive.run)
        if found:
            return found
        tags = {"kind": "experiment", "key": archive.run, "model": self._experiment.models["main"].name,
                "suite": self._suite.name}  # fmt: skip
        run = self._client.create_run(self._exp, start_time=_ms(archive.started_at), run_name=archive.run, tags=tags)
        run_id = str(run.info.run_id)
        params = {"model": self._experiment.models["main"].name, "suite": self._suite.name, "seed": self._experiment.seed,
                  "suite_digest": self._suite.digest[:12], "gate": self._experiment.gate.kind,
                  "preset": self._experiment.gate.preset, "selector": self._experiment.selector.kind,
                  "proposer": self._experiment.proposer.kind, "seeds": self._experiment.suite.seeds}  # fmt: skip
        for name, value in params.items():
            self._client.log_param(run_id, name, value)
        for path in (self._paths.experiment, self._paths.lock):
            if path.exists():
                self._client.log_text(run_id, path.read_text("utf-8"), path.name)
        return run_id

    def _candidate(self, archive: Archive, decision: Decision) -> None:
        key = f"{archive.run}/{decision.candidate}"
        found = self._find("candidate", key)
        at = _decided_at(archive, decision)
        tags = {**projection.candidate_tags(archive, decision, self._experiment), "key": key,
                "mlflow.parentRunId": self._parent, "suite": self._suite.name}  # fmt: skip
        if found is None:
            run = self._client.create_run(
                self._exp, start_time=at[0], run_name=projection.run_name(decision), tags=tags
            )
            found = str(run.info.run_id)
        model_id = self._scaffold_model(archive, decision, found)
        self._log(
            found, projection.candidate_metrics(archive, decision), self._params(archive, decision), at[1], model_id
        )
        self._artifacts(archive, decision, found)
        if (archive.candidates.get(decision.candidate)) is not None:
            self._traces(archive, decision, found, model_id)
        self._client.set_terminated(found, "FINISHED", end_time=at[1])
        self._best_step(archive, decision, at[1])

    def _params(self, archive: Archive, decision: Decision) -> dict[str, str]:
        candidate = archive.candidates.get(decision.candidate)
        return {"suite": self._suite.name, "suite_digest": self._suite.digest[:12], "round": str(decision.round),
                "model": self._experiment.models["main"].name, "seed": str(self._experiment.seed),
                "parent": decision.parent, "scaffold": candidate.digest[:12] if candidate else ""}  # fmt: skip

    def _log(self, run: str, metrics: dict[str, float], params: dict[str, str], at: int, model: str | None) -> None:
        from mlflow.entities import Metric, Param

        extra = {"model_id": model} if model else {}
        self._client.log_batch(
            run, metrics=[Metric(name, value, at, 0, **extra) for name, value in metrics.items()],
            params=[Param(name, value) for name, value in params.items()],
        )  # fmt: skip

    def _scaffold_model(self, archive: Archive, decision: Decision, run: str) -> str | None:
        candidate = archive.candidates.get(decision.candidate)
        if candidate is None:
            return None
        name = f"scaffold-{candidate.digest[:12]}"
        found = self._client.search_logged_models([self._exp], f"name = '{name}'", max_results=1)
        if found:
            return str(found[0].model_id)
        model = self._client.create_logged_model(
            self._exp, name=name, source_run_id=run, model_type="agent-scaffold",
            params={"candidate": candidate.id, "parent": candidate.parent or "", "run": archive.run},
        )  # fmt: skip
        self._client.finalize_logged_model(model.model_id, "READY")
        return str(model.model_id)

    def _artifacts(self, archive: Archive, decision: Decision, run: str) -> None:
        if decision.candidate in archive.candidates:
            diff = self._lineage.diff(decision.parent, decision.candidate)
            self._client.log_text(run, projection.change_markdown(archive, decision, diff), "change.md")
            self._client.log_text(run, diff, "change.diff.txt")
        proposal = archive.proposals.get(decision.round)
        if proposal is not None:
            self._client.log_text(run, proposal.manifest.model_dump_json(indent=2), "manifest.json")
        self._client.log_text(run, decision.model_dump_json(indent=2), "decision.json")
        self._client.log_text(run, projection.candidate_page(archive, decision), "candidate.txt")
        table = projection.trial_table(archive, decision.candidate)
        if table["task"]:
            self._client.log_table(run, table, "trials.json")

    def _traces(self, archive: Archive, decision: Decision, run: str, model: str | None) -> None:
        have = self._mlflow.search_traces(locations=[self._exp], run_id=run, return_type="list", max_results=100)
        keys = {trace.info.tags.get("trial_key") for trace in have}
        made: list[tuple[str, Trial]] = []
        for trial in projection.traced(archive, decision.candidate, decision.parent):
            if trial.spec.key not in keys:
                made.append((self._trace(trial, run, model), trial))
        if made:
            self._mlflow.flush_trace_async_logging()
        from mlflow.entities import AssessmentSource

        source = AssessmentSource(source_type="CODE", source_id="verifier")
        for trace_id, trial in made:
            value: Any = trial.passed if trial.counts else None
            self._mlflow.log_feedback(trace_id=trace_id, name="passed", value=value if value is not None else trial.outcome,
                                      source=source, metadata={"mlflow.assessment.sourceRunId": run})  # fmt: skip

    def _trace(self, trial: Trial, run: str, model: str | None) -> str:
        spec, start = trial.spec, int(trial.started * 1e9)
        metadata = {"mlflow.sourceRun": run, "mlflow.trace.session": spec.task}
        if model:
            metadata["mlflow.modelId"] = model
        root = self._mlflow.start_span_no_context(
            "trial", span_type="AGENT", start_time_ns=start, experiment_id=self._exp, metadata=metadata,
            inputs={"task": spec.task, "seed": spec.seed, "attempt": spec.attempt},
            tags={"trial_key": spec.key, "task": spec.task, "candidate": spec.candidate, "outcome": trial.outcome},
        )  # fmt: skip
        end = start + int(trial.wall_s * 1e9)
        for name, kind, inputs, outputs, attributes in _spans(self._paths.trial(spec.key) / "trajectory.json"):
            span = self._mlflow.start_span_no_context(name, parent_span=root, span_type=kind, inputs=inputs,
                                                      attributes=attributes, start_time_ns=start)  # fmt: skip
            span.end(outputs=outputs, end_time_ns=end)
        failed = [check.name for check in trial.checks if not check.passed]
        root.end(outputs={"outcome": trial.outcome, "score": trial.score, "failed": failed}, end_time_ns=end)
        return str(root.trace_id)

    def _best_step(self, archive: Archive, decision: Decision, at: int) -> None:
        if not self._best:
            seed = [t.score for t in archive.trials.get(archive.seed, ()) if t.score is not None]
            self._best = sum(seed) / len(seed) if seed else 0.0
        metrics = projection.parent_metrics(archive, decision, self._best)
        self._best = metrics["best_score"]
        for name, value in metrics.items():
            self._client.log_metric(self._parent, name, value, timestamp=at, step=decision.round)

    def _finish(self, archive: Archive) -> None:
        at = _ms(archive.last_at)
        for name, value in projection.claim_metrics(archive).items():
            self._client.log_metric(self._parent, name, value, timestamp=at, step=len(archive.claims))
        self._client.set_tag(self._parent, "mlflow.note.content", projection.run_note(archive)[:7900])
        self._client.set_tag(self._parent, "best", archive.best)
        if archive.ended is not None:
            self._client.set_tag(self._parent, "ended", archive.ended.reason)
            self._client.set_terminated(self._parent, "FINISHED", end_time=at)


def _spans(trajectory: Path) -> list[tuple[str, str, Any, Any, dict[str, Any]]]:
    """Name, type, inputs, outputs, attributes of a trajectory's model and tool calls (ATIF-v1.7)."""
    try:
        steps = json.loads(trajectory.read_text("utf-8"))["steps"]
    except (OSError, ValueError, KeyError):
        return []
    spans: list[tuple[str, str, Any, Any, dict[str, Any]]] = []
    for step in steps:
        if step.get("source") != "agent":
            spans.append((str(step.get("source")), "CHAIN", None, _cut(step.get("message")), {}))
            continue
        metrics = step.get("metrics") or {}
        tokens = {"input_tokens": metrics.get("prompt_tokens", 0), "output_tokens": metrics.get("completion_tokens", 0)}
        tokens["total_tokens"] = tokens["input_tokens"] + tokens["output_tokens"]
        calls = step.get("tool_calls") or []
        spans.append(("model", "CHAT_MODEL", None, {"message": _cut(step.get("message")), "tool_calls": calls},
                      {"mlflow.chat.tokenUsage": tokens}))  # fmt: skip
        results = {
            r.get("source_call_id"): r.get("content") for r in (step.get("observation") or {}).get("results", [])
        }
        for call in calls:
            spans.append((call.get("function_name", "tool"), "TOOL", call.get("arguments"),
                          _cut(results.get(call.get("tool_call_id"))), {}))  # fmt: skip
    return spans[:200]


def _cut(text: Any, limit: int = 4000) -> Any:
    return text if not isinstance(text, str) or len(text) <= limit else text[:limit] + " …"


def _ms(seconds: float) -> int:
    return int(seconds * 1000)


def _decided_at(archive: Archive, decision: Decision) -> tuple[int, int]:
    """When the candidate's first trial started and its last ended, in ms; now when it was never measured."""
    trials = [t for t in archive.trials.get(decision.candidate, ()) if t.started]
    if not trials:
        now = _ms(archive.last_at or time.time())
        return now, now
    return _ms(min(t.started for t in trials)), _ms(max(t.started + t.wall_s for t in trials))


def publish_run(uri: str, paths: RunPaths, experiment: Experiment, suite: Suite, archive: Archive) -> str:
    """Publish a whole run; the parent run's id. Raises HarnessError when the server cannot be reached."""
    try:
        return Publisher(uri, paths, experiment, suite).publish(archive)
    except Exception as error:  # the boundary: MLflow raises anything
        raise HarnessError(f"MLflow at {uri}: {type(error).__name__}: {str(error)[:300]}") from error
