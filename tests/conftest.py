"""Shared fixtures: real things, small."""

import os
import subprocess

import pytest

from tests.tiny import ROOT, VERIFY


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
    folder = tmp_path / "tasks" / "coding" / "t01-tiny"
    for name, text in {
        "task.toml": 'schema_version = "1.4"\n[environment]\nnetwork_mode = "no-network"\n[verifier]\ntimeout_sec = 5\n',
        "instruction.md": "Write yes into done.txt.\n", "environment/files/readme.txt": "hello\n",
        "tests/test.sh": "exec python3 -I /tests/verify.py\n", "tests/verify.py": VERIFY,
        "tests/grading.py": (ROOT / "tasks" / "grading.py").read_text(),
    }.items():  # fmt: skip
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder
