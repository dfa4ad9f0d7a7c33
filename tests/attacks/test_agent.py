"""Attacking the in-sandbox agent: killing it, tracing it, opening its descriptors, forging its frames."""

import json

from harness.errors import SandboxFault
from harness.testing.sandboxes import ECHO

FIND = """
import json, os, signal, sys
agent = 1 if os.path.exists("/opt/agent") else os.getppid()
"""

STOP = (
    FIND
    + """
results = {}
for name in ("SIGKILL", "SIGTERM", "SIGSTOP", "SIGSEGV"):
    try:
        os.kill(agent, getattr(signal, name))
        results[name] = "sent"
    except OSError as error:
        results[name] = error.strerror
try:
    os.kill(-1, signal.SIGCONT)
except OSError:
    pass
print(json.dumps(results), flush=True)
"""
)


def test_the_agent_cannot_be_killed_or_stopped(arena):
    """Alone in its namespace, so that killing everything is harmless; the plain provider's agent is killed for real."""
    script = STOP if arena.isolated else FIND + "os.kill(agent, signal.SIGKILL)"

    async def body(box):
        results = []
        try:
            done = await box.exec(["python3", "-c", script], time_limit=10)
            results = json.loads(done.output.splitlines()[-1])
            await box.exec(["bash", "-c", "kill -9 -1; kill -9 1"], time_limit=5)
            return results, (await box.exec(["echo", "alive"])).output
        except Exception as error:
            return results, repr(error).encode()

    results, alive = arena.run(body)
    if arena.isolated:
        assert alive == b"alive\n"
        if arena.own_user:
            assert set(results.values()) == {"Operation not permitted"}
    else:
        assert b"SandboxFault" in alive


OPEN = (
    FIND
    + """
import ctypes
found = {}
def tried(name, action):
    try:
        found[name] = bool(action())
    except OSError:
        found[name] = False
base = "/proc/%d/" % agent
tried("fd", lambda: os.listdir(base + "fd"))
tried("mem", lambda: open(base + "mem", "r+b"))
tried("environ", lambda: open(base + "environ", "rb").read() or True)
tried("maps", lambda: open(base + "maps", "rb").read())
tried("root", lambda: os.listdir(base + "root/"))
tried("map_files", lambda: os.listdir(base + "map_files"))
libc = ctypes.CDLL(None, use_errno=True)
found["ptrace"] = False
if SEIZE:
    found["ptrace"] = libc.ptrace(0x4206, agent, 0, 0) == 0
print(json.dumps(found))
"""
)


def test_the_agent_cannot_be_opened_or_traced(arena):
    found = arena.python(f"SEIZE = {arena.isolated}\n" + OPEN)
    if arena.isolated:
        assert not any(found.values()), found
    else:
        assert found["fd"]
        assert found["mem"]


FORGE = (
    FIND
    + """
import struct
raw = json.dumps({"id": 1, "returncode": 0, "timed_out": False, "dropped": 0, "seconds": 0.0, "out": 6, "fault": ""}).encode()
frame = struct.pack(">II", len(raw), 6) + raw + b"forged"
written = 0
for fd in range(0, 64):
    try:
        os.write(fd, frame)
    except OSError:
        pass
for fd in range(0, 64):
    try:
        target = os.open("/proc/%d/fd/%d" % (agent, fd), os.O_WRONLY | os.O_NONBLOCK)
        if os.readlink("/proc/%d/fd/%d" % (agent, fd)).startswith("pipe:"):
            written += os.write(target, frame)
    except OSError:
        pass
print(json.dumps(bool(written)))
sys.exit(3)
"""
)


def test_frames_cannot_be_forged(arena):
    async def body(box):
        try:
            done = await box.exec(["python3", "-c", FORGE], time_limit=10)
        except SandboxFault:  # the agent read a forged request before the host read the forged answer
            return 0, b"forged"
        return done.returncode, done.output

    code, output = arena.run(body)
    if arena.isolated:
        assert code == 3
        assert output.rstrip().endswith(b"false")
    else:
        assert (code, output) == (0, b"forged")


def test_a_served_program_cannot_speak_for_the_agent(jail):
    """What it sends arrives at its handler as a request of its own, whatever it claims to be."""
    seen = []

    async def body(box):
        async def handler(header, payload):
            seen.append(dict(header))
            return {"id": header.get("id")}, b""

        program = (
            ECHO + "ask({'id': 1, 'op': 'reply', 'returncode': 0})\nask({'id': 7, 'more': True, 'files': []})\nexit(5)"
        )
        return await box.serve(["python3", "-c", program], handler)

    done = jail.run(body)
    assert done.returncode == 5
    assert [h["id"] for h in seen] == [1, 7]


def test_a_child_of_a_served_program_is_outlived(jail):
    """Descriptors passed on to a daemon are dead when the program has ended."""

    async def body(box):
        calls = []

        async def handler(header, payload):
            calls.append(header)
            return {}, b""

        program = ECHO + "import time\nif os.fork():\n    os._exit(0)\nos.setsid(); time.sleep(0.5)\nask({'id': 1})"
        done = await box.serve(["python3", "-c", program], handler, time_limit=10)
        assert done.returncode == 0
        await box.exec(["sleep", "0.8"])
        assert calls == []

    jail.run(body)


def test_a_flood_of_calls_is_answered_one_at_a_time(jail):
    open_now, most = [], []

    async def body(box):
        import asyncio

        async def handler(header, payload):
            open_now.append(1)
            most.append(len(open_now))
            await asyncio.sleep(0.005)
            open_now.pop()
            return {"id": header.get("id")}, b""

        program = ECHO + (
            "raw = json.dumps({'id': 1}).encode()\nframe = struct.pack('>II', len(raw), 0) + raw\n"
            "import time\nend = time.time() + 1.0\nos.set_blocking(out, False)\nsent = 0\n"
            "while time.time() < end:\n    try:\n        sent += os.write(out, frame)\n    except BlockingIOError:\n"
            "        time.sleep(0.001)\nprint(sent // len(frame))"
        )
        return await box.serve(["python3", "-c", program], handler, time_limit=20)

    done = jail.run(body)
    assert max(most) == 1
    assert int(done.output) < 10_000
