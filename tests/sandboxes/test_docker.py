"""The docker provider beyond the contract: images, foreign images, life and death of containers."""

import asyncio
import io
import json
import subprocess
import tarfile
import time

import pytest

from harness.errors import ImageFault, MachineError, SandboxFault
from harness.sandboxes.docker.images import pack
from harness.sandboxes.docker.owner import DEADLINE, OWNER, is_left_over, labels
from harness.sandboxes.docker.provider import DockerSandboxes
from harness.seams import File, Mount, SandboxSpec
from tests.engines import IMAGE, needs_docker

pytestmark = needs_docker
COMPAT = SandboxSpec(label="foreign", profile="compat", image="foreign", workdir="", memory_mb=256, disk_mb=64, pids=64)


REFUSALS = ("not permitted", "denied", "cannot", "must be superuser")


def docker(*words, data=None):
    return subprocess.run(["docker", *words], input=data, capture_output=True, check=True).stdout.decode().strip()


def build(tag, dockerfile):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        entry = tarfile.TarInfo("Dockerfile")
        entry.size = len(dockerfile.encode())
        archive.addfile(entry, io.BytesIO(dockerfile.encode()))
    docker("build", "-q", "-t", tag, "-", data=buffer.getvalue())
    return tag


@pytest.fixture(scope="module")
def foreign():
    """An image with a user, a working folder that holds files, an environment and an entry point of its own."""
    return build(
        "selfharness/test-foreign",
        f"FROM {IMAGE}\nRUN useradd -m worker && mkdir -p /srv/job/deep && echo mine > /srv/job/deep/note && "
        'chown -R worker /srv/job\nENV COLOUR=green\nWORKDIR /srv/job\nUSER worker\nENTRYPOINT ["false"]\n',
    )


def run(body, spec, image=IMAGE, **options):
    async def main():
        provider = DockerSandboxes(
            image=IMAGE, images={"foreign": image}, warm=0, progress=lambda line: None, **options
        )
        try:
            return await body(await provider.start(spec), provider)
        finally:
            await provider.close()

    return asyncio.run(main())


def sh(script, spec, image=IMAGE, **options):
    async def body(box, provider):
        return (await box.exec(["sh", "-c", script], time_limit=30)).output.decode()

    return run(body, spec, image, **options)


def test_a_foreign_image_keeps_its_user_folder_environment_and_writable_root(foreign):
    said = sh(
        "id -un; pwd; cat deep/note; echo $COLOUR; echo x > $HOME/file && cat $HOME/file; touch new && ls",
        COMPAT,
        foreign,
    )
    assert said.splitlines() == ["worker", "/srv/job", "mine", "green", "x", "deep", "new"]


def test_a_foreign_image_may_be_root_and_install_things_but_no_more(foreign):
    script = (
        "id -u; echo x > /usr/bin/installed && echo wrote; chown nobody /usr/bin/installed && echo chowned; "
        "mknod /dev/x b 8 0; mount -t tmpfs none /mnt; grep -E 'CapEff|NoNewPrivs' /proc/self/status; "
        "kill -9 1; cat /proc/1/environ; for f in 0 1 2 3 4 5 6 7 8 9; do echo forged > /proc/1/fd/$f && echo opened; done; "
        "python3 -c 'import ctypes; print(\"traced\", ctypes.CDLL(None).ptrace(16, 1, 0, 0) == 0)'; ls /var/run/docker.sock; echo end"
    )
    said = sh(script, COMPAT.model_copy(update={"user": "root"}), foreign)
    lines = said.splitlines()
    assert lines[0] == "0"
    assert {"wrote", "chowned", "end", "NoNewPrivs:\t1"} <= set(lines)
    capabilities = int(next(line for line in lines if line.startswith("CapEff")).split()[1], 16)
    assert capabilities == sum(1 << n for n in (0, 1, 3, 4, 5, 6, 7, 10))
    assert "opened" not in lines
    assert "traced False" in lines
    for refused in ("mknod", "mount", "/proc/1/fd/5", "environ", "docker.sock"):
        assert any(refused in line and any(w in line for w in REFUSALS) for line in lines), said


