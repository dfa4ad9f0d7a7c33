"""Outliving what should end it: deadlines, commands, the sandbox, the harness."""

import asyncio
import os
import signal
import subprocess
import sys
import time

import pytest

from tests.engines import IMAGE

DAEMON = """
import os, signal, sys, time
if os.fork():
    os._exit(0)
os.setsid()
if os.fork():
    os._exit(0)
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
end = time.time() + 6
while time.time() < end:
    with open("late", "a") as file:
        file.write("x")
    time.sleep(0.02)
"""


def grown(arena, first):
    """Whether `late` grows in the second after `first(box)`."""

    async def body(box):
        await first(box)
        before = len((await box.get("/app")).get("late").data)
        await asyncio.sleep(0.3)
        return len((await box.get("/app")).get("late").data) > before

    return arena.run(body)


def test_daemon_that_ignores_sigterm_does_not_outlive_the_deadline(arena):
    async def first(box):
        done = await box.exec(["python3", "-c", DAEMON + ""], time_limit=5)
        assert done.returncode == 0
        await asyncio.sleep(0.2)
        done = await box.exec(["sleep", "30"], time_limit=0.2)
        assert done.timed_out

    assert grown(arena, first) is not arena.isolated


def test_daemon_does_not_outlive_quiesce(arena):
    async def first(box):
        await box.exec(["python3", "-c", DAEMON], time_limit=5)
        await asyncio.sleep(0.2)
        assert (await box.quiesce() >= 1) is arena.isolated

    assert grown(arena, first) is not arena.isolated


def test_a_stopped_process_dies_too(arena):
    marker = f"4.{time.monotonic_ns() % 10**8}"

    async def body(box):
        await box.exec(["bash", "-c", f"setsid sleep {marker} >/dev/null 2>&1 & sleep 0.1; kill -STOP $!"])
        killed = await box.quiesce()
        assert await box.quiesce() == 0
        return killed, len(processes_with(marker))

    killed, left = arena.run(body)
    assert (killed, left) == ((1, 0) if arena.isolated else (0, 1))
    for pid in processes_with(marker):
        os.kill(pid, signal.SIGKILL)


def processes_with(marker):
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/cmdline", "rb") as file:
                    if marker.encode() in file.read().split(b"\0"):
                        found.append(int(entry))
            except OSError:
                pass
    return found


def until(true, limit):
    end = time.monotonic() + limit
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


SUPERVISOR = """
import asyncio, sys
from harness.sandboxes import open_provider
from harness.sandboxes.bwrap import BwrapSandboxes
from harness.seams import SandboxSpec
async def main():
    kind = sys.argv[1]
    provider = (BwrapSandboxes(own_user=False) if kind == "shared"
                else open_provider(kind, image=sys.argv[4], concurrency=0, unsafe=True))
    boxes = await asyncio.gather(*(provider.start(SandboxSpec(label="orphan")) for _ in range(8)))
    script = "import os, time\\nos.fork()\\nos.fork()\\nos.setsid()\\ntime.sleep(20)"
    await asyncio.gather(*(box.exec([sys.argv[3], "-c", script, sys.argv[2]], time_limit=60) for box in boxes))
asyncio.run(main())
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_sandboxes_are_gone_when_the_harness_is_killed(arena, how):
    marker = f"orphan-{os.getpid()}-{time.monotonic_ns()}"
    child = subprocess.Popen([sys.executable, "-c", SUPERVISOR, arena.kind, marker, "python3", IMAGE])
    try:
        assert until(lambda: len(processes_with(marker)) >= 24, 30)
        child.send_signal(how)
        child.wait()
        begun = time.monotonic()
        gone = until(lambda: not processes_with(marker), 2.0)
        if arena.isolated:
            assert gone
            assert time.monotonic() - begun < 2.0
        else:
            assert not gone
    finally:
        child.kill()
        child.wait()
        for pid in processes_with(marker):
            os.kill(pid, signal.SIGKILL)


def test_cancelling_the_harness_leaves_nothing(jail):
    marker = f"9{time.monotonic_ns() % 10**8}.5"

    async def body(box):
        task = asyncio.create_task(box.exec(["sleep", marker]))
        assert await asyncio.to_thread(until, lambda: processes_with(marker), 5)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await box.close()
        assert not processes_with(marker)

    jail.run(body)
