"""Using up what the machine has: processes, memory, disk, inodes, output."""

import json
import time

from harness.seams import GetLimits

FORKS = """
import json, os, time
count = 0
try:
    for _ in range(300):
        if not os.fork():
            time.sleep(20)
            os._exit(0)
        count += 1
except OSError:
    pass
print(json.dumps(count), flush=True)
os.kill(0, 9) if os.getpid() != 1 and os.getpgid(0) == os.getpid() else None
"""


def test_fork_bomb_is_stopped_at_the_process_limit(arena):
    count = arena.python(FORKS)
    assert (count < 48) if arena.isolated else (count == 300)


def test_fork_storm_ends_at_the_deadline_and_the_sandbox_works_on(jail):
    storm = "import os\nwhile True:\n    try:\n        os.fork()\n    except OSError:\n        pass"

    async def body(box):
        begun = time.monotonic()
        done = await box.exec(["python3", "-c", storm], time_limit=1.0)
        seconds = time.monotonic() - begun
        assert done.timed_out
        assert seconds < 4.0
        assert await box.quiesce() == 0
        assert (await box.exec(["echo", "alive"])).output == b"alive\n"

    jail.run(body)


def test_commands_are_refused_not_broken_while_the_process_table_is_full(jail):
    async def body(box):
        await box.exec(["sh", "-c", "for i in $(seq 60); do sleep 30 >/dev/null 2>&1 & done; true"], time_limit=10)
        done = await box.exec(["sh", "-c", "echo in"])
        assert done.returncode is not None
        assert await box.quiesce() >= 40
        assert (await box.exec(["sh", "-c", "echo back"])).output == b"back\n"

    jail.run(body)


MEMORY = """
import json, os
pids = []
for _ in range(4):
    pid = os.fork()
    if not pid:
        block = bytearray(100 << 20)
        block[::4096] = b"x" * len(block[::4096])
        os._exit(0)
    pids.append(pid)
print(json.dumps(sum(os.waitpid(p, 0)[1] == 0 for p in pids)))
"""


def test_memory_bomb_of_one_process_is_killed(arena):
    script = "block = bytearray(700 << 20)\nprint(1)"

    async def body(box):
        done = await box.exec(["python3", "-c", script], time_limit=30)
        alive = await box.exec(["echo", "alive"])
        assert alive.output == b"alive\n"
        return done

    done = arena.run(body)
    if arena.isolated:
        assert done.returncode == -9
        assert done.oom
    else:
        assert done.returncode == 0


def test_memory_bomb_of_many_processes_is_summed(arena):
    """Four times 100 MB at once do not fit; each alone would."""
    holding = MEMORY.replace("os._exit(0)", "import time; time.sleep(1); os._exit(0)")
    survivors = arena.python(holding)
    assert (survivors < 4) if arena.isolated else (survivors == 4)


FILL = """
import json, os, sys
root, found = sys.argv[1], {}
for folder in ("/app", "/tmp", "/logs", "/dev/shm"):
    path, written = (root + folder if root else folder) + "/fill", 0
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        for part in range(3):
            with open(path + str(part), "wb") as file:
                for _ in range(40):
                    file.write(b"x" * (1 << 20))
                    file.flush()
                    written += 1
    except OSError:
        pass
    found[folder] = written
print(json.dumps(found))
"""


def test_disk_bomb_is_bounded_in_every_writable_folder(arena):
    async def body(box):
        root = box._at("/app").removesuffix("/app")
        done = await box.exec(["python3", "-c", FILL, root], time_limit=60)
        assert (await box.exec(["echo", "alive"])).output == b"alive\n"
        return json.loads(done.output.splitlines()[-1])

    written = arena.run(body)
    if arena.isolated:
        assert all(mb <= 32 for mb in written.values()), written
    else:
        assert written["/app"] == 120


def test_full_folders_and_a_memory_bomb_at_once_leave_the_agent_alive(jail):
    async def body(box):
        await box.exec(["python3", "-c", FILL, ""], time_limit=60)
        await box.exec(["python3", "-c", INODES, "/app"], time_limit=30)
        for _ in range(2):
            done = await box.exec(["python3", "-c", "block = bytearray(900 << 20)"], time_limit=30)
            assert done.returncode == -9
        assert (await box.exec(["echo", "alive"])).output == b"alive\n"
        assert len(await box.get("/app", limits=GetLimits(total_mb=128))) >= 1

    jail.run(body)


SHARED = """
import ctypes, json
libc = ctypes.CDLL(None)
libc.shmat.restype = ctypes.c_void_p
held = 0
for _ in range(80):
    ident = libc.shmget(0, 4 << 20, 0o1600)
    if ident < 0:
        break
    address = libc.shmat(ident, None, 0)
    ctypes.memset(address, 1, 4 << 20)
    libc.shmdt(ctypes.c_void_p(address))
    if CLEAN:
        libc.shmctl(ident, 0, None)
    held += 4
print(json.dumps(held))
"""


def test_shared_memory_that_outlives_its_process_is_bounded(arena):
    held = arena.python(f"CLEAN = {not arena.isolated}\n" + SHARED)
    assert (held <= 32) if arena.isolated else (held == 320)


def test_nothing_else_is_writable(arena):
    script = (
        "import json, os\nopen_ = []\n"
        "for folder in ('/', '/usr', '/usr/lib', '/usr/local', '/etc', '/opt', '/opt/runtime', '/opt/agent', '/dev',\n"
        "               '/var/tmp', '/home', '/run', '/sys', '/proc'):\n"
        "    try:\n        os.close(os.open(folder + '/planted-by-a-test', os.O_CREAT | os.O_WRONLY))\n"
        "        os.unlink(folder + '/planted-by-a-test')\n        open_.append(folder)\n"
        "    except OSError:\n        pass\n"
        "print(json.dumps(open_))"
    )
    writable = arena.python(script)
    assert (writable == []) if arena.isolated else ("/var/tmp" in writable)


INODES = """
import json, os, sys
made, folder = 0, sys.argv[1]
try:
    for n in range(20000):
        os.close(os.open(folder + "/%d" % n, os.O_CREAT | os.O_WRONLY))
        made += 1
except OSError:
    pass
print(json.dumps(made))
"""


def test_inode_bomb_is_bounded(arena):
    async def body(box):
        done = await box.exec(["python3", "-c", INODES, box._at("/app")], time_limit=30)
        return json.loads(done.output)

    made = arena.run(body)
    assert (made < 32 * 128) if arena.own_user else (made <= 20000)
    assert arena.isolated or made == 20000


def test_endless_output_costs_the_host_nothing(jail):
    async def body(box):
        done = await box.exec(["yes"], time_limit=1.0, max_output=1 << 16)
        assert done.timed_out
        assert len(done.output) <= 1 << 16
        assert done.dropped > 10 << 20
        assert (await box.exec(["echo", "alive"])).output == b"alive\n"

    jail.run(body)


def test_sparse_and_many_files_do_not_come_out(arena):
    async def body(box):
        script = "truncate -s 20M sparse; truncate -s 9T huge; for i in $(seq 500); do echo x > f$i; done; true"
        await box.exec(["bash", "-c", script])
        got = await box.get("/app", limits=GetLimits(files=100, file_mb=1, total_mb=4))
        assert len(got) == 100
        assert sum(len(file.data) for file in got.values()) < 4 << 20
        assert "sparse" not in got
        assert "huge" not in got

    arena.run(body)