def test_a_foreign_image_is_quiesced_and_limited(foreign):
    async def body(box, provider):
        await box.exec(["sh", "-c", "setsid sleep 60 >/dev/null 2>&1 & trap '' TERM; sleep 61 >/dev/null 2>&1 &"])
        assert await box.quiesce() == 2
        done = await box.exec(["python3", "-c", "block = bytearray(900 << 20)"], time_limit=20)
        assert (done.returncode, done.oom) == (-9, True)
        count = "import os, time\nn = 0\ntry:\n    while True:\n        if not os.fork():\n            time.sleep(9)\n        n += 1\nexcept OSError:\n    print(n, flush=True)"
        done = await box.exec(["python3", "-c", count], time_limit=5)
        assert 0 < int(done.output.split()[0]) < 80
        assert (await box.exec(["echo", "alive"])).output == b"alive\n"

    run(body, COMPAT.model_copy(update={"user": "root"}), foreign)


def test_a_writable_root_is_bounded_by_looking(foreign):
    async def body(box, provider):
        await box.exec(["sh", "-c", "for n in 1 2 3; do head -c 40000000 /dev/zero > /srv/job/f$n; done; true"])
        for _ in range(60):
            done = await box.exec(["true"])
            if done.returncode != 0:
                break
            await asyncio.sleep(0.2)
        assert b"64 MB are allowed" in done.output
        assert "deep/note" in await box.get("/srv/job")

    run(body, COMPAT, foreign)


NET = (
    "python3 -c \"import socket; gw = [l.split() for l in open('/proc/net/route')][1:]; "
    'print(len(gw), sorted(n for _, n in socket.if_nameindex()))"'
)


def test_the_network_is_what_was_declared(foreign):
    assert sh(NET, COMPAT, foreign).split()[0] == "0"
    assert "eth0" in sh(NET, COMPAT.model_copy(update={"network": "public"}), foreign)
    with pytest.raises(MachineError, match="hardened has no network"):
        sh(NET, SandboxSpec(label="x", network="public"))


def test_more_than_the_engine_has_is_refused_not_weakened():
    with pytest.raises(MachineError, match="CPUs"):
        sh("true", SandboxSpec(label="x", cpus=4000))


def test_a_snapshot_carries_everything_over_and_goes_with_its_provider(foreign):
    names = []

    async def body(box, provider):
        await box.exec(["sh", "-c", "echo left > /srv/job/answer; (sleep 60 &) >/dev/null 2>&1"])
        names.append(await box.snapshot())
        await box.close()
        fresh = await provider.start(COMPAT.model_copy(update={"image": names[0], "user": "root"}))
        done = await fresh.exec(["sh", "-c", "cat answer; pwd; ps ax | grep -c '[s]leep'"])
        assert done.output == b"left\n/srv/job\n0\n"

    run(body, COMPAT, foreign)
    assert names[0].removeprefix("sha256:")[:12] not in docker("images", "-qa")


@pytest.fixture(scope="module")
def bare():
    """An image without Python: a shell and what it needs."""
    return build(
        "selfharness/test-bare",
        f"FROM {IMAGE} AS full\nRUN mkdir -p /out/bin /out/etc /out/lib64 /out/lib/x86_64-linux-gnu && cp /bin/sh /bin/cat /bin/ls /bin/echo /out/bin/ && "
        "ldd /bin/sh /bin/cat /bin/ls | grep -o '/lib[^ )]*' | sort -u | while read f; do mkdir -p /out$(dirname $f); cp -L $f /out$f; done\n"
        'FROM scratch\nCOPY --from=full /out /\nWORKDIR /work\nCMD ["/bin/sh"]\n',
    )


def test_an_image_without_python_gets_one_for_the_agent_alone(bare):
    said = sh("ls /bin; pwd; echo out", COMPAT.model_copy(update={"user": "root"}), bare)
    assert said.splitlines() == ["cat", "echo", "ls", "sh", "/work", "out"]
    said = sh(
        "cat /work/x; echo y > /work/y; cat /work/y", SandboxSpec(label="x", image="foreign", workdir="/work"), bare
    )
    assert said.splitlines()[-1] == "y"


