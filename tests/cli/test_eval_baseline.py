"""harness eval against a baseline, in shards, over several attempts."""

import json
import math

import pytest

from harness.baselines import Baseline, compare, read_baseline, write_baseline
from harness.cli import main
from harness.errors import UsageError
from harness.records import Trial, TrialSpec
from harness.stats import pass_at_k, pass_hat_k

IDENTITY = {"suite": "d", "tasks": {"a": "1", "b": "2"}, "isolation": "A"}


def trials(scores):
    return tuple(
        Trial(spec=TrialSpec(candidate="eval", task=task, seed=seed, attempt=0), outcome="scored", score=value)
        for (task, seed), value in scores.items()
    )


def many(value, tasks=8):
    return {(f"t{n}", seed): value for n in range(tasks) for seed in range(3)}


def test_a_clear_drop_is_worse_and_noise_is_not():
    before = Baseline(IDENTITY, trials(many(1.0)))
    down = {**many(0.0), ("t0", 0): 1.0, ("t1", 1): 1.0}
    found = compare(IDENTITY, trials(down), before, {})
    assert found.worse
    assert found.difference == pytest.approx(-22 / 24)
    assert found.units == 24
    assert 0 < found.detectable < 0.5
    same = compare(IDENTITY, trials(many(1.0)), before, {})
    assert not same.worse
    assert same.difference == 0.0
    assert same.interval[0] <= 0.0 <= same.interval[1]
    flips = {**many(1.0), ("t0", 0): 0.0}
    assert not compare(IDENTITY, trials(flips), before, {}).worse


def test_one_family_gives_no_verdict():
    before = Baseline(IDENTITY, trials({("a", 0): 1.0, ("a", 1): 1.0}))
    found = compare(IDENTITY, trials({("a", 0): 0.0, ("a", 1): 0.0}), before, {})
    assert found.interval is None
    assert found.detectable is None
    assert not found.worse


def test_a_stale_baseline_is_refused_by_name(tmp_path):
    path = tmp_path / "base.json"
    write_baseline(path, IDENTITY, trials(many(1.0)))
    assert read_baseline(path).trials == trials(many(1.0))
    for changed in (
        {**IDENTITY, "isolation": "B"},
        {**IDENTITY, "tasks": {"a": "1", "b": "3"}},
        {**IDENTITY, "new": 1},
    ):
        with pytest.raises(UsageError, match=r"stale: (isolation|tasks\.b|new)"):
            compare(changed, trials(many(1.0)), read_baseline(path), {})
    with pytest.raises(UsageError, match="shares no task"):
        compare(IDENTITY, trials({("z", 0): 1.0}), read_baseline(path), {})


@pytest.mark.parametrize(
    "text", ["", "{}", '{"kind": "baseline", "schema": 9, "trials": [], "identity": {}}', '{"kind": "x"}', "[1]"]
)
def test_what_is_no_baseline_is_refused(text, tmp_path):
    path = tmp_path / "base.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=r"base\.json"):
        read_baseline(path)


def test_standard_estimators():
    assert pass_at_k(10, 3, 1) == pytest.approx(0.3)
    assert pass_at_k(4, 1, 4) == 1.0
    assert pass_at_k(5, 0, 3) == 0.0
    assert pass_hat_k(10, 3, 1) == pytest.approx(0.3)
    assert pass_hat_k(4, 3, 4) == 0.0
    assert pass_hat_k(6, 4, 2) == pytest.approx(math.comb(4, 2) / math.comb(6, 2))


def run(capsys, *words):
    code = main(["eval", "plain", "smoke", "--seeds", "2", "--set", "sandbox.kind=bwrap", *words])
    return code, capsys.readouterr().out


def test_the_command_line_keeps_compares_shards_and_merges(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _ = run(capsys, "--update-baseline", "base.json")
    assert code == 0
    code, said = run(capsys, "--baseline", "base.json", "--json")
    found = json.loads(said)
    assert code == 0
    assert found["baseline"]["difference"] == 0.0
    assert found["baseline"]["worse"] is False
    for part in ("1/2", "2/2"):
        assert run(capsys, "--shard", part, "--update-baseline", f"shard{part[0]}.json")[0] == 0
    code, said = run(capsys, "--merge", "shard1.json", "shard2.json", "--baseline", "base.json", "--json")
    merged = json.loads(said)
    assert code == 0
    assert merged["coverage"] == 1.0
    assert merged["score"] == found["score"]
    code, said = run(capsys, "--merge", "shard1.json", "--json")
    assert code == 5
    assert run(capsys, "--seed", "8", "--baseline", "base.json", "--out", "stale")[0] == 2
    assert not (tmp_path / "stale").exists()  # nothing was measured for it
    code, said = run(capsys, "-k", "2")
    assert "pass@2" in said
    assert main(["eval", "plain", "smoke", "--baseline", "missing.json"]) == 2
    worse = json.loads((tmp_path / "base.json").read_text())
    for trial in worse["trials"]:
        trial["score"] = 1.0
    (tmp_path / "better.json").write_text(json.dumps(worse))
    code, said = run(capsys, "--baseline", "better.json")
    assert code in (0, 4)
    assert "against the baseline" in said


def test_a_folded_journal_does_not_depend_on_its_pieces():
    from harness.archive import fold
    from harness.records.events import RunStarted, TrialDone

    events = [RunStarted(run="r", experiment="e", config="c", lock="l", at=1.0)]
    events += [TrialDone(trial=trial, round=1, at=2.0 + n) for n, trial in enumerate(trials(many(1.0, 40)))]
    whole, state = fold(events), None
    for event in events:
        state = fold([event], state)
    assert whole == state
    assert whole.active_s == pytest.approx(120.0)
