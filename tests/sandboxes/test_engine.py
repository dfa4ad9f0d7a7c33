"""An engine of our own, to be stopped, killed and reached by ssh."""

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from harness.errors import MachineError, SandboxFault
from harness.executor import LocalExecutor
from harness.instances import Instances
from harness.records import Limits, TrialSpec
from harness.sandboxes.docker.provider import DockerSandboxes
from harness.scaffold import read_scaffold
from harness.seams import SandboxSpec
from harness.tasks import load_task
from harness.trial import TrialEngine, TrialSettings
from tests.engines import IMAGE, needs_docker
from tests.tiny import ROOT, Scripted

pytestmark = [
    needs_docker,
    pytest.mark.skipif(
        not shutil.which("dockerd", path=os.environ["PATH"] + ":/usr/sbin") or os.geteuid() != 0,
        reason="an engine of its own needs root and dockerd",
    ),
]


class OwnEngine:
    """dockerd on its own folders and socket."""

    def __init__(self, folder):
        self.folder, self.url, self.process = Path(folder), f"unix://{folder}/e.sock", None

    def start(self):
        self.process = subprocess.Popen(
            # In a network namespace of its own: an engine without a bridge removes the docker0 of the machine.
            ["unshare", "--net", shutil.which("dockerd") or "/usr/sbin/dockerd", "--data-root", self.folder / "data", "--exec-root", self.folder / "exec",
             "-H", self.url, "--pidfile", self.folder / "pid", "--bridge=none", "--iptables=false", "--ip-masq=false"],
            stdout=subprocess.DEVNULL, stderr=(self.folder / "log").open("a"), start_new_session=True,
        )  # fmt: skip
        for _ in range(300):
            if subprocess.run(["docker", "-H", self.url, "version"], capture_output=True, check=False).returncode == 0:
                return
            time.sleep(0.1)
        raise AssertionError((self.folder / "log").read_text()[-2000:])

    def docker(self, *words):
        return subprocess.run(
            ["docker", "-H", self.url, *words], capture_output=True, text=True, check=True
        ).stdout.split()

    def pids(self):
        """Every process that belongs to this engine: the daemon, its containerd, shims, and what runs in containers."""
        found, shims = [], []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdigit() and str(self.folder).encode() in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
                    shims.append(int(entry.name))
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError, IndexError):
                if entry.name.isdigit() and int((entry / "stat").read_text().rpartition(")")[2].split()[1]) in shims:
                    found.append(int(entry.name))
        return set(found) - {os.getpid()}

    def cut(self):
        """As a power-cut: everything dies at once."""
        for _ in range(3):
            for pid in self.pids():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.1)
        self.process.wait()
        self.unmount()
        (self.folder / "pid").unlink(missing_ok=True)
        shutil.rmtree(self.folder / "exec", ignore_errors=True)  # it lies in /run otherwise, which a power-cut empties

    def unmount(self):
        mounted = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
        for path in sorted((p for p in mounted if p.startswith(str(self.folder))), reverse=True):
            subprocess.run(["umount", "-l", path], capture_output=True, check=False)

    def stop(self):
        self.process.terminate()
        self.process.wait(30)


@pytest.fixture(scope="module")
def engine():
    folder = tempfile.mkdtemp(prefix="she-", dir="/var/tmp")
    own = OwnEngine(folder)
    own.start()
    try:
        saved = subprocess.Popen(["docker", "save", IMAGE], stdout=subprocess.PIPE)
        subprocess.run(["docker", "-H", own.url, "load"], stdin=saved.stdout, capture_output=True, check=True)
        saved.wait()
        yield own
    finally:
        with contextlib.suppress(Exception):
            own.stop()
        own.cut()
        shutil.rmtree(folder, ignore_errors=True)


