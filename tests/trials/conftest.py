"""The task of these tests."""

import pytest

from tests.tiny import ROOT, VERIFY


@pytest.fixture
def task(tmp_path):
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
