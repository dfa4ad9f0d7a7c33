"""An interpreter with Harbor in it."""

import shutil
import subprocess
from pathlib import Path

import pytest

from harness.hashing import sha256
from harness.sandboxes.cache import cache_root, install

LOCK = Path(__file__).parent / "requirements.txt"


def python312():
    """Harbor 0.25 needs Python 3.12 or newer."""
    known = sorted((Path.home() / ".pyenv/versions").glob("3.1[23]*/bin/python"))
    return str(known[0]) if known else shutil.which("python3.12")


@pytest.fixture(scope="session")
def python():
    """An interpreter with Harbor, installed once from a lock."""
    base = python312()
    if base is None:
        pytest.skip("Harbor needs Python 3.12, which is not here")

    target = cache_root() / f"harbor-{sha256(LOCK.read_bytes() + base.encode())[:16]}"

    def fill(folder):
        subprocess.run([base, "-m", "venv", folder], check=True)
        subprocess.run(
            [folder / "bin/python", "-m", "pip", "install", "--quiet", "--require-hashes", "-r", LOCK], check=True
        )

    install(target, fill)
    return target / "bin" / "python"