SUPERVISOR = """
import asyncio, sys
from harness.sandboxes.docker.provider import DockerSandboxes
from harness.seams import SandboxSpec
async def main():
    provider = DockerSandboxes(image=sys.argv[2], url=sys.argv[1], warm=0)
    await asyncio.gather(*(provider.start(SandboxSpec(label="cut")) for _ in range(8)))
    print("up", flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""


def supervisor(engine):
    child = subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR, engine.url, IMAGE], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert child.stdout.readline() == "up\n"
    return child


def test_containers_are_gone_within_two_seconds_of_a_kill(engine):
    child = supervisor(engine)
    assert len(engine.docker("ps", "-q")) == 8
    child.kill()
    child.wait()
    end = time.monotonic() + 2.0
    while engine.docker("ps", "-q") and time.monotonic() < end:
        time.sleep(0.05)
    assert engine.docker("ps", "-q") == []


def test_after_a_power_cut_the_reaper_leaves_none(engine):
    child = supervisor(engine)
    engine.cut()
    child.kill()
    child.wait()
    engine.start()

    async def main():
        provider = DockerSandboxes(image=IMAGE, url=engine.url, warm=0)
        try:
            return await provider.reap()
        finally:
            await provider.close()

    asyncio.run(main())
    assert engine.docker("ps", "-aq") == []


def test_an_engine_that_stops_is_a_fault_and_one_that_comes_back_is_used_again(engine):
    async def main():
        provider = DockerSandboxes(image=IMAGE, url=engine.url, warm=0)
        try:
            box = await provider.start(SandboxSpec(label="x"))
            assert (await box.exec(["echo", "one"])).output == b"one\n"
            await asyncio.to_thread(engine.cut)
            with pytest.raises(SandboxFault):
                await box.exec(["true"])
            with pytest.raises(SandboxFault):
                await provider.start(SandboxSpec(label="x"))
            await asyncio.to_thread(engine.start)
            box = await provider.start(SandboxSpec(label="x"))
            assert (await box.exec(["echo", "two"])).output == b"two\n"
        finally:
            await provider.close()

    asyncio.run(main())


@pytest.fixture
def ssh(tmp_path, monkeypatch):
    """A real sshd on loopback, and a client that knows its key."""
    server = shutil.which("sshd", path=os.environ["PATH"] + ":/usr/sbin")
    if server is None or shutil.which("ssh") is None:
        pytest.skip("ssh: openssh-server is not installed")
    Path("/run/sshd").mkdir(exist_ok=True)
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / name], check=True)
    folder = tempfile.mkdtemp(prefix="shk-", dir="/var/tmp")
    (Path(folder) / "keys").write_text((tmp_path / "user.pub").read_text())
    port = "42731"
    process = subprocess.Popen(
        [server, "-D", "-e", "-f", "/dev/null", "-p", port, "-h", tmp_path / "host", "-o", f"AuthorizedKeysFile={folder}/keys",
         "-o", "StrictModes=no", "-o", "ListenAddress=127.0.0.1", "-o", "PermitRootLogin=prohibit-password", "-o", "PidFile=none"],
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    wrapper = Path(folder) / "ssh"
    wrapper.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F none -i {tmp_path}/user -o StrictHostKeyChecking=no '
                       f'-o UserKnownHostsFile={folder}/known "$@"\n')  # fmt: skip
    wrapper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    time.sleep(0.3)
    yield f"root@127.0.0.1:{port}"
    process.terminate()
    process.wait()
    shutil.rmtree(folder, ignore_errors=True)


def test_a_remote_engine_by_ssh(engine, ssh):
    async def main():
        provider = DockerSandboxes(image=IMAGE, url=f"ssh://{ssh}{engine.url.removeprefix('unix://')}", warm=0)
        try:
            assert (await provider.probe()).grade == "A"
            box = await provider.start(SandboxSpec(label="x"))
            return (await box.exec(["echo", "far"])).output
        finally:
            await provider.close()

    assert asyncio.run(main()) == b"far\n"


def test_a_remote_engine_that_refuses_says_so(ssh):
    async def main():
        provider = DockerSandboxes(image=IMAGE, url=f"ssh://{ssh.replace('42731', '42732')}", warm=0)
        with pytest.raises(MachineError, match=r"no engine answers at ssh://.*refused"):
            await provider.start(SandboxSpec(label="x"))
        await provider.close()

    asyncio.run(main())


class Steady(Scripted):
    """The same work for every try of a trial."""

    async def complete(self, call):
        began = any(message["role"] == "tool" for message in call.messages)
        self.commands, self.calls = ([], 0) if began else (["sleep 0.3; echo yes > done.txt"], 0)
        return await super().complete(call)


def test_an_engine_that_goes_and_comes_back_costs_no_trial_its_score(engine, tiny_task):
    """Stopped while trials run: their tries break, later ones wait, and all are measured when it is back."""

    def away():
        engine.stop()
        time.sleep(1)
        engine.start()

    async def main():
        provider = DockerSandboxes(image=IMAGE, url=engine.url, concurrency=2, pull=False)
        settings = TrialSettings(run_seed=1, limits=Limits(time_limit=60), models=("main",), model_name="scripted",
                                 isolation="A", folder=None)  # fmt: skip
        task, plain = load_task(tiny_task), read_scaffold(ROOT / "harness" / "scaffolds" / "plain")
        found = []

        async def run_trial(spec):
            made = TrialEngine(provider, Steady(), Instances(provider, None, ""), settings)
            return await made.run(spec, task, plain)

        try:
            await provider.prepare()
            specs = [TrialSpec(candidate="c", task="t", seed=0, attempt=n) for n in range(12)]
            async for trial in LocalExecutor(2).run(specs, run_trial):
                found.append(trial)
                if len(found) == 3:
                    outage = asyncio.create_task(asyncio.to_thread(away))
            await outage
            return found
        finally:
            await provider.close()

    found = asyncio.run(main())
    assert [(t.outcome, t.score) for t in found] == [("scored", 1.0)] * 12, [t.detail for t in found]
    assert max(t.tries for t in found) > 1
    end = time.monotonic() + 3.0
    while engine.docker("ps", "-q") and time.monotonic() < end:
        time.sleep(0.05)
    assert engine.docker("ps", "-q") == []
