"""What killed runs leave of bubblewrap's sandboxes, and who removes it: reaping, slots and their owners."""

import asyncio
import subprocess
import sys
import time
from pathlib import Path

from harness.sandboxes.slots import Slots
from tests.sandboxes.test_bwrap import SPEC, as_root, groups, using


@as_root
def test_reap_removes_what_a_killed_harness_left_and_nothing_else():
    program = (
        "import asyncio, os, signal\nfrom harness.sandboxes.bwrap import BwrapSandboxes\n"
        "from harness.seams import SandboxSpec\n"
        "async def main():\n    box = await BwrapSandboxes(warm=0).start(SandboxSpec(label='left'))\n"
        "    print(box.id, flush=True)\n    os.kill(os.getpid(), signal.SIGKILL)\nasyncio.run(main())"
    )

    async def body(provider):
        box = await provider.start(SPEC)
        done = await asyncio.to_thread(subprocess.run, [sys.executable, "-c", program], stdout=subprocess.PIPE)
        left = done.stdout.decode().strip()
        assert done.returncode == -9
        assert await provider.reap() >= 0  # whoever opens a provider on this machine may have been there first
        assert groups({left, box.id}, limit=1.0) == {box.id}
        assert (await box.exec(["echo", "alive"])).output == b"alive\n"

    using(body, warm=0)


@as_root
def test_what_a_kill_in_the_middle_of_a_start_left_is_gone_with_the_next_start():
    program = (
        "import asyncio, os, signal\nfrom harness.sandboxes import bwrap\nfrom harness.seams import SandboxSpec\n"
        "def killed(self, pid):\n    print(pid, flush=True)\n    os.kill(os.getpid(), signal.SIGKILL)\n"
        "bwrap._Start._settle = killed\nasyncio.run(bwrap.BwrapSandboxes(warm=0).start(SandboxSpec(label='left')))"
    )
    done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, check=False)
    left = Path("/proc", done.stdout.decode().strip())
    assert done.returncode == -9
    using(lambda provider: provider.start(SPEC), warm=0)
    deadline = time.monotonic() + 5
    while left.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@as_root
def test_reap_kills_processes_of_a_slot_without_an_owner():
    slots = Slots()
    slot = slots.take()
    left = subprocess.Popen(["sleep", "60"], user=slots.uids(slot)[1], group=slots.uids(slot)[1], extra_groups=[])
    kept = subprocess.Popen(["sleep", "60"], user=slots.uids(slots.take())[0])
    try:
        slots.free(slot)

        async def body(provider):
            return await provider.reap()

        assert using(body) >= 0
        assert left.wait(5) == -9
        assert kept.poll() is None
    finally:
        for process in (left, kept):
            process.kill()
            process.wait()
        slots.close()


def test_slots_are_one_owners_only():
    one, two = Slots(), Slots()
    try:
        mine = {one.take() for _ in range(50)}
        theirs = {two.take() for _ in range(50)}
        assert not mine & theirs
        with two.abandoned(min(mine)) as free:
            assert not free
        one.free(min(mine))
        with two.abandoned(min(mine)) as free:
            assert free
    finally:
        one.close()
        two.close()
