"""docker and bwrap on one root agree: same trials, same scores. The root is the base image's."""

import json
import subprocess
import sys

import pytest

from harness.sandboxes.cache import cache_root
from tests.engines import IMAGE, needs_docker


@needs_docker
def test_the_smoke_suite_scores_the_same_on_docker_and_on_bwrap(tmp_path):
    root = cache_root() / "base-root"
    if not root.is_dir():
        pytest.skip("no base root: make image")

    def scores(*settings):
        words = [word for setting in settings for word in ("--set", setting)]
        done = subprocess.run([sys.executable, "-m", "harness", "eval", "plain", "smoke", "--json", *words],
                              cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)  # fmt: skip
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        return {str(trial["spec"]): (trial["outcome"], trial["score"]) for trial in found["trials"]}

    docker = scores("sandbox.kind=docker", f"sandbox.image={IMAGE}")
    bwrap = scores("sandbox.kind=bwrap", f"sandbox.root={root}")
    assert docker == bwrap
    assert {outcome for outcome, _ in docker.values()} == {"scored"}
