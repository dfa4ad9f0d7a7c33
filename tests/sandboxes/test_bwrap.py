"""What is particular to bubblewrap: users, limits, warm pool, mounts, leaks, left-overs, advice."""

import asyncio
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from harness.errors import MachineError, SandboxFault, UsageError
from harness.sandboxes import bwrap, cgroups, choose_provider, jail, open_provider
from harness.sandboxes.bwrap import BwrapSandboxes
from harness.sandboxes.cache import cache_root
from harness.seams import File, Mount, SandboxSpec
from tests.engines import IMAGE, missing

SPEC = SandboxSpec(label="test", memory_mb=128, disk_mb=32, pids=32)
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="control groups and users of their own need root here")


def using(body, **options):
    async def main():
        provider = BwrapSandboxes(**options)
        try:
            return await body(provider)
        finally:
            await provider.close()

    return asyncio.run(main())


def groups(ids, limit=20.0):
    """Which of these sandboxes keep their control group. Numbers are given again: another run's sandbox may have one meanwhile,
    so what is seen to be gone once is gone."""
    left, end = set(ids), time.monotonic() + limit
    while left and time.monotonic() < end:
        names = cgroups.names()
        left = {ident for ident in left if ident.replace("bwrap-", "s") in names}
        time.sleep(0.02 if left else 0)
    return left


def temporary():
    return {name for name in os.listdir(tempfile.gettempdir()) if name.startswith("selfharness")}


def descriptors():
    return len(os.listdir("/proc/self/fd"))


def children():
    path = Path(f"/proc/self/task/{threading.get_native_id()}/children")
    return path.read_text().split()


