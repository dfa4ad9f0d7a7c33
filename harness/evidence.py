"""The evidence: a read-only folder of what a proposer may know, built from an allow-list, train split only.

docs/contracts.md lists its files. Val and test never enter: this module is handed the train tasks and the gate's trials,
and nothing else. Of the verifier it holds the names of checks and whether they passed. Bytes do not depend on time.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.archive import Archive
from harness.paths import RunPaths
from harness.predictions import record
from harness.records import Experiment, Task, Trial
from harness.render import by_task, delta, failed_checks, markdown_table, one_line, points, score, title_of, verdict
from harness.signs import SIGNS, signs_of
from harness.stats import paired

MAX_TRAJECTORIES = 60

README = """# Evidence

What the worker did with the parent scaffold on the train tasks. Read summary.md first, then the digests of failing tasks
in tasks/, then their raw trajectories (ATIF-v1.7 JSON): raw traces are worth more than summaries.

- history.md: every earlier candidate, what it tried, what came of it. rejected.md: ideas that were reverted or refused.
- transitions.md: what the last accepted edit fixed and broke. settings.toml: what you may edit, within which bounds.
- ledger.md: facts, kept by the harness. memo.md: notes of earlier rounds.

A candidate is measured against its re-measured parent on the same tasks, seeds and attempts; it is kept when the gain is
worth more than the risk that there is none. Its score on tasks that are not here decides what is claimed in the end.

