"""The task runtime: installed once, whole or not at all, named by its content; the cache; the seccomp table."""

import ctypes
import struct
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from harness.errors import MachineError
from harness.sandboxes import cache, runtime, seccomp


def test_the_lock_is_exact_hashed_and_has_no_address():
    text = runtime.LOCK.read_text()
    assert "://" not in text
    names = [line.split("==")[0] for line in text.splitlines() if "==" in line and not line.startswith(" ")]
    assert {"openpyxl", "python-docx", "pytest", "lxml"} <= set(names)
    assert text.count("--hash=sha256:") >= len(names)


def test_the_digest_is_of_content_only(monkeypatch, tmp_path):
    first = runtime.image_digest()
    monkeypatch.setenv("SELFHARNESS_CACHE", str(tmp_path))
    assert runtime.image_digest() == first
    lock = tmp_path / "other.lock"
    lock.write_text(runtime.LOCK.read_text() + "\n")
    monkeypatch.setattr(runtime, "LOCK", lock)
    assert runtime.image_digest() != first


def test_a_roots_digest_follows_its_files(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(MachineError):
        runtime.image_digest(tmp_path / "a")
    (tmp_path / "a" / "file").write_text("x")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "file").write_text("xy")
    assert runtime.image_digest(tmp_path / "a") != runtime.image_digest(tmp_path / "b")


def test_installed_once_by_many_callers(tmp_path):
    made = []

    def fill(folder):
        made.append(folder)
        folder.mkdir()
        (folder / "file").write_text("x")
        (folder / "file").chmod(0o600)

    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: cache.install(tmp_path / "deep" / "thing", fill), range(16)))
    assert len(made) == 1
    assert found == {tmp_path / "deep" / "thing"}
    assert (tmp_path / "deep" / "thing" / "file").stat().st_mode & 0o777 == 0o644
    assert sorted(p.name for p in (tmp_path / "deep").iterdir()) == [".lock", "thing"]


def test_a_failed_installation_leaves_nothing(tmp_path):
    def fill(folder):
        folder.mkdir()
        raise MachineError("no index")

    with pytest.raises(MachineError, match="no index"):
        cache.install(tmp_path / "thing", fill)
    assert [p.name for p in tmp_path.iterdir()] == [".lock"]


def test_a_cache_that_cannot_be_written_says_what_to_do(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(MachineError, match="SELFHARNESS_CACHE"):
        cache.install(tmp_path / "file" / "thing", Path.mkdir)


@pytest.mark.slow
def test_the_runtime_installs_from_nothing(monkeypatch, tmp_path):
    monkeypatch.setenv("SELFHARNESS_CACHE", str(tmp_path))
    monkeypatch.setattr(runtime, "open_path", lambda path: True)
    made = runtime.ensure_runtime()
    script = "import openpyxl, docx, pytest, sys; print(sys.prefix)"
    done = subprocess.run([made / "bin/python3", "-I", "-c", script], capture_output=True, text=True, env={})
    assert done.stdout.strip() == str(made), done.stderr
    assert runtime.ensure_runtime() == made


def test_an_old_or_missing_interpreter_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(runtime, "PYTHON", tmp_path / "python3")
    runtime.interpreter.cache_clear()
    try:
        with pytest.raises(MachineError, match="apt-get install python3"):
            runtime.interpreter()
        (tmp_path / "python3").write_text("#!/bin/sh\necho 3.7.3\n")
        (tmp_path / "python3").chmod(0o755)
        with pytest.raises(MachineError, match="too old"):
            runtime.interpreter()
    finally:
        runtime.interpreter.cache_clear()


def evaluate(code, number, arch, argument=0):
    """What a filter answers to a system call: a small interpreter of the instructions that we use."""
    data = struct.pack("<IIQQQQQQQ", number, arch, 0, argument, 0, 0, 0, 0, 0)
    at, held = 0, 0
    while True:
        what, yes, no, value = struct.unpack_from("HBBI", code, at * 8)
        at += 1
        if what == 0x20:
            held = struct.unpack_from("<I", data, value)[0]
        elif what == 0x06:
            return value
        else:
            hit = {0x15: held == value, 0x35: held >= value, 0x45: bool(held & value)}[what]
            at += yes if hit else no


@pytest.mark.parametrize(
    ("machine", "arch", "column", "clone"), [("x86_64", 0xC000003E, 0, 56), ("aarch64", 0xC00000B7, 1, 220)]
)
def test_the_filter_answers_as_its_table_says(machine, arch, column, clone):
    code = seccomp.program(machine)
    refuse, allow = 0x00050001, 0x7FFF0000
    denied = {numbers[column] for numbers in seccomp.DENIED.values() if numbers[column] is not None}
    for number in range(500):
        wanted = 0x00050026 if number == 435 else refuse if number in denied else allow
        assert evaluate(code, number, arch) == wanted, number
    assert evaluate(code, clone, arch, 0x10000011) == refuse
    assert evaluate(code, clone, arch, 0x01200011) == allow
    assert evaluate(code, clone, arch ^ 1) == refuse
    if machine == "x86_64":
        assert evaluate(code, 0x40000000 + 39, arch) == refuse


def test_the_table_matches_this_kernel():
    """A few numbers of the table against the C library's own, where it has a name for them."""
    libc = ctypes.CDLL(None)
    assert libc.getpid() == libc.syscall({"x86_64": 39, "aarch64": 172}.get(__import__("platform").machine(), 39))
    assert seccomp.program("sparc") is None
    assert sys.byteorder == "little"