def test_nothing_leaks(tmp_path, monkeypatch):
    """Descriptors, processes, control groups, temporary files: after many starts as before, whatever happened in them."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # others use the common one at the same time

    async def body(provider):
        await (await provider.start(SPEC)).close()
        before, ids = descriptors(), set()
        for _ in range(3):
            boxes = await asyncio.gather(*(provider.start(SPEC) for _ in range(3)))
            ids |= {box.id for box in boxes}
            await boxes[0].exec(["sh", "-c", "sleep 60 & setsid sleep 61 &"])
            waiting = asyncio.create_task(boxes[1].exec(["sleep", "60"]))
            starting = asyncio.create_task(provider.start(SPEC))
            await asyncio.sleep(0.01)
            starting.cancel()
            waiting.cancel()
            await asyncio.gather(waiting, starting, return_exceptions=True)
            await asyncio.gather(*(box.close() for box in boxes))
        with pytest.raises(SandboxFault):
            await provider.start(SPEC.model_copy(update={"workdir": "/usr/bin/no/such"}))
        await asyncio.sleep(0.05)
        assert not children()
        assert descriptors() == before
        return ids

    open_before, files_before = descriptors(), temporary()
    ids = using(body, warm=0)
    assert len(ids) >= 3
    assert groups(ids) == set()
    assert temporary() <= files_before
    assert descriptors() <= open_before


@as_root
def test_users_outside_are_two_unprivileged_ones_per_sandbox():
    async def body(provider):
        one, two = await provider.start(SPEC), await provider.start(SPEC)
        found = {}
        for box in (one, two):
            task = asyncio.create_task(box.exec(["sleep", "7.125"]))
            await asyncio.sleep(0.2)
            found[box.id] = uids_of(b"sleep\x007.125\x00")
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await box.quiesce()
            assert (await box.exec(["id", "-u"])).output == b"1000\n"
        return found

    found = using(body, warm=0)
    assert all(len(uids) == 1 and min(uids) >= 20_000 for uids in found.values()), found
    assert len(set.union(*found.values())) == 2


def uids_of(cmdline):
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if (entry / "cmdline").read_bytes() == cmdline:
                    found.add(entry.stat().st_uid)
            except OSError:
                pass
    return found


def test_warm_sandboxes_are_fresh_single_use_and_gone_at_the_end():
    async def body(provider):
        seen, times = set(), []
        for _ in range(6):
            begun = time.monotonic()
            box = await provider.start(SPEC.model_copy(update={"label": f"trial {len(seen)}"}))
            times.append(time.monotonic() - begun)
            assert box not in seen
            seen.add(box)
            assert await box.get("/app") == {}
            await box.put({"used": File(data=b"")}, "/app")
            await box.close()
            await asyncio.sleep(0.15)
        waiting = [box.id for ready in provider._pool._ready.values() for box in ready]
        assert 1 <= len(waiting) <= 2
        return times, {box.id for box in seen} | set(waiting)

    times, ids = using(body, concurrency=2)
    assert min(times[3:]) < 0.01
    assert groups(ids) == set()


def test_a_warm_sandbox_that_died_is_not_given_away():
    async def body(provider):
        for _ in range(3):
            await (await provider.start(SPEC)).close()
            await asyncio.sleep(0.15)
        waiting = [box for ready in provider._pool._ready.values() for box in ready]
        assert waiting
        for box in waiting:
            await box.close()
        box = await provider.start(SPEC)
        assert box not in waiting
        assert (await box.exec(["echo", "fresh"])).output == b"fresh\n"

    using(body, concurrency=2)


def test_a_mount_below_a_closed_folder_is_copied_and_follows_its_content(tmp_path):
    closed = tmp_path / "closed"
    shown = closed / "shown"
    shown.mkdir(parents=True)
    closed.chmod(0o700)
    (shown / "tool.sh").write_text("#!/bin/sh\necho one\n")
    (shown / "tool.sh").chmod(0o700)
    spec = SPEC.model_copy(update={"mounts": (Mount(source=str(shown), target="/opt/shown"),)})

    async def body(provider):
        said = []
        for text in ("one", "two"):
            (shown / "tool.sh").write_text(f"#!/bin/sh\necho {text}\n")
            box = await provider.start(spec)
            said.append((await box.exec(["/opt/shown/tool.sh"])).output)
            await box.close()
        with pytest.raises(SandboxFault, match="mount"):
            await provider.start(SPEC.model_copy(update={"mounts": (Mount(source="/no/such", target="/opt/x"),)}))
        return said

    assert using(body) == [b"one\n", b"two\n"]


def test_runtime_is_first_on_the_path():
    async def body(provider):
        box = await provider.start(SPEC)
        script = "import sys, openpyxl, docx, pytest; print(sys.prefix, sys.flags.isolated)"
        done = await box.exec(["python3", "-I", "-c", script])
        assert done.output == b"/opt/runtime 1\n", done.output
        assert (await box.exec(["pytest", "--version"])).output.startswith(b"pytest ")
        assert (await box.exec(["bash", "-c", "git --version && awk 'BEGIN { print 1 }'"])).returncode == 0

    using(body)


@as_root
def test_the_processor_limit_holds():
    async def body(provider):
        box = await provider.start(SPEC.model_copy(update={"cpus": 0.2}))
        script = "import time; end = time.time() + 1\nwhile time.time() < end: pass\nprint(time.process_time())"
        return float((await box.exec(["python3", "-c", script])).output)

    assert using(body) < 0.5


def test_a_full_root_can_be_named(tmp_path):
    """A folder with usr, bin, lib and etc: here the host's own, linked together as an exported image would be."""
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    (root / "etc" / "release").write_text("mine\n")
    for name in ("bin", "lib", "lib64"):
        if Path("/", name).is_symlink():
            (root / name).symlink_to(f"usr/{name}")
    (root / "usr").mkdir()
    for folder in (*list(tmp_path.parents)[:3], tmp_path):
        folder.chmod(0o755)
    if os.geteuid() != 0:
        pytest.skip("binding /usr into a root needs root")
    subprocess.run(["mount", "--bind", "/usr", str(root / "usr")], check=True)
    try:

        async def body(provider):
            box = await provider.start(SPEC)
            done = await box.exec(["sh", "-c", "cat /etc/release; ls /opt; python3 -c 'print(1)'; touch /etc/x"])
            assert done.output.startswith(b"mine\nagent\n1\n"), done.output
            assert done.returncode != 0

        using(body, root=root)
    finally:
        subprocess.run(["umount", str(root / "usr")], check=True)
    with pytest.raises(MachineError, match="python3"):
        using(lambda provider: provider.start(SPEC), root=tmp_path)


