"""The engine and the image that tests of the docker provider use: what is not here is a reason to skip, and CI allows none."""

import functools
import os
import subprocess

import pytest

IMAGE = os.environ.get("SELFHARNESS_TEST_IMAGE", "selfharness/base:latest")


@functools.lru_cache(maxsize=1)
def missing():
    """Why docker tests cannot run, or ''."""
    try:
        done = subprocess.run(
            ["docker", "image", "inspect", IMAGE], capture_output=True, text=True, timeout=30, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"docker: {error}"
    return "" if done.returncode == 0 else f"docker: {done.stderr.strip()[:200]} (make image)"


needs_docker = pytest.mark.skipif(bool(missing()), reason=missing() or "docker")
