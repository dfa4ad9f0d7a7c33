"""From an experiment to a running loop: the only module that knows concrete classes."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.archive import Archive, fold
from harness.config import config_digest
from harness.display import Display
from harness.errors import MachineError, UsageError
from harness.evidence import EvidenceBuilder
from harness.executor import LocalExecutor
from harness.gates import build_gate
from harness.gateways import is_simulated, open_gateway, origin_of
from harness.hashing import digest_json
from harness.instances import Instances
from harness.integrity import Protected, Scanner
from harness.journal import Journal
from harness.lineage import Lineage
from harness.locks import comparable, make_lock, refuse_changed_lock
from harness.loop import Effects, Loop
from harness.models.gateway import ModelGateway
from harness.notes import NoteKeeper
from harness.paths import RunPaths, resolve, shipped
from harness.predictions import score_predictions
from harness.proposers import build_proposer
from harness.records import Decision, Experiment, Grade, Origin, Rejection, Suite, Task, Trial, TrialSpec
from harness.records.events import RunResumed, RunStarted
from harness.replays import Replay, replay_of
from harness.report.writer import ReportWriter
from harness.runs import write_atomic
from harness.sandboxes import choose_provider
from harness.sandboxes.cache import cache_root
from harness.scaffold import (
    Scaffold,
    ScaffoldError,
    check_program,
    check_scope,
    check_treatment,
    read_scaffold,
    to_scaffold,
)
from harness.scaffolding import boots
from harness.seams import Capabilities, Sandboxes, Tracker
from harness.selectors import build_selector
from harness.suites import load_suite
from harness.trackers.mlflow import MlflowTracker
from harness.trial import TrialEngine, TrialSettings
from harness.trialcache import TrialCache, identity_of
from harness.trialstore import DEFAULT_MB, TrialStore

_PROBED: dict[tuple[str, str], Capabilities] = {}
"""What was found by trying, once per process: by provider and what its sandboxes run on."""


@dataclass
class Machine:
    """What a run works with on this machine. Close it."""

    sandboxes: Sandboxes
    capabilities: Capabilities
    digest: str
    """Of what sandboxes run on."""
    gateway: ModelGateway
    instances: Instances
    origin: Origin
    """Of what the models answer."""

    @property
    def locked(self) -> dict[str, str]:
        """What lock.json says of the sandboxes."""
        return {
            "provider": self.capabilities.provider,
            "grade": self.capabilities.grade,
            "image": self.digest,
        }

    async def close(self, listeners: Sequence[Tracker] = ()) -> None:
        await self.sandboxes.close()
        for listener in listeners:
            await asyncio.to_thread(listener.close)  # a tracker takes its time, and signals must be heard meanwhile


async def open_machine(
    experiment: Experiment, archive: Archive | None = None, *, calls: Path | None = None, replay: Replay | None = None
) -> Machine:
    """Check keys and sandboxes, then open them. `calls` is where calls to live models are recorded; a `replay` answers
    them instead. Raises MachineError and UsageError that say what to do.
    """
    gateway = open_gateway(experiment, archive, calls, replay)
    chosen = experiment.sandbox
    unsafe = os.environ.get("HARNESS_UNSAFE_LOCAL") == "1"
    sandboxes = await choose_provider(chosen.kind, root=chosen.root, image=chosen.image, images=chosen.images,
                                      concurrency=chosen.concurrency, unsafe=unsafe)  # fmt: skip
    try:
        digest = await sandboxes.digest()
        known = _PROBED.get((sandboxes.name, digest))
        capabilities = _PROBED[sandboxes.name, digest] = known or await sandboxes.probe()
        check_grade(experiment, capabilities)
    except BaseException:
        await sandboxes.close()
        raise
    instances = Instances(sandboxes, cache_root(), digest)
    return Machine(sandboxes, capabilities, digest, gateway, instances, origin_of(experiment, replay))


def trial_engine(experiment: Experiment, machine: Machine, folder: Callable[[str], Path] | None) -> TrialEngine:
    """The engine of an experiment's trials; `folder` gives the place of a trial's evidence, None keeps none."""
    settings = TrialSettings(
        run_seed=experiment.seed, limits=experiment.limits, models=tuple(experiment.models),
        model_name=experiment.models["main"].name, isolation=machine.capabilities.grade, folder=folder,
        default_origin=machine.origin,
        names={alias: choice.name for alias, choice in experiment.models.items()},
    )  # fmt: skip
    return TrialEngine(machine.sandboxes, machine.gateway, machine.instances, settings, machine.gateway.ready)


def trial_cache(experiment: Experiment, machine: Machine, engine: TrialEngine, *, serve: bool) -> TrialCache | None:
    """What this machine has measured before; None when HARNESS_CACHE_MB=0 turns it off."""
    store = trial_store()
    return (
        TrialCache(engine, store, identity_of(experiment, machine.digest), serve=serve) if store is not None else None
    )


def trial_store() -> TrialStore | None:
    """The trial cache of this machine, HARNESS_CACHE_MB large. Raises UsageError when that is no number."""
    given = os.environ.get("HARNESS_CACHE_MB") or str(DEFAULT_MB)
    if not given.isdecimal():
        raise UsageError(f"HARNESS_CACHE_MB={given}: want megabytes, as {DEFAULT_MB}; 0 turns the trial cache off")
    return TrialStore(cache_root() / "trials", int(given) << 20) if int(given) else None


def wanted_grade(experiment: Experiment) -> Grade:
    """The weakest isolation that the experiment accepts: by default A for live models, B for simulated ones."""
    return experiment.sandbox.min_grade or ("B" if is_simulated(experiment) else "A")


def check_grade(experiment: Experiment, capabilities: Capabilities) -> None:
    """Refuse weaker isolation than the experiment asks for."""
    wanted = wanted_grade(experiment)
    if capabilities.grade > wanted:
        notes = "; ".join(capabilities.notes[:2])
        raise MachineError(
            f"sandbox {capabilities.provider}: isolation grade {capabilities.grade} here, and {wanted} is wanted ({notes})\n"
            f"harness check says what is missing; to accept it: --set sandbox.min_grade={capabilities.grade}"
        )


def check_placement(experiment: Experiment, scaffold: Scaffold, tasks: Mapping[str, Task]) -> None:
    """Refuse what lowers the grade below the one that is wanted: a program in the task's sandbox, where it shares the user of
    the task's commands (B), and foreign tasks, with their image's user (B) and the network that they declare (C)."""
    wanted = wanted_grade(experiment)
    lowered: dict[str, Grade] = {}
    if scaffold.placement == "task":
        lowered['the scaffold\'s placement is "task"'] = "B"
    for name, task in tasks.items():
        if task.foreign is not None:
            more = ", with a network" if task.foreign.grade == "C" else ""
            more = ", its tests beside what the agent left running" if task.foreign.live else more
            lowered[f"task {name} runs in an image of its own{more}"] = task.foreign.grade
    worst = max(lowered, key=lambda what: lowered[what], default="")
    if worst and lowered[worst] > wanted:
        raise MachineError(f"{worst}, which is isolation grade {lowered[worst]}, and {wanted} is wanted\n"
                           f"to accept it: --set sandbox.min_grade={lowered[worst]}")  # fmt: skip


async def preflight(experiment: Experiment) -> list[str]:
    """What --dry-run says: everything that a run would need, tried."""
    suite, tasks = load_suite(experiment.suite.name, live=experiment.sandbox.live)
    scaffold = read_scaffold(resolve(experiment.scaffold.start, "scaffolds", "", "scaffold"))
    machine = await open_machine(experiment)
    await machine.close()
    units = {split: len(suite.units(split, experiment.suite.seeds)) for split in ("train", "val", "test")}
    return [
        f"models     {', '.join(f'{alias} = {choice.name}' for alias, choice in experiment.models.items())}",
        f"scaffold   {experiment.scaffold.start}, {len(scaffold.files)} files, digest {scaffold.digest[:12]}",
        f"suite      {suite.name}, {len(tasks)} tasks, units: {units['train']} train, {units['val']} val, {units['test']} test",
        f"sandbox    {machine.capabilities.provider}, isolation grade {machine.capabilities.grade}",
        "nothing was run",
    ]


async def run_experiment(
    experiment: Experiment, paths: RunPaths, journal: Journal, archive: Archive, *, quiet: bool = False
) -> Archive:
    """The loop of one launch, from wherever the archive says it stands."""
    loop, machine, listeners = await build_loop(experiment, paths, journal, archive, quiet=quiet)
    try:
        done = await loop.run()
    finally:
        await machine.close(listeners)
    Lineage(paths.lineage).checkout(done.best, paths.best)  # last: where it is, all is done
    return done


async def claim_run(experiment: Experiment, paths: RunPaths, journal: Journal, archive: Archive) -> Archive:
    """Open the seal of a finished or stopped run; without a new claim in the archive, the budget ended first."""
    loop, machine, listeners = await build_loop(experiment, paths, journal, archive, quiet=False, resumed=False)
    try:
        await loop.claim()
        return loop.archive
    finally:
        await machine.close(listeners)


async def build_loop(
    experiment: Experiment, paths: RunPaths, journal: Journal, archive: Archive, *, quiet: bool, resumed: bool = True
) -> tuple[Loop, Machine, list[Tracker]]:
    """Everything wired. Writes lock.json and the first event of a launch."""
    suite, tasks = load_suite(experiment.suite.name, live=experiment.sandbox.live)
    seed = read_scaffold(resolve(experiment.scaffold.start, "scaffolds", "", "scaffold"))
    check_treatment(seed, seed, experiment.limits)
    check_placement(experiment, seed, tasks)
    replay = replay_of(paths)
    machine = await open_machine(experiment, archive, calls=paths.calls, replay=replay)
    try:
        lock = make_lock(experiment, suite, tasks, seed, machine.locked)
        archive = _begin(experiment, paths, journal, archive, lock, resumed)
        listeners = _listeners(experiment, paths, suite, archive, quiet)
        effects = _effects(experiment, paths, suite, tasks, machine, listeners, archive.active_s)
        if replay is not None:
            effects = dataclasses.replace(effects, last_round=replay.last_round)
    except BaseException:
        await machine.close()
        raise
    families = {name: task.family for name, task in tasks.items()}
    loop = Loop(experiment, suite, dict(seed.files), paths, journal, archive, build_gate(experiment.gate.kind),
                build_selector(experiment.selector.kind), effects, families)  # fmt: skip
    return loop, machine, listeners


def _begin(
    experiment: Experiment, paths: RunPaths, journal: Journal, archive: Archive, lock: dict[str, Any], resumed: bool
) -> Archive:
    if not archive.run:
        write_atomic(paths.lock, json.dumps(lock, indent=1).encode())
        started = RunStarted(run=paths.name, experiment=experiment.name, config=config_digest(experiment),
                             lock=digest_json(comparable(lock)))  # fmt: skip
        return fold([journal.append(started)])
    refuse_changed_lock(paths, lock)
    if not resumed:
        return archive
    return fold([journal.append(RunResumed(finished_trials=len(archive.finished)))], archive)


def _listeners(experiment: Experiment, paths: RunPaths, suite: Suite, archive: Archive, quiet: bool) -> list[Tracker]:
    listeners: list[Tracker] = [*([] if quiet else [Display(archive)]), ReportWriter(paths)]
    uri = os.environ.get("MLFLOW_TRACKING_URI") or experiment.tracking.uri
    if uri:
        listeners.append(MlflowTracker(absolute_uri(uri), paths, experiment, suite, archive))
    return listeners


def absolute_uri(uri: str) -> str:
    """A relative sqlite path is relative to the current folder, and is made absolute at once."""
    prefix = "sqlite:///"
    return prefix + str(Path(uri.removeprefix(prefix)).resolve()) if uri.startswith(prefix) else uri


def _effects(
    experiment: Experiment,
    paths: RunPaths,
    suite: Suite,
    tasks: Mapping[str, Task],
    machine: Machine,
    listeners: list[Tracker],
    active_s: float,
) -> Effects:
    engine = trial_engine(experiment, machine, paths.trial)
    cache = None if paths.replay.exists() else trial_cache(experiment, machine, engine, serve=False)
    measuring = cache or engine  # what a replay measures is no measurement of the model: it is not kept for others
    lineage, scaffolds = Lineage(paths.lineage), dict[str, Scaffold]()
    budget = experiment.budget
    deadline = math.inf if budget.hours is None else time.monotonic() + budget.hours * 3600 - active_s

    def spent_out() -> str:
        if machine.gateway.exhausted:
            return machine.gateway.budget.refused or ("usd" if budget.tokens is None else "tokens")
        return "hours" if time.monotonic() >= deadline else ""

    async def run_trial(spec: TrialSpec) -> Trial:
        if spec.split == "train" and time.monotonic() >= deadline:  # audits and claims are of use only whole
            return Trial(spec=spec, outcome="cancelled", score=None, detail="the budget's hours ended")
        if spec.candidate not in scaffolds:
            scaffolds[spec.candidate] = to_scaffold(lineage.files(spec.candidate))
        return await measuring.run(spec, tasks[spec.task], scaffolds[spec.candidate])

    def scored(archive: Archive, decision: Decision) -> Decision:
        proposal = archive.proposals.get(decision.round)
        if proposal is None or decision.delta is None:
            return decision
        return decision.model_copy(update={"predictions": score_predictions(proposal.manifest, decision, suite.train)})

    validator = Validator(experiment, tasks, machine, lineage)
    train = {name: tasks[name] for name in suite.train}
    helper = None if experiment.proposer.scaffold == "parent" else read_scaffold(
        resolve(experiment.proposer.scaffold, "scaffolds", "", "scaffold"))  # fmt: skip
    notes = NoteKeeper(paths, machine.gateway, experiment.proposer.model, experiment.seed)
    return Effects(
        run_trial=run_trial,
        executor=LocalExecutor(experiment.sandbox.concurrency, machine.gateway.capacity),
        proposer=build_proposer(
            experiment.proposer, machine.sandboxes, machine.gateway, paths, helper, experiment.limits
        ),
        build_evidence=EvidenceBuilder(paths, experiment, train).build,
        validate=validator.validate,
        write_memo=notes.write,
        score_predictions=scored,
        ready=machine.gateway.ready,
        spent_out=spent_out,
        listeners=listeners,
    )


class Validator:
    """Everything that a proposal must pass before it costs a trial."""

    def __init__(self, experiment: Experiment, tasks: Mapping[str, Task], machine: Machine, lineage: Lineage) -> None:
        self._experiment, self._machine, self._lineage = experiment, machine, lineage
        self._scanner = Scanner(tasks.values())
        self._protected = Protected({"tasks": shipped("tasks"), "scaffolds": shipped("scaffolds")})

    async def validate(self, archive: Archive, parent: str, after: dict[str, str]) -> Rejection | None:
        """The first rule that the edited files break, or None. Cheap checks first, then it must start."""
        before = self._lineage.files(parent)
        if changed := self._protected.broken():
            return Rejection(breach="tamper", reason=f"protected files changed during the run: {', '.join(changed)}")
        try:
            scaffold = to_scaffold(after)
            check_scope(before, after, self._experiment.scaffold.editable)
            check_program(to_scaffold(before), scaffold)
            check_treatment(to_scaffold(before), scaffold, self._experiment.limits)
        except ScaffoldError as error:
            return error.rejection
        if rejection := self._scanner.scan(before, after):
            return rejection
        return await boots(self._machine.sandboxes, scaffold)
