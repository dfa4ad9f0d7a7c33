"""Planting things where the harness will read or write."""

import json
import os

from harness.errors import SandboxFault
from harness.seams import File

PLANT = """
import os, socket, sys
secret, here = sys.argv[1], os.getcwd()
open("honest", "w").write("honest")
os.symlink(secret, "answer.txt")
os.symlink(os.path.dirname(secret), "folder")
os.symlink("/proc/self/environ", "environ")
os.mkfifo("pipe")
os.link("honest", "hard")
s = socket.socket(socket.AF_UNIX); s.bind("socket")
os.makedirs("a/" * 50)
open("bad\\udcff", "w").write("x")
os.chmod("honest", 0o6777)
try:
    os.mknod("device", 0o600 | 0o060000, os.makedev(8, 0))
except OSError:
    pass
"""


def test_links_devices_and_fifos_do_not_come_out(arena, tmp_path):
    """The agent is the same for both providers, and so is the answer; a naive reader of the folder is not."""
    secret = tmp_path / "secret"
    secret.write_text("host secret")

    async def body(box):
        done = await box.exec(["python3", "-c", PLANT, str(secret)])
        assert done.returncode == 0, done.output
        got = await box.get("/app")
        naive = await box.exec(["cat", "answer.txt"])
        return got, naive.output

    got, naive = arena.run(body)
    assert set(got) == {"honest", "hard"}
    assert got["honest"] == File(data=b"honest", executable=True)
    assert (naive == b"host secret") is not arena.isolated


def test_a_root_that_is_a_link_is_empty(jail):
    async def body(box):
        await box.exec(["bash", "-c", "ln -s /usr/lib out; ln -s /etc/passwd file"])
        assert await box.get("/app/out") == {}
        assert await box.get("/app/file") == {}

    jail.run(body)


def test_put_never_follows_a_planted_link(arena, tmp_path):
    """A folder or file replaced by a link to a place outside: refused or replaced, never written through."""
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "file").write_text("untouched")

    async def body(box):
        await box.exec(["bash", "-c", f"ln -s {victim} folder; ln -s {victim}/file file; mkdir real; mkfifo real/pipe"])
        await box.put({"file": File(data=b"mine"), "real/pipe": File(data=b"mine")}, "/app")
        refused = False
        try:
            await box.put({"folder/file": File(data=b"mine")}, "/app")
        except SandboxFault:
            refused = True
        naive = await box.exec(["bash", "-c", f"echo naive > {victim}/file"])
        return refused, await box.get("/app"), naive.returncode

    refused, got, naive = arena.run(body)
    assert refused
    assert got["file"].data == got["real/pipe"].data == b"mine"
    assert (naive == 0) is not arena.isolated
    assert (victim / "file").read_text() == ("untouched" if arena.isolated else "naive\n")


def test_a_full_folder_is_a_fault_with_its_reason(jail):
    async def body(box):
        await box.exec(["bash", "-c", "head -c 40000000 /dev/zero > full"])
        try:
            await box.put({"more": File(data=b"x" * (1 << 20))}, "/app")
        except SandboxFault as error:
            assert "No space left" in str(error)
        else:
            raise AssertionError("it fitted")
        await box.exec(["rm", "full"])
        await box.put({"more": File(data=b"x")}, "/app")

    jail.run(body)


def test_files_belong_to_the_untrusted_user(jail):
    async def body(box):
        await box.put({"d/file": File(data=b"x")}, "/app")
        done = await box.exec(["sh", "-c", "id -u; stat -c '%u %a' d d/file"])
        user, folder, file = done.output.decode().splitlines()
        assert user != "0"
        assert (folder, file) == (f"{user} 755", f"{user} 644")

    jail.run(body)


DEEP = """
import json, os
for _ in range(3000):
    os.mkdir("d" * 10)
    os.chdir("d" * 10)
open("bottom", "w").write("x")
print(json.dumps(True))
"""


def test_a_bottomless_tree_is_walked_in_bounded_time(jail):
    async def body(box):
        done = await box.exec(["python3", "-c", DEEP])
        assert json.loads(done.output) is True
        await box.put({"top": File(data=b"x")}, "/app")
        assert set(await box.get("/app")) == {"top"}

    jail.run(body)


def test_host_temporary_folder_stays_empty(arena):
    """Nothing of a sandbox is ever a folder on the host."""
    name = f"inside-only-{os.getpid()}"

    async def body(box):
        await box.put({"x": File(data=b"x")}, "/app")
        await box.exec(["touch", f"/tmp/{name}"])

    arena.run(body)
    assert os.path.exists(f"/tmp/{name}") is not arena.isolated
    if not arena.isolated:
        os.unlink(f"/tmp/{name}")
