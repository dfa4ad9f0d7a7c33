"""Shared fixtures: real things, small."""

import os
import subprocess

import pytest

from tests.tiny import write_task


@pytest.fixture
def small_disk(tmp_path):
    """A file system of one megabyte. Needs root, or user namespaces are of no help: the test says so."""
    mount = tmp_path / "small"
    mount.mkdir()
    if os.geteuid() != 0:
        pytest.skip("mounting a small tmpfs needs root")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(mount)], check=True)
    try:
        yield mount
    finally:
        subprocess.run(["umount", "-l", str(mount)], check=True)


@pytest.fixture(autouse=True)
def no_trial_cache(monkeypatch):
    """Trials of tests are measured, unless a test is about the cache."""
    monkeypatch.setenv("HARNESS_CACHE_MB", "0")


@pytest.fixture
def tiny_task(tmp_path):
    """A folder: write yes into done.txt."""
    return write_task(tmp_path / "tasks" / "coding" / "t01-tiny")
