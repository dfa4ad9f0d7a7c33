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
from harness.records import Change, Manifest, Proposal, Trial, Usage
from harness.records.events import RunResumed, RunStarted
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
        else:
            known = fold([journal.append(RunResumed(finished_trials=len(known.finished)))], known)
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


class Handy:
    """A proposer that edits the prompt, a little differently each round."""

    async def propose(self, context):
        return Proposal(manifest=Manifest(title="longer", mechanism="m", hypothesis="h"), kind="test",
                        changes=(Change(path="prompts/more.md", text=f"round {context.round}\n"),))  # fmt: skip


def test_what_infrastructure_broke_is_measured_again_when_the_round_goes_on(paths):
    """The breaker stops the run in the middle of round 1; mended, the candidate gets the measurement that its proposal was paid for."""
    mended, asked = [False], []

    async def trial(spec):
        asked.append(spec.key)
        if (spec.candidate == "c0001" or spec.attempt) and not mended[0]:  # all but the seed's first pass
            return Trial(
                spec=spec, outcome="infra_error", score=None, detail="SandboxFault: gone", usage=Usage(tokens_in=7)
            )
        return Trial(spec=spec, outcome="scored", score=float(spec.candidate == "c0001"), usage=Usage(tokens_in=10))

    with pytest.raises(InfraError, match="5 trials in a row"):
        launch(paths, lambda loop: loop.run(), Handy(), run_trial=trial, rounds=1)
    broken = [t.spec.key for t in archive_of(paths).all_trials if t.outcome == "infra_error"]
    assert len(broken) >= 5
    mended[0] = True
    asked.clear()
    archive = launch(paths, lambda loop: loop.run(), Handy(), run_trial=trial, rounds=1)
    assert set(broken) <= set(asked)
    (decision,) = archive.decisions
    assert (decision.verdict, decision.coverage) == ("keep", 1.0)
    assert {t.outcome for t in archive.all_trials} == {"scored"}
    assert archive.spent().tokens == 7 * len(broken) + 10 * len(archive.all_trials)
    assert archive_of(paths) == archive
    after = launch(paths, lambda loop: loop.run(), Handy(), run_trial=trial, rounds=1)
    assert after.trials == archive.trials  # what is decided stays as it was