def test_a_hardened_sandbox_of_an_image_shows_what_its_folder_held(foreign):
    spec = SandboxSpec(label="x", image="foreign", workdir="/srv/job")
    assert sh("cat deep/note; echo more >> deep/note; cat deep/note; echo x > /usr/x", spec, foreign).splitlines()[
        :3
    ] == ["mine", "mine", "more"]


def test_an_image_that_cannot_be_had_says_what_to_do():
    with pytest.raises(ImageFault, match=r"docker pull no/such:image|\[sandbox.images\]"):  # of one task: others go on
        sh("true", COMPAT.model_copy(update={"image": "no/such:image"}))
    with pytest.raises(MachineError, match="sandbox.image"):
        asyncio.run(DockerSandboxes(warm=0, progress=lambda line: None, images={}).digest())


def test_a_tasks_dockerfile_is_built_once_with_progress_and_mapped(tmp_path):
    (tmp_path / "data").write_text(f"payload {time.time()}\n")
    (tmp_path / "Dockerfile").write_text("FROM example.invalid/base:1\nCOPY data /data\nWORKDIR /here\n")
    said = []

    async def main():
        provider = DockerSandboxes(image=IMAGE, images={"example.invalid/base:1": IMAGE}, warm=0, progress=said.append)
        try:
            await provider.prepare()
            first = await provider.images.build(tmp_path)
            lines = len(said)
            second = await provider.images.build(tmp_path)
            box = await provider.start(COMPAT.model_copy(update={"image": first.id}))
            done = await box.exec(["sh", "-c", "cat /data; pwd"])
            return first, second, lines, done.output
        finally:
            await provider.close()

    first, second, lines, output = asyncio.run(main())
    assert first.id == second.id
    assert any(line.startswith("Step ") for line in said)
    assert len(said) == lines
    assert output.startswith(b"payload ")
    assert output.endswith(b"\n/here\n")


def test_a_dockerfile_that_fails_names_its_step(tmp_path):
    (tmp_path / "Dockerfile").write_text(f"FROM {IMAGE}\nRUN echo fine\nRUN false\n")

    async def main():
        provider = DockerSandboxes(image=IMAGE, warm=0, progress=lambda line: None)
        try:
            await provider.prepare()
            await provider.images.build(tmp_path)
        finally:
            await provider.close()

    with pytest.raises(MachineError, match=r"Step 3/\d : RUN false failed"):
        asyncio.run(main())


def ours():
    return docker("ps", "-aq", "--filter", f"label={OWNER}={labels('')[OWNER]}").split()


@pytest.mark.parametrize("delay", [0.0, 0.003, 0.01, 0.03, 0.08, 0.15, 0.25])
def test_a_cancelled_start_leaves_nothing(delay):
    async def main():
        provider = DockerSandboxes(image=IMAGE, warm=0)
        await provider.prepare()
        tasks = [asyncio.create_task(provider.start(SandboxSpec(label="cut"))) for _ in range(3)]
        await asyncio.sleep(delay)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await provider.close()

    asyncio.run(main())
    assert ours() == []


def test_the_reaper_takes_what_has_no_owner_and_nothing_else():
    child = subprocess.run(
        ["python3", "-c", "import os; print(os.getpid())"], capture_output=True, text=True, check=True
    )
    gone = labels("gone")[OWNER].rsplit("/", 2)[0] + f"/{child.stdout.strip()}/12345"
    left = docker("create", "--label", "selfharness=1", "--label", f"{OWNER}={gone}", IMAGE, "sleep", "60")
    late = docker(
        "create",
        "--label",
        "selfharness=1",
        "--label",
        f"{OWNER}=other/boot/space/1/1",
        "--label",
        f"{DEADLINE}=5",
        IMAGE,
        "true",
    )
    mine = docker("create", "--label", "selfharness=1", "--label", f"{OWNER}={labels('')[OWNER]}", IMAGE, "true")
    other = docker("create", IMAGE, "true")
    try:

        async def main():
            provider = DockerSandboxes(image=IMAGE, warm=0)
            try:
                return await provider.reap()
            finally:
                await provider.close()

        assert asyncio.run(main()) >= 2
        there = docker("ps", "-aq", "--no-trunc").split()
        assert left not in there
        assert late not in there
        assert {mine, other} <= set(there)
    finally:
        docker("rm", "-f", mine, other)


