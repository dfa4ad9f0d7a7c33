"""Contract tests of seams.Sandboxes and seams.Sandbox. Subclass and name a provider; pytest does the rest:

class TestMine(SandboxContract):
    isolated = True

    def provider(self):
        return MySandboxes()
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from harness.errors import SandboxFault
from harness.seams import File, GetLimits, Mount, Sandbox, Sandboxes, SandboxSpec

SPEC = SandboxSpec(label="contract", memory_mb=256, disk_mb=64, pids=64, extra_dirs=("/logs",))

ECHO = r"""
import json, os, struct, sys
source, out = int(os.environ["HARNESS_FD_IN"]), int(os.environ["HARNESS_FD_OUT"])
def exactly(n):
    data = b""
    while len(data) < n:
        data += os.read(source, n - len(data))
    return data
def ask(header, body=b""):
    raw = json.dumps(header).encode()
    data = struct.pack(">II", len(raw), len(body)) + raw + body
    while data:
        data = data[os.write(out, data):]
    head, size = struct.unpack(">II", exactly(8))
    return json.loads(exactly(head)), exactly(size)
"""
"""The start of a served program in Python: `ask(header, body)` sends a frame and returns the answer."""


class SandboxContract:
    """What every provider must do. `isolated` is False for a provider of trusted code only."""

    isolated = True

    def provider(self) -> Sandboxes:
        """A new provider; the test closes it."""
        raise NotImplementedError

    def run(self, body: Callable[[Sandbox], Awaitable[None]], spec: SandboxSpec = SPEC) -> None:
        """Run a test in a fresh sandbox."""

        async def main() -> None:
            provider = self.provider()
            try:
                sandbox = await provider.start(spec)
                await body(sandbox)
                await sandbox.close()
            finally:
                await provider.close()

        asyncio.run(main())

    def test_output_exit_code_and_streams(self) -> None:
        async def body(box: Sandbox) -> None:
            done = await box.exec(["sh", "-c", "echo one; echo two >&2; echo three; exit 3"])
            assert (done.returncode, done.output, done.timed_out, done.dropped) == (3, b"one\ntwo\nthree\n", False, 0)
            done = await box.exec(["sh", "-c", "echo one; echo two >&2"], split_streams=True)
            assert (done.returncode, done.stdout, done.output) == (0, b"one\n", b"two\n")
            done = await box.exec(["sh", "-c", "kill -TERM $$"])
            assert done.returncode == -15

        self.run(body)

    def test_what_cannot_start_is_a_value(self) -> None:
        async def body(box: Sandbox) -> None:
            assert (await box.exec(["no-such-program"])).returncode == 127
            assert (await box.exec(["/"])).returncode == 126
            assert (await box.exec(["true"], cwd="/no/such/folder")).returncode in (126, 127)
            assert (await box.exec([])).returncode == 126
            assert (await box.exec(["a\0b"])).returncode == 126
            assert (await box.exec(["echo", "x" * (3 << 20)])).returncode == 126
            assert (await box.exec(["echo", "still", "there"])).output == b"still there\n"

        self.run(body)

    def test_stdin_environment_and_folder(self) -> None:
        async def body(box: Sandbox) -> None:
            data = bytes(range(256)) * 4000
            assert (await box.exec(["cat"], stdin=data)).output == data
            assert (await box.exec(["true"], stdin=data)).returncode == 0
            done = await box.exec(["sh", "-c", "echo $MINE; pwd; touch here"], env={"MINE": "yes"})
            assert done.returncode == 0
            assert done.output.startswith(b"yes\n")
            assert done.output.rstrip().endswith(SPEC.workdir.encode())
            assert "here" in await box.get(SPEC.workdir)

        self.run(body)

    def test_long_output_keeps_head_and_tail(self) -> None:
        async def body(box: Sandbox) -> None:
            done = await box.exec(["sh", "-c", "echo first; yes | head -c 5000000; echo last"], max_output=1000)
            assert len(done.output) <= 1000
            assert done.output.startswith(b"first\n")
            assert done.output.endswith(b"last\n")
            assert done.dropped == 5000011 - len(done.output)

        self.run(body)

    def test_time_limit_is_a_value_and_kills(self) -> None:
        async def body(box: Sandbox) -> None:
            script = "echo begun; while :; do sleep 0.05; echo x >> alive; done"
            done = await box.exec(["sh", "-c", script], time_limit=0.4)
            assert done.timed_out
            assert done.returncode is None
            assert done.output == b"begun\n"
            assert 0.35 < done.seconds < 3.0
            before = (await box.get(SPEC.workdir))["alive"]
            await asyncio.sleep(0.2)
            assert (await box.get(SPEC.workdir))["alive"] == before

        self.run(body)

    def test_requests_pass_while_a_command_runs(self) -> None:
        async def body(box: Sandbox) -> None:
            slow = asyncio.create_task(box.exec(["sleep", "30"]))
            await asyncio.sleep(0.1)
            assert (await box.exec(["echo", "meanwhile"])).output == b"meanwhile\n"
            slow.cancel()
            done = await asyncio.gather(slow, return_exceptions=True)
            assert isinstance(done[0], asyncio.CancelledError)

        self.run(body)

    def test_files_there_and_back(self) -> None:
        files = {
            "empty": File(data=b""),
            "run.sh": File(data=b"#!/bin/sh\necho ran\n", executable=True),
            "deep/er/über name\n.txt": File(data="ä".encode()),
            "large": File(data=bytes(range(256)) * 20_000),
            **{f"many/{n % 7}/{n}": File(data=b"x" * n) for n in range(700)},
        }

        async def body(box: Sandbox) -> None:
            await box.put(files, SPEC.workdir)
            assert await box.get(SPEC.workdir) == files
            assert (await box.exec(["./run.sh"])).output == b"ran\n"
            await box.put({"large": File(data=b"small")}, SPEC.workdir)
            assert (await box.get(SPEC.workdir))["large"] == File(data=b"small")
            await box.put({}, f"{SPEC.workdir}/new/folder")
            assert (await box.exec(["test", "-d", "new/folder"])).returncode == 0
            assert await box.get(f"{SPEC.workdir}/not/there") == {}
            assert await box.get(f"{SPEC.workdir}/large") == {}

        self.run(body)

    def test_put_refuses_names_that_lead_elsewhere(self) -> None:
        async def body(box: Sandbox) -> None:
            for name in ("/etc/x", "../x", "a/../../x", "a//b", ".", ""):
                try:
                    await box.put({name: File(data=b"")}, SPEC.workdir)
                except SandboxFault:
                    continue
                raise AssertionError(f"{name!r} was written")
            assert await box.get(SPEC.workdir) == {}

        self.run(body)

    def test_get_takes_regular_files_within_limits(self) -> None:
        async def body(box: Sandbox) -> None:
            script = "echo a > a; ln -s a link; ln -s /etc folder; mkfifo pipe; mkdir -p d; echo b > d/b; truncate -s 9G c; true"
            assert (await box.exec(["sh", "-c", script])).returncode == 0
            assert {name for name in await box.get(SPEC.workdir) if name != "c"} == {"a", "d/b"}
            got = await box.get(SPEC.workdir)
            assert "c" not in got or got["c"].data == b""
            await box.exec(
                ["sh", "-c", "rm -f c; head -c 2000000 /dev/zero > big; for i in 1 2 3 4; do echo > f$i; done"]
            )
            assert "big" not in await box.get(SPEC.workdir, limits=GetLimits(file_mb=1))
            assert len(await box.get(SPEC.workdir, limits=GetLimits(files=3))) == 3

        self.run(body)

    def test_quiesce_leaves_nothing(self) -> None:
        async def body(box: Sandbox) -> None:
            assert await box.quiesce() == 0
            await box.exec(["sh", "-c", "trap '' TERM; setsid sleep 60 >/dev/null 2>&1 & sleep 61 >/dev/null 2>&1 &"])
            assert await box.quiesce() == (2 if self.isolated else 0)
            assert await box.quiesce() == 0

        self.run(body)

    def test_served_program_is_answered(self) -> None:
        async def body(box: Sandbox) -> None:
            async def handler(header: Mapping[str, Any], payload: bytes) -> tuple[Mapping[str, Any], bytes]:
                return {"id": header.get("id"), "twice": header.get("n", 0) * 2}, payload[::-1]

            program = ECHO + (
                "for n in range(50):\n    assert ask({'id': n, 'n': n}, b'ab') == ({'id': n, 'twice': 2 * n}, b'ba')\n"
                "big = os.urandom(3 << 20)\nassert ask({'id': 99}, big)[1] == big[::-1]\nprint('done')"
            )
            done = await box.serve(["python3", "-c", program], handler)
            assert (done.returncode, done.output) == (0, b"done\n"), done.output

        self.run(body)

    def test_served_program_that_misbehaves_is_a_value(self) -> None:
        calls: list[Mapping[str, Any]] = []

        async def body(box: Sandbox) -> None:
            async def handler(header: Mapping[str, Any], payload: bytes) -> tuple[Mapping[str, Any], bytes]:
                calls.append(header)
                return {}, b""

            flood = (
                ECHO + "os.write(out, struct.pack('>II', 1 << 31, 1 << 31) + b'x' * 100); import time; time.sleep(30)"
            )
            done = await box.serve(["python3", "-c", flood], handler, time_limit=20)
            assert done.returncode != 0
            assert done.seconds < 5
            assert calls == []
            nonsense = ECHO + "os.write(out, struct.pack('>II', 3, 0) + b'}{x'); exactly(8)"
            assert (await box.serve(["python3", "-c", nonsense], handler, time_limit=20)).returncode == 0
            assert calls == [{}]
            assert (await box.serve(["sleep", "30"], handler, time_limit=0.3)).timed_out

        self.run(body)

    def test_no_handler_runs_after_its_program(self) -> None:
        async def body(box: Sandbox) -> None:
            ended: list[str] = []

            async def handler(header: Mapping[str, Any], payload: bytes) -> tuple[Mapping[str, Any], bytes]:
                try:
                    await asyncio.sleep(30)
                finally:
                    ended.append("cancelled")
                return {}, b""

            done = await box.serve(["python3", "-c", ECHO + "ask({'id': 1})"], handler, time_limit=0.5)
            assert done.timed_out
            assert ended == ["cancelled"]

        self.run(body)

    def test_close_is_final_and_idempotent(self) -> None:
        async def body(box: Sandbox) -> None:
            waiting = asyncio.create_task(box.exec(["sleep", "30"]))
            await asyncio.sleep(0.1)
            await asyncio.gather(box.close(), box.close())
            await box.close()
            for lost in (waiting, box.exec(["true"])):
                try:
                    await lost
                except SandboxFault:
                    continue
                raise AssertionError("a closed sandbox answered")

        self.run(body)

    def test_sandboxes_share_nothing_and_folders_are_bounded(self) -> None:
        async def main() -> None:
            provider = self.provider()
            try:
                one, two = await asyncio.gather(provider.start(SPEC), provider.start(SPEC))
                assert one.id != two.id
                for path in (SPEC.workdir, "/tmp", "/logs"):
                    await one.put({"mark": File(data=b"1")}, path)
                    assert "mark" in await one.get(path)
                    assert "mark" not in await two.get(path)
            finally:
                await provider.close()

        asyncio.run(main())

    def test_mounts_are_read_only(self, tmp_path: Any) -> None:
        (tmp_path / "deep").mkdir()
        (tmp_path / "deep" / "file").write_text("content")
        spec = SPEC.model_copy(update={"mounts": (Mount(source=str(tmp_path / "deep"), target="/mnt/shown/deep"),)})

        async def body(box: Sandbox) -> None:
            if self.isolated:
                assert (await box.get("/mnt/shown/deep"))["file"] == File(data=b"content")
                done = await box.exec(["sh", "-c", "cat /mnt/shown/deep/file; echo x > /mnt/shown/deep/file"])
                assert done.output.startswith(b"content")
                assert done.returncode != 0
            assert (tmp_path / "deep" / "file").read_text() == "content"

        self.run(body, spec)

    def test_probe_and_reap(self) -> None:
        async def main() -> None:
            provider = self.provider()
            try:
                found = await provider.probe()
                assert found.provider == provider.name
                assert found.grade in (("A", "B") if self.isolated else ("C",))
                assert await provider.reap() >= 0
            finally:
                await provider.close()

        asyncio.run(main())
