"""How far the verdict of `harness eval --baseline` can be trusted: false alarms, defects found, and the drop that it says it finds.

python -m tests.benchmarks.bench_verdicts [--seeds 3] [--attempts 8] [--resamples 400] [--suite smoke --suite demo]

Trials of one healthy scaffold and of three defective ones are recorded in real sandboxes (the trial cache makes a second
call quick); baselines and new measurements are then drawn from those pools, and compared by the code that CI uses. `plain`
itself fails most tasks of smoke and could not drop, so the healthy scaffold is plain with four rules that help.
"""

import argparse
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import fmean

import harness
from harness.baselines import Baseline, compare
from harness.models.simulated.proposer_edits import GOOD
from harness.power import LEVEL, detectable_drop
from tests.tiny import ROOT

HEALTHY = ("read", "verify", "wide", "page", "inventory")
CLAIMS = 40
"""Comparisons whose claimed drop is averaged."""


def scaffolds(folder):
    """name -> folder: the healthy scaffold, and one edit away from it each defect."""
    healthy = folder / "healthy"
    shutil.copytree(ROOT / "harness" / "scaffolds" / "plain", healthy)
    for edit in (edit for key in HEALTHY for edit in GOOD if edit.key == key):
        subprocess.run(["bash", "-c", edit.command.replace("/app/scaffold", str(healthy))], check=True)

    def broken(name, path, old, new):
        shutil.copytree(healthy, folder / name)
        text = (folder / name / path).read_text()
        assert old in text, (name, old)
        (folder / name / path).write_text(text.replace(old, new))
        return folder / name

    verify = next(
        line
        for line in (healthy / "prompts/system.md").read_text().splitlines()
        if line.startswith("Before you finish, check")
    )
    return {
        "healthy": healthy,
        "a tool that loses its output": broken(
            "tool", "tools/bash.py", "text = ran.text\n", 'text = ran.text.partition("\\n")[0][:0]\n'
        ),
        "a prompt without verification": broken("prompt", "prompts/system.md", verify, ""),
        "output cut to 200 characters": broken("cut", "tools/bash.py", "OUTPUT_LIMIT = 12000", "OUTPUT_LIMIT = 200"),
    }


def pools(folders, suite, seeds, attempts):
    """name -> unit -> trials."""
    found, families = {}, {}
    for name, folder in folders.items():
        begun = time.monotonic()
        measured = harness.evaluate(folder, suite, seeds=seeds, attempts=attempts)
        families = measured.plan.families
        for trial in measured.trials:
            found.setdefault(name, {}).setdefault(trial.spec.unit, []).append(trial)
        print(f"  {name:32} score {measured.score:.2f}, {len(measured.trials)} trials, {sum(t.cached for t in measured.trials)} cached, "
              f"{time.monotonic() - begun:.0f} s", flush=True)  # fmt: skip
    return found, families


def draw_pair(before, now, count, draw):
    """`count` attempts of each unit for either arm, never the same trial twice."""
    first, second = [], []
    for unit, trials in before.items():
        mixed = draw.sample(trials, len(trials))
        first += mixed[:count]
        other = mixed[count:] if before is now else draw.sample(now[unit], len(now[unit]))
        second += other[:count]
    return tuple(second), tuple(first)


def lowered(trials, share, draw):
    """The same trials with passes lost at random."""
    return tuple(trial.model_copy(update={"score": 0.0}) if draw.random() < share else trial for trial in trials)


def worse(now, before, families):
    return compare({}, now, Baseline({}, before), families).worse


def verdicts(pool, families, count, resamples):
    """One table; whether nothing in it contradicts what is claimed."""
    import harness.baselines

    draw, healthy = random.Random(f"verdicts {count}"), pool["healthy"]
    mean = fmean(trial.score for trials in healthy.values() for trial in trials)
    claims = [detectable_drop(*draw_pair(healthy, healthy, count, draw)) for _ in range(CLAIMS)]
    known = [claim for claim in claims if claim is not None]
    harness.baselines.detectable_drop = lambda *_: None  # it is dear and decides nothing below
    alarms = sum(worse(*draw_pair(healthy, healthy, count, draw), families) for _ in range(resamples)) / resamples
    margin = 2.6 * (LEVEL * (1 - LEVEL) / resamples) ** 0.5
    good = alarms <= LEVEL + margin
    print(f"  {count} attempts a unit: false alarms {alarms:.1%} of {resamples} (nominal {LEVEL:.1%})")
    claim = fmean(known) if len(known) > CLAIMS / 2 else None
    if claim is None:
        print(f"    claims no detectable drop ({len(known)} of {CLAIMS} comparisons claim one)")
    else:
        share = min(1.0, claim / mean)
        held = sum(worse(lowered((pair := draw_pair(healthy, healthy, count, draw))[0], share, draw), pair[1], families) for _ in range(resamples)) / resamples  # fmt: skip
        good &= held >= 0.8 - 2.6 * (0.16 / resamples) ** 0.5
        print(f"    claims to find a drop of {claim:.2f} over all tasks with 80 %: found in {held:.1%}")
    for name in (name for name in pool if name != "healthy"):
        drop = mean - fmean(trial.score for trials in pool[name].values() for trial in trials)
        rate = sum(worse(*draw_pair(healthy, pool[name], count, draw), families) for _ in range(resamples)) / resamples
        print(f"    {name:32} true drop {drop:+.2f}: detected in {rate:.1%}")
    return good


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--attempts", type=int, default=8)
    parser.add_argument("--resamples", type=int, default=400)
    parser.add_argument("--suite", action="append")
    arguments = parser.parse_args()
    folder, good = Path(tempfile.mkdtemp(prefix="bench-verdicts-")), True
    try:
        folders = scaffolds(folder)
        for suite in arguments.suite or ["smoke", "demo"]:
            print(f"{suite}, train, {arguments.seeds} seeds", flush=True)
            pool, families = pools(folders, suite, arguments.seeds, arguments.attempts)
            for count in (1, arguments.attempts // 2):
                import harness.baselines
                import harness.power

                harness.baselines.detectable_drop = harness.power.detectable_drop
                good &= verdicts(pool, families, count, arguments.resamples)
    finally:
        shutil.rmtree(folder)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
