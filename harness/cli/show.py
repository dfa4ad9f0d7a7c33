"""harness show: the same verb, deeper arguments."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from harness.archive import Archive
from harness.cli.eval_report import json_of, text_of
from harness.cli.reading import as_json, open_named, print_json, runs_of
from harness.errors import UsageError, did_you_mean
from harness.evalfolder import is_evaluation, read_evaluation
from harness.paths import RunPaths
from harness.records import Trial
from harness.render import (
    by_task,
    candidate_text,
    duration,
    one_line,
    origin,
    score,
    seed_score,
    state,
    summary,
    table,
    trial_line,
)
from harness.runs import list_runs, open_run


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", nargs="?", help='a run: folder, name, part of a name, or "last"')
    parser.add_argument("candidate", nargs="?", help="a candidate, as c0002")
    parser.add_argument("task", nargs="?", help="a task id: its trials and the trajectory of the first")
    parser.add_argument("--trial", metavar="SEED-ATTEMPT", help="which trial of the task, as 0-1")
    parser.add_argument("--harbor", type=Path, metavar="DIR", help="the results of a Harbor job, read back")
    parser.add_argument("--disk", action="store_true", help="what the runs take on disk")
    parser.add_argument("--cache", action="store_true", help="what the trial cache holds, and where")
    as_json(parser)


def run(arguments: argparse.Namespace) -> int:
    if arguments.cache:
        return _cache(arguments)
    if arguments.disk:
        return _disk(arguments)
    if arguments.harbor is not None:
        return _harbor(arguments)
    if arguments.run is None:
        return _list(arguments)
    paths, archive = open_named(arguments.run)
    if arguments.task is None and is_evaluation(paths):
        return _evaluation(arguments, paths)
    if arguments.candidate is None:
        return _run(arguments, archive)
    candidate = known_candidate(archive, arguments.candidate)
    if arguments.task is None:
        return _candidate(arguments, archive, candidate)
    return _task(arguments, paths, archive, candidate)


def _evaluation(arguments: argparse.Namespace, paths: RunPaths) -> int:
    found = read_evaluation(paths)
    if arguments.json:
        return print_json(json_of(found, None))
    print(text_of(found, None))
    return 0


def known_candidate(archive: Archive, name: str) -> str:
    """A candidate id of this run, measured or refused; also "best" and "seed". Raises UsageError."""
    if name in ("best", "seed"):
        return archive.best if name == "best" else archive.seed
    measured = (trial.spec.candidate for trial in archive.all_trials)  # an evaluation has trials only
    known = list(dict.fromkeys([*archive.candidates, *(d.candidate for d in archive.decisions), *measured]))
    if name not in known:
        raise UsageError(
            f'candidate "{name}": not in {archive.run}{did_you_mean(name, known)}\nit has {", ".join(known)}'
        )
    return name


def _list(arguments: argparse.Namespace) -> int:
    rows, data = [], []
    for paths in list_runs(runs_of(arguments)):
        try:
            archive = open_run(paths)
        except UsageError as error:
            print(error, file=sys.stderr)
            continue
        kept = sum(d.verdict == "keep" for d in archive.decisions)
        rows.append([paths.name, archive.experiment, str(len(archive.decisions)), str(kept), score(seed_score(archive)),
                     archive.best, str(len(archive.finished)), origin(archive) or "-",
                     "ended" if archive.ended else "resumable"])  # fmt: skip
        data.append({"run": paths.name, "experiment": archive.experiment, "rounds": len(archive.decisions), "kept": kept,
                     "seed_score": seed_score(archive), "best": archive.best, "trials": len(archive.finished),
                     "ended": archive.ended.reason if archive.ended else None})  # fmt: skip
    if arguments.json:
        return print_json(data)
    header = ("run", "experiment", "rounds", "kept", "seed", "best", "trials", "origin", "state")
    print(table(rows, header) if rows else "no runs here yet; harness run demo makes one")
    return 0


def _run(arguments: argparse.Namespace, archive: Archive) -> int:
    if arguments.json:
        return print_json({
            "run": archive.run, "experiment": archive.experiment, "best": archive.best, "state": state(archive),
            "seed_score": seed_score(archive), "fingerprint": archive.fingerprint(),
            "candidates": [c.model_dump(mode="json") for c in archive.candidates.values()],
            "decisions": [d.model_dump(mode="json") for d in archive.decisions],
            "audits": [a.model_dump(mode="json") for a in archive.audits],
            "claims": [c.model_dump(mode="json") for c in archive.claims],
            "spent": archive.spent().model_dump(mode="json"),
        })  # fmt: skip
    print(summary(archive))
    return 0


def _candidate(arguments: argparse.Namespace, archive: Archive, candidate: str) -> int:
    if arguments.json:
        decision, record = archive.decision_of(candidate), archive.candidates.get(candidate)
        proposal = archive.proposals.get(decision.round) if decision else None
        return print_json({
            "candidate": record.model_dump(mode="json") if record else None,
            "decision": decision.model_dump(mode="json") if decision else None,
            "manifest": proposal.manifest.model_dump(mode="json") if proposal else None,
            "trials": [t.model_dump(mode="json") for t in archive.trials.get(candidate, ())],
        })  # fmt: skip
    print(candidate_text(archive, candidate))
    return 0


def _task(arguments: argparse.Namespace, paths: RunPaths, archive: Archive, candidate: str) -> int:
    every = [t for t in archive.all_trials if t.spec.candidate == candidate]
    groups = by_task(every)
    if arguments.task not in groups:
        hint = did_you_mean(arguments.task, list(groups))
        raise UsageError(
            f'task "{arguments.task}": {candidate} has no trial of it{hint}\nit has {", ".join(groups) or "none"}'
        )
    trials = groups[arguments.task]
    chosen = _chosen(arguments.trial, trials)
    file = paths.trial(chosen.spec.key) / "trajectory.json"
    if arguments.json:
        trajectory = json.loads(file.read_text("utf-8")) if file.exists() else None
        return print_json({"trials": [t.model_dump(mode="json") for t in trials], "trajectory": trajectory})
    print("\n".join(trial_line(trial) for trial in trials))
    print(f"\n{chosen.spec.key}   {chosen.outcome} {score(chosen.score)}   {duration(chosen.wall_s)}")
    print("checks: " + (", ".join(f"{c.name} {'pass' if c.passed else 'FAIL'}" for c in chosen.checks) or "none"))
    print(_trajectory(file))
    return 0


def _chosen(wanted: str | None, trials: list[Trial]) -> Trial:
    if wanted is None:
        return next((trial for trial in trials if not trial.passed), trials[0])
    for trial in trials:
        if f"{trial.spec.seed}-{trial.spec.attempt}" == wanted:
            return trial
    raise UsageError(f"--trial {wanted}: no such trial; there are "
                     + ", ".join(f"{t.spec.seed}-{t.spec.attempt}" for t in trials))  # fmt: skip


def _trajectory(file: Path) -> str:
    """The steps of an ATIF document, readable."""
    if not file.exists():
        return f"no trajectory at {file}"
    lines = []
    for step in json.loads(file.read_text("utf-8"))["steps"]:
        message = step.get("message") or ""
        lines.append(f"\n[{step['step_id']}] {step['source']}" + (f": {message}" if message else ""))
        for call in step.get("tool_calls") or []:
            lines.append(
                f"  > {call['function_name']} {one_line(json.dumps(call['arguments'], ensure_ascii=False), 400)}"
            )
        for result in (step.get("observation") or {}).get("results", []):
            lines += [f"  | {line}" for line in str(result.get("content") or "").splitlines()[:40]]
    return "\n".join(lines)


def _cache(arguments: argparse.Namespace) -> int:
    from harness.wiring import trial_store

    store = trial_store()
    if store is None:
        raise UsageError("the trial cache is off: HARNESS_CACHE_MB=0")
    found = store.size()
    if arguments.json:
        print_json({"folder": str(found.folder), "entries": found.entries, "bytes": found.bytes, "cap": found.cap, "oldest": found.oldest})  # fmt: skip
        return 0
    unused = f", the longest unused for {duration(time.time() - found.oldest)}" if found.oldest is not None else ""
    print(f"{found.folder}\n{found.entries} trials, {found.bytes / 1e6:.1f} of {found.cap / 1e6:.0f} MB (HARNESS_CACHE_MB){unused}\n"
          "the oldest go by themselves; to empty it, remove the folder")  # fmt: skip
    return 0


def _disk(arguments: argparse.Namespace) -> int:
    rows = []
    for paths in list_runs(runs_of(arguments)):
        files = [p for p in paths.root.rglob("*") if p.is_file()]
        rows.append([paths.name, f"{sum(p.stat().st_size for p in files) / 1e6:.1f} MB", str(len(files))])
    if arguments.json:
        return print_json([dict(zip(("run", "size", "files"), row, strict=True)) for row in rows])
    print(table(rows, ("run", "size", "files")) if rows else "no runs here yet")
    print("\na run is one folder: remove it to delete the run (MLflow keeps its own copy)")
    return 0


def _harbor(arguments: argparse.Namespace) -> int:
    from harness.bridges.harbor import read_job

    trials = read_job(arguments.harbor)
    scored = [t.reward for t in trials if t.reward is not None]
    mean = sum(scored) / len(scored) if scored else None
    if arguments.json:
        return print_json({"score": mean, "coverage": len(scored) / len(trials), "trials": [
            {"task": t.task, "trial": t.trial, "agent": t.agent, "reward": t.reward, "error": t.error,
             "usage": t.usage.model_dump()} for t in trials]})  # fmt: skip
    print(table([[t.task, t.agent, score(t.reward), str(t.usage.tokens), t.error[:80]] for t in trials],
                ("task", "agent", "reward", "tokens", "error")))  # fmt: skip
    print(f"\nscore {score(mean)}, coverage {len(scored) / len(trials):.0%}: a trial without a reward is no zero")
    return 0