def test_advice_where_the_machine_is_not_ready(monkeypatch, tmp_path):
    async def start(provider):
        await provider.start(SPEC)

    fake = tmp_path / "bwrap"
    fake.write_text("#!/bin/sh\necho 'bwrap: setting up uid map: Permission denied' >&2\nexit 1\n")
    for folder in (*list(tmp_path.parents)[:3], tmp_path):
        folder.chmod(0o755)
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(MachineError, match="uid map: Permission denied") as barred:
        using(start)
    monkeypatch.setattr(jail.shutil, "which", lambda name: None)
    with pytest.raises(MachineError, match="apt-get install bubblewrap") as missing:
        using(start)
    for error in (barred, missing):
        assert error.value.exit_code == 3
        assert len(str(error.value).splitlines()) <= 3


def test_kinds():
    with pytest.raises(UsageError, match="HARNESS_UNSAFE_LOCAL"):
        open_provider("local")
    with pytest.raises(UsageError, match='did you mean "bwrap"'):
        open_provider("bwrp")
    with pytest.raises(MachineError, match="docker provider"):
        using(lambda provider: provider.start(SPEC.model_copy(update={"image": "debian"})))
    assert isinstance(open_provider("bwrap"), bwrap.BwrapSandboxes)


def test_auto_takes_docker_only_with_an_engine_and_the_image(monkeypatch, tmp_path):
    def chosen(**options):
        return asyncio.run(choose_provider("auto", **options)).name

    assert chosen(image="no/such:image") == "bwrap"
    assert chosen(root="/somewhere") == "bwrap"
    if not missing():
        assert chosen(image=IMAGE) == "docker"
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    assert chosen(image=IMAGE) == "bwrap"


BARRED = "echo 0 > /proc/sys/user/max_user_namespaces && exec "


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can bar user namespaces in one of its own")
@pytest.mark.parametrize("verb", [["check"], ["run", "demo"], ["eval", "plain", "smoke"]])
def test_where_bubblewrap_is_barred_and_no_engine_answers(verb, tmp_path):
    """In a user namespace that may have none below it, as in a container without privileges."""
    line = BARRED + " ".join([sys.executable, "-m", "harness", *verb])
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "sh", "-c", line], cwd=tmp_path, capture_output=True, text=True, timeout=60,
        env={**os.environ, "DOCKER_HOST": f"unix://{tmp_path}/none.sock"}, check=False,
    )  # fmt: skip
    assert done.returncode == 3, done.stdout + done.stderr
    said = done.stdout + done.stderr
    assert "user namespaces must be allowed" in said
    assert "Traceback" not in said
    if verb == ["check"]:
        assert "no engine answers" in said
        assert "DOCKER_HOST" in said


def test_both_ways_of_guarding_the_agent_are_graded():
    async def body(provider):
        return await provider.probe()

    own, shared = using(body), using(body, own_user=False)
    assert shared.grade == "B"
    assert any("share the uid" in note for note in shared.notes)
    if os.geteuid() == 0 and own.mem_limit:
        assert own.grade == "A"
        assert own.notes == ()


def test_a_full_root_shows_mounts_and_its_runtime(tmp_path):
    """A root's own folders below /opt once hid what is mounted there."""
    root = cache_root() / "base-root"
    if not root.is_dir():
        pytest.skip("no base root: make image")
    (tmp_path / "tool").write_text("shown")
    for folder in (*list(tmp_path.parents)[:3], tmp_path):
        folder.chmod(0o755)
    spec = SPEC.model_copy(update={"mounts": (Mount(source=str(tmp_path), target="/opt/sdk"),)})

    async def body(provider):
        box = await provider.start(spec)
        return (await box.exec(["bash", "-c", "cat /opt/sdk/tool; python3 -c 'import openpyxl; print(1)'"])).output

    assert using(body, root=root) == b"shown1\n"
