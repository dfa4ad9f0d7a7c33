"""MLflow on a real SQLite store: complete, idempotent, and never in a run's way."""

import os
import sqlite3
import subprocess
import sys

import pytest

EXPERIMENT = """name = "tracked"
seed = 5
[models.main]
name = "simulated/medium"
[suite]
name = "smoke"
seeds = 1
[budget]
rounds = 2
[tracking]
uri = "{uri}"
"""
COLUMNS = {"score", "score_train", "delta_parent_pp", "ci_lo_pp", "ci_hi_pp", "p_better", "delta_seed_pp", "fixed", "broken",
           "infra_errors", "coverage", "trials", "cost_usd", "tokens_in", "tokens_out", "wall_s"}  # fmt: skip


@pytest.fixture
def harness(tmp_path):
    def run(*arguments, uri="sqlite:///runs/mlflow.db"):
        (tmp_path / "x.toml").write_text(EXPERIMENT.format(uri=uri))
        env = {k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"}
        return subprocess.run([sys.executable, "-m", "harness", *arguments], cwd=tmp_path, capture_output=True, text=True,
                              timeout=200, env=env)  # fmt: skip

    run.folder = tmp_path
    return run


def rows(path, query):
    with sqlite3.connect(path) as db:
        return db.execute(query).fetchall()


def picture(path):
    """What a reviewer would see, ids left out."""
    names = rows(path, "select name, status from runs order by name")
    metrics = rows(
        path,
        "select r.name, m.key, round(m.value, 3), m.step from metrics m join runs r using (run_uuid) order by 1, 2, 4",
    )
    tags = rows(path, "select r.name, t.key, t.value from tags t join runs r using (run_uuid) where t.key in "
                      "('kind', 'verdict', 'reason', 'round', 'origin', 'model', 'components') order by 1, 2")  # fmt: skip
    return names, metrics, tags, rows(path, "select count(*) from trace_info")


def test_a_run_is_all_there_and_exporting_it_gives_the_same_again(harness):
    done = harness("run", "x.toml", "-q")
    assert done.returncode == 0, done.stderr
    store = harness.folder / "runs" / "mlflow.db"
    names, metrics, tags, traces = picture(store)
    candidates = [name for name, _ in names if name.startswith("r0")]
    assert len(candidates) == 2 and len(names) == 3
    assert all(status == "FINISHED" for _, status in names)
    measured = {key for name, key, _, _ in metrics if name.startswith("r0")}
    assert COLUMNS <= measured
    assert {"best_score", "best_delta_pp", "cum_cost_usd"} <= {key for _, key, _, _ in metrics}
    assert ("simulated" in {value for _, key, value in tags if key == "origin"}) and traces[0][0] > 0
    other = harness.folder / "other.db"
    for _ in range(2):
        exported = harness("export", "last", "--mlflow", f"sqlite:///{other}")
        assert exported.returncode == 0, exported.stderr
        assert picture(other) == picture(store)


def test_a_dead_server_costs_a_warning_and_not_the_run(harness):
    done = harness("run", "x.toml", uri="http://127.0.0.1:9")
    assert done.returncode == 0, done.stderr
    assert "the run goes on" in done.stderr
    assert "best   c000" in done.stdout
