"""A disk that is full ends a run at once, with nothing at work behind it; what was journalled is there."""

import asyncio
import contextlib

import pytest

from harness.archive import Archive, fold
from harness.config import to_experiment
from harness.errors import MachineError
from harness.executor import LocalExecutor
from harness.gates import build_gate
from harness.journal import Journal, replay
from harness.loop import Effects, Loop
from harness.paths import RunPaths
from harness.records import Suite, Trial
from harness.scaffold import read_scaffold
from harness.selectors import build_selector
from tests.tiny import ROOT


def test_no_trial_runs_on_when_the_journal_cannot_be_written(tmp_path, small_disk):
    running = 0

    async def run_trial(spec):
        nonlocal running
        running += 1
        try:
            await asyncio.sleep(0.001 * (1 + spec.seed % 7))
            return Trial(spec=spec, outcome="scored", score=1.0, detail="x" * 20_000)
        finally:
            running -= 1

    experiment = to_experiment({"name": "full", "models": {"main": {"name": "simulated/small"}}, "suite": {"name": "s", "seeds": 200},
                                "budget": {"rounds": 1}}, "test", [])  # fmt: skip
    paths = RunPaths(tmp_path / "run")
    paths.root.mkdir()

    async def main(journal):
        effects = Effects(run_trial, LocalExecutor(8), None, None, None, None, None)
        loop = Loop(experiment, Suite(name="s", digest="d", train=("a",)), dict(read_scaffold(ROOT / "harness/scaffolds/plain").files), paths,
                    journal, Archive(), build_gate("pool"), build_selector("ratchet"), effects, {})  # fmt: skip
        with pytest.raises(MachineError, match="make room"):
            await loop.run()
        return running

    with Journal(small_disk / "journal.jsonl", small_disk / "lock") as journal:
        assert asyncio.run(main(journal)) == 0
    assert 20 < len(fold(replay(small_disk / "journal.jsonl")).finished) < 60


def test_a_disk_that_is_full_is_no_bug_of_ours_wherever_it_is_met(project, small_disk):
    assert project("run", "small.toml", "-q", "--rounds", "0", "--set", "claim.at_end=false").returncode == 0
    with contextlib.suppress(OSError), (small_disk / "filler").open("wb", buffering=0) as filler:
        while filler.write(b"x" * 4096):
            pass
    done = project("export", "last", "c0000", str(small_disk / "out"))
    assert (done.returncode, "bug" in done.stderr) == (3, False), done.stderr
    assert "No space left" in done.stderr