def test_owners_of_other_machines_are_left_until_their_deadline():
    soon = {OWNER: "other/boot/space/1/1", DEADLINE: str(int(time.time()) + 1000)}
    assert not is_left_over(soon)
    assert is_left_over(soon | {DEADLINE: "5"})
    assert is_left_over({})
    assert not is_left_over(labels("x"))
    home = labels("x")[OWNER]
    assert is_left_over({OWNER: home[:-1] + "x", DEADLINE: soon[DEADLINE]})


def test_mounts_are_copies_that_commands_cannot_change(tmp_path):
    (tmp_path / "sdk").mkdir()
    (tmp_path / "sdk" / "tool").write_text("real")
    spec = SandboxSpec(label="x", mounts=(Mount(source=str(tmp_path / "sdk"), target="/opt/sdk"),))
    said = sh(
        "cat /opt/sdk/tool; echo forged > /opt/sdk/tool; rm /opt/sdk/tool; mv /opt/sdk /opt/x; cat /opt/sdk/tool", spec
    )
    assert said.startswith("real")
    assert said.endswith("real")


def test_the_grade_says_what_was_given_up():
    async def main():
        provider = DockerSandboxes(image=IMAGE, warm=0)
        try:
            return await provider.probe()
        finally:
            await provider.close()

    found = asyncio.run(main())
    specs = [SandboxSpec(label="x"), COMPAT, COMPAT.model_copy(update={"network": "public"})]
    assert [found.grade_for(spec) for spec in specs] == ["A", "B", "C"]


def test_what_is_packed_is_the_same_every_time():
    files = {"b": File(data=b"2", executable=True), "a": File(data=b"1")}
    assert pack(files) == pack(dict(reversed(files.items())))


def test_engine_that_is_not_there_says_what_to_do(tmp_path):
    async def main():
        provider = DockerSandboxes(image=IMAGE, url=f"unix://{tmp_path}/none.sock")
        with pytest.raises(MachineError, match=r"no engine answers.*\n.*DOCKER_HOST"):
            await provider.start(SandboxSpec(label="x"))
        await provider.close()

    asyncio.run(main())


def test_a_container_that_is_taken_away_is_a_fault():
    async def body(box, provider):
        waiting = asyncio.create_task(box.exec(["sleep", "30"]))
        await asyncio.sleep(0.2)
        docker("rm", "-f", box.container)
        with pytest.raises(SandboxFault):
            await waiting
        with pytest.raises(SandboxFault):
            await box.exec(["true"])

    run(body, SandboxSpec(label="x"))


def test_settings_are_those_of_the_design():
    async def body(box, provider):
        found = json.loads(docker("inspect", box.container))[0]
        host, config = found["HostConfig"], found["Config"]
        assert (host["NetworkMode"], host["ReadonlyRootfs"], host["Privileged"]) == ("none", True, False)
        assert host["CapDrop"] == ["ALL"]
        assert {name.removeprefix("CAP_") for name in host["CapAdd"]} == {"KILL", "SETGID", "SETUID", "NET_ADMIN"}
        assert host["SecurityOpt"] == ["no-new-privileges"]
        assert host["Memory"] == host["MemorySwap"] > 0
        assert (host["PidsLimit"], host["LogConfig"]["Type"]) == (128 + 16, "none")
        assert not host["Binds"]
        assert all(mount["Type"] != "bind" for mount in found["Mounts"])
        assert config["Image"].startswith("sha256:")

    run(body, SandboxSpec(label="x"))
