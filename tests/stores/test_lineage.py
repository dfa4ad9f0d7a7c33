"""The lineage is a plain git repository, whatever a scaffold contains."""

import subprocess

import pytest

from harness.errors import UsageError
from harness.lineage import Lineage

FILES = {"agent.py": "a\n", "prompts/system.md": "hello\n", "memory/.gitignore": "*\n", "memory/lessons.md": "keep\n",
         ".gitattributes": "* -diff\n"}  # fmt: skip


@pytest.fixture
def lineage(tmp_path):
    made = Lineage(tmp_path / "lineage.git")
    made.create()
    made.add("c0000", FILES, None, "seed")
    return made


def test_what_goes_in_comes_out_even_with_ignore_files(lineage):
    assert lineage.files("c0000") == FILES


def test_the_same_candidate_has_the_same_commit_everywhere(lineage, tmp_path):
    other = Lineage(tmp_path / "other.git")
    other.create()
    assert other.add("c0000", FILES, None, "seed") == lineage.commit("c0000")
    assert lineage.add("c0000", FILES, None, "seed") == lineage.commit("c0000")


def test_git_reads_it(lineage):
    lineage.add("c0001", {**FILES, "agent.py": "b\n"}, "c0000", "edit\n\nwhy")
    done = subprocess.run(
        ["git", "--git-dir", lineage.folder, "log", "--format=%s", "c0001"], capture_output=True, text=True
    )
    assert done.stdout.split() == ["edit", "seed"]
    assert "-a\n+b" in lineage.diff("c0000", "c0001")


def test_checkout_replaces_the_folder(lineage, tmp_path):
    target = tmp_path / "best"
    target.mkdir()
    (target / "stale").write_text("x")
    lineage.checkout("c0000", target)
    assert sorted(p.relative_to(target).as_posix() for p in target.rglob("*") if p.is_file()) == sorted(FILES)


def test_an_unknown_candidate_is_a_usage_error(lineage):
    with pytest.raises(UsageError, match="no candidate c0009"):
        lineage.files("c0009")
