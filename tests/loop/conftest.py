"""A small run: two tasks, two rounds, the simulated model, real sandboxes, no tracker."""

import os
import subprocess
import sys

import pytest

SUITE = 'train = ["c01-interval-merge-fix", "d01-log-first-failure"]\ntest = ["c03-csv-quote-regression"]\n'
EXPERIMENT = """name = "small"
seed = 5
[models.main]
name = "simulated/medium"
[suite]
name = "{suite}"
seeds = 1
[budget]
rounds = 2
trials = 60
[tracking]
uri = ""
[claim]
at_end = true
passes = 1
"""


@pytest.fixture
def project(tmp_path):
    """A folder with an experiment, and `harness` run in it as a person would."""
    (tmp_path / "small-suite.toml").write_text(SUITE)
    (tmp_path / "small.toml").write_text(EXPERIMENT.format(suite=tmp_path / "small-suite.toml"))

    def harness(*arguments, **environment):
        return subprocess.run([sys.executable, "-m", "harness", *arguments], cwd=tmp_path, capture_output=True, text=True,
                              timeout=240, env={**os.environ, **environment})  # fmt: skip

    harness.folder = tmp_path
    return harness