Refused without measuring: task ids, answers or phrases of tasks in the scaffold; raised limits, models, reasoning effort;
anything that reaches for tests, verifiers or logs; files that are not editable; what does not start.
"""


class EvidenceBuilder:
    """Builds the folder of one round. `tasks` are the train tasks."""

    def __init__(self, paths: RunPaths, experiment: Experiment, tasks: Mapping[str, Task]) -> None:
        self._paths = paths
        self._experiment = experiment
        self._tasks = tasks

    def build(self, archive: Archive, parent: str, number: int) -> Path:
        """Write evidence/rNN and return it; a folder that is there already is written anew."""
        folder = self._paths.evidence(number)
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "tasks").mkdir(parents=True)
        trials = sorted((t for t in archive.trials.get(parent, ()) if t.spec.task in self._tasks), key=_in_plan_order)
        documents = {t.spec.key: self._document(t) for t in trials}
        signs = {t.spec.key: signs_of(documents[t.spec.key] or {}, t.flags) for t in trials}
        for task, group in by_task(trials).items():
            (folder / "tasks" / f"{task}.md").write_text(_task_page(self._tasks[task], group, signs))
        self._trajectories(folder, trials, documents)
        pages = {
            "README.md": README,
            "summary.md": _summary(archive, parent, trials, signs),
            "transitions.md": _transitions(archive, parent),
            "history.md": _history(archive),
            "rejected.md": _rejected(archive),
            "settings.toml": self._settings(),
            "ledger.md": self._note("ledger.md"),
            "memo.md": "".join(f"## Round {n}\n\n{text}\n\n" for n, text in archive.memos[-8:]) or "No round yet.\n",
        }
        for name, text in pages.items():
            (folder / name).write_text(text)
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
        return folder

    def _document(self, trial: Trial) -> dict[str, Any] | None:
        try:
            found = json.loads((self._paths.trial(trial.spec.key) / "trajectory.json").read_text("utf-8"))
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) else None

    def _trajectories(self, folder: Path, trials: list[Trial], documents: Mapping[str, Any]) -> None:
        """Raw documents, failing trials first, seconds taken out so that the folder is the same on every machine."""
        ranked = sorted(trials, key=lambda t: (t.passed, t.spec.attempt, t.spec.task, t.spec.seed))
        for trial in ranked[:MAX_TRAJECTORIES]:
            document = documents[trial.spec.key]
            if document is not None:
                for step in document["steps"]:
                    (step.get("extra") or {}).pop("seconds", None)
                target = folder / "trajectories" / trial.spec.task / f"{trial.spec.seed}-{trial.spec.attempt}.json"
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(json.dumps(document, ensure_ascii=False, indent=1))

    def _settings(self) -> str:
        caps = self._experiment.limits.model_dump(exclude_none=True)
        limits = "\n".join(f"{name} = {value}" for name, value in caps.items())
        globs = ", ".join(json.dumps(glob) for glob in self._experiment.scaffold.editable)
        return (f"editable = [{globs}]\nlocked = [\"model\", \"reasoning_effort\", \"price\", \"budget\"]\n"
                f"max_files = 64\nmax_bytes = 262144\n\n[limits]  # a scaffold may set lower ones, never higher\n{limits}\n\n"
                "[sampling]  # bounds\ntemperature = [0.0, 2.0]\ntop_p = [0.0, 1.0]\nfrequency_penalty = [-2.0, 2.0]\n"
                "presence_penalty = [-2.0, 2.0]\nmax_tokens = [16, 65536]\n")  # fmt: skip

    def _note(self, name: str) -> str:
        file = self._paths.notes / name
        return file.read_text("utf-8") if file.exists() else "Nothing yet.\n"


def _in_plan_order(trial: Trial) -> tuple[int, str, int]:
    """Not in order of arrival: two runs that went the same way show the proposer the same pages."""
    return trial.spec.attempt, trial.spec.task, trial.spec.seed


def _task_page(task: Task, trials: list[Trial], signs: Mapping[str, Counter[str]]) -> str:
    rows = [[f"{t.spec.seed}-{t.spec.attempt}", t.outcome, score(t.score), failed_checks([t]) if not t.passed else "none",
             str(t.steps), ", ".join(f"{n} {c}" for n, c in sorted(signs[t.spec.key].items())) or "none",
             f"trajectories/{task.id}/{t.spec.seed}-{t.spec.attempt}.json"] for t in trials]  # fmt: skip
    header = ("seed-attempt", "outcome", "score", "failed checks", "steps", "signs", "trajectory")
    return f"# {task.id}\n\n{task.instruction}\n\n{markdown_table(rows, header)}\n"


def _summary(archive: Archive, parent: str, trials: list[Trial], signs: Mapping[str, Counter[str]]) -> str:
    if not trials:
        return (
            f"# Summary\n\nParent {parent}: not measured yet; the first round measures it beside the first candidate.\n"
        )
    groups = by_task(trials)
    classes: dict[str, list[str]] = {"partly passing": [], "never passing": [], "always passing (protect these)": []}
    for task, group in groups.items():
        passed = sum(t.passed for t in group)
        name = (
            "never passing"
            if not passed
            else "always passing (protect these)"
            if passed == len(group)
            else "partly passing"
        )
        classes[name].append(f"{task} {passed}/{len(group)}")
    failing: Counter[str] = Counter()
    for trial in trials:
        if not trial.passed:
            failing.update(set(signs[trial.spec.key]))
    lost = sum(not t.passed for t in trials)
    mean = sum(t.score or 0.0 for t in trials) / len(trials)
    lines = [f"# Summary\n\nParent {parent}: score {mean:.2f} over {len(trials)} trials, {lost} of them failed.\n"]
    lines += [f"- {name}: {', '.join(tasks) or 'none'}" for name, tasks in classes.items()]
    lines += ["", "Signs in failed trials (how many of them show it):", ""]
    lines += [
        f"- {name}: {n} of {lost} ({SIGNS[name]})" for name, n in sorted(failing.items(), key=lambda i: (-i[1], i[0]))
    ] or ["- none"]
    tracked = record(archive.decisions)
    if tracked:
        lines += ["", "Your predictions so far: " + ", ".join(f"{name} {value:.2f}" for name, value in tracked.items())]
    return "\n".join(lines) + "\n"


def _transitions(archive: Archive, parent: str) -> str:
    before = archive.parent_of(parent) if parent in archive.candidates else None
    if before is None:
        return "The parent is the seed: there is nothing before it.\n"
    compared = paired(archive.trials.get(parent, ()), archive.trials.get(before, ()))
    same = compared.pairs - len(compared.fixed) - len(compared.broken)
    return (f"{before} -> {parent}: {points(compared.mean)} points over {compared.pairs} units\n\n"
            f"fixed: {', '.join(compared.fixed) or 'none'}\nbroken: {', '.join(compared.broken) or 'none'}\nsame: {same}\n")  # fmt: skip


def _history(archive: Archive) -> str:
    parts = ["# History\n"]
    for d in archive.decisions:
        proposal = archive.proposals.get(d.round)
        mechanism = proposal.manifest.mechanism if proposal else ""
        files = ", ".join(change.path for change in proposal.changes) if proposal else ""
        parts.append(f"- round {d.round}, {d.candidate}: {title_of(archive, d)} | mechanism: {one_line(mechanism, 160)} | "
                     f"files: {files} | verdict: {verdict(d)} | delta: {delta(d)} | fixed: {', '.join(d.fixed) or 'none'} | "
                     f"broken: {', '.join(d.broken) or 'none'}")  # fmt: skip
    return "\n".join(parts) + ("\n" if len(parts) > 1 else "\nNo candidate yet.\n")


def _rejected(archive: Archive) -> str:
    lines = ["# Rejected ideas\n"]
    for d in archive.decisions:
        if d.verdict != "keep":
            near = " (near miss)" if d.p_better is not None and d.p_better > 0.6 else ""
            lines.append(f"- {title_of(archive, d)}: {verdict(d)}{near}: {one_line(d.detail or d.reason, 200)}")
    lines += [f"- refused in round {n}: {r.breach}: {one_line(r.reason, 200)}" for n, r in archive.rejections]
    return "\n".join(lines) + ("\n" if len(lines) > 1 else "\nNone yet.\n")
