"""The loop when what it depends on gives out: a proposer that infrastructure breaks, and a budget that ends in a claim."""

import asyncio

import pytest

from harness.archive import Archive, fold
from harness.config import to_experiment
from harness.errors import InfraError, ProposalError
from harness.executor import LocalExecutor
from harness.gates import build_gate
from harness.journal import Journal, replay
from harness.loop import FAULTS, Effects, Loop
from harness.paths import RunPaths
from harness.records import Trial, Usage
from harness.records.events import RunStarted
from harness.selectors import build_selector
from harness.suites import load_suite

FILES = {"scaffold.toml": "contract = 1\n", "agent.py": "pass\n"}


class Broken:
    """A proposer whose model is gone, for so many rounds."""

    def __init__(self, rounds=10**6):
        self.left, self.asked = rounds, 0

    async def propose(self, context):
        self.asked += 1
        if self.left:
            self.left -= 1
            raise ProposalError("the model is gone", infra=True)
        raise ProposalError("no manifest")


async def scored(spec):
    return Trial(spec=spec, outcome="scored", score=1.0, usage=Usage(tokens_in=10))


@pytest.fixture
def paths(tmp_path):
    (tmp_path / "run").mkdir()
    return RunPaths(tmp_path / "run")


def launch(paths, work, proposer=None, run_trial=scored, **budget):
    """What `work(loop)` gives, in a launch of its own; the archive is read back from the journal."""
    experiment = to_experiment({"name": "x", "models": {"main": {"name": "simulated/medium"}}, "suite": {"name": "demo", "seeds": 1},
                                "budget": budget or {"rounds": 20}}, "test", [])  # fmt: skip
    suite, tasks = load_suite("demo")

    async def memo(archive, number):
        return ""

    async def validate(archive, parent, after):
        return None

    effects = Effects(run_trial=run_trial, executor=LocalExecutor(2), proposer=proposer or Broken(), validate=validate, write_memo=memo,
                      build_evidence=lambda archive, parent, number: paths.root, score_predictions=lambda archive, decision: decision)  # fmt: skip
    with Journal(paths.journal, paths.writer_lock) as journal:
        known = fold(replay(paths.journal)) if paths.journal.stat().st_size else Archive()
        if not known.run:
            known = fold([journal.append(RunStarted(run="run", experiment="x", config="c", lock="l"))])
        loop = Loop(experiment, suite, FILES, paths, journal, known, build_gate("pool"), build_selector("ratchet"), effects,
                    {name: task.family for name, task in tasks.items()})  # fmt: skip
        return asyncio.run(work(loop))


def archive_of(paths):
    return fold(replay(paths.journal))


def test_rounds_that_infrastructure_takes_before_anything_is_proposed_stop_the_run(paths):
    with pytest.raises(InfraError, match="3 rounds in a row had no proposal: the model is gone"):
        launch(paths, lambda loop: loop.run())
    assert [decision.verdict for decision in archive_of(paths).decisions] == ["infra"] * FAULTS
    with pytest.raises(InfraError):  # a launch of its own, with three tries of its own
        launch(paths, lambda loop: loop.run())
    assert len(archive_of(paths).decisions) == 2 * FAULTS
    mended = Broken(rounds=FAULTS - 1)
    assert launch(paths, lambda loop: loop.run(), mended).ended.reason == "rounds"
    assert mended.asked == 20 - 2 * FAULTS


def test_a_claim_that_the_budget_ends_is_not_made_and_goes_on_later_with_the_same_seal(paths):
    left = [5]

    async def capped(spec):
        if spec.split == "test":
            if not left[0]:
                return Trial(spec=spec, outcome="cancelled", score=None, detail="the run's budget ended")
            left[0] -= 1
        return await scored(spec)

    launch(paths, lambda loop: loop.run(), Broken(0), rounds=1)
    assert launch(paths, lambda loop: loop.claim(), run_trial=capped) is None
    archive = archive_of(paths)
    assert (archive.seals, archive.claims) == (1, ())
    done = {trial.spec.key for trial in archive.other_trials["claim"]}
    assert len(done) == 5
    again = []

    async def watched(spec):
        again.append(spec.key)
        return await scored(spec)

    claim = launch(paths, lambda loop: loop.claim(), run_trial=watched)
    assert (claim.opened, claim.coverage) == (1, 1.0)
    assert not done & set(again)
    assert archive_of(paths).claims == (claim,)
