"""The agent's loop: runs commands, moves files and relays a served program's frames, for one host on two descriptors.

In a pid namespace it is PID 1: kill(-1) ends everything untrusted and nothing inside can kill it. With a user id of its
own, commands can neither signal nor open it; under a shared one it is undumpable, so that they can neither trace it nor
open its descriptors (prctl(2), proc(5)). It exits when its standard input closes, and the namespace dies with it. One
loop, one reader: ping and killall pass while a command runs.
"""

# ruff: noqa: PTH103, PTH110, PTH123, PTH208, SIM105
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls, allow-any-generics
from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import os
import select
import sys
import time

from . import account, files, kernel
from .codec import LENGTHS, MAX_BODY, MAX_HEADER, loads, prefix
from .jobs import ALONE, Job, kill_all, start


class Agent:
    """Everything that the agent knows. `uid` is the untrusted user, None when it has no other user to switch to."""

    def __init__(self, config):
        self.uid, self.gid, self.config = config.get("uid"), config.get("gid"), config
        self.stdin, self.stdout = os.dup(0), os.dup(1)
        null = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(null, fd)
        os.close(null)
        self.buffer, self.jobs = bytearray(), {}
        self.wake, wake_w = os.pipe()
        os.set_blocking(self.wake, False)
        os.set_blocking(wake_w, False)
        _signal.signal(_signal.SIGCHLD, lambda *_: None)
        _signal.set_wakeup_fd(wake_w, warn_on_full_buffer=False)
        for number in (_signal.SIGTERM, _signal.SIGINT, _signal.SIGHUP, _signal.SIGPIPE):
            _signal.signal(number, _signal.SIG_IGN)

    def send(self, header, *parts):
        """Write one frame; blocks while the host is slow, and ends the sandbox when it is gone. Copies no part."""
        for part in (prefix(header, sum(map(len, parts))), *parts):
            view = memoryview(part)
            while view:
                try:
                    view = view[os.write(self.stdout, view) :]
                except BrokenPipeError:
                    self.end()

    def end(self):
        kill_all()
        os._exit(0)

    def run(self):
        """Serve for ever."""
        while True:
            poll, owner = select.poll(), {}
            poll.register(self.stdin, select.POLLIN)
            poll.register(self.wake, select.POLLIN)
            for job in self.jobs.values():
                for fd, events in job.wanted():
                    poll.register(fd, events)
                    owner[fd] = job
            for fd, _ in poll.poll(self.patience()):
                if fd == self.stdin:
                    self.receive()
                elif fd == self.wake:
                    os.read(fd, 4096)
                elif owner[fd].id in self.jobs:
                    owner[fd].pump(fd)
            self.collect(reap())
            self.watch()

    def patience(self):
        """Milliseconds until the next deadline."""
        now = time.monotonic()
        nearest = min([job.due() for job in self.jobs.values()], default=now + 3600.0)
        return int(max(0.0, nearest - now) * 1000) + 1

    def receive(self):
        data = os.read(self.stdin, 1 << 20)
        if not data:
            self.end()
        self.buffer += data
        while len(self.buffer) >= 8:
            head, body = LENGTHS.unpack_from(self.buffer)
            if head > MAX_HEADER or body > MAX_BODY + MAX_HEADER + 8:
                self.end()
            if len(self.buffer) < 8 + head + body:
                return
            header = loads(self.buffer[8 : 8 + head].decode())
            payload = bytes(self.buffer[8 + head : 8 + head + body])
            del self.buffer[: 8 + head + body]
            self.handle(header, payload)

    def handle(self, header, body):
        """Carry out one request. What it raises is the request's answer; the host decides whose fault that is."""
        op, ident = header.get("op"), header.get("id")
        try:
            if op == "reply":
                if ident in self.jobs:
                    self.jobs[ident].reply(body)
            elif op in ("exec", "serve"):
                self.jobs[ident] = start(Job(ident, header, body), self.config)
            elif op == "put":
                put = (header["dest"], header["files"], body)
                # What is trusted goes into folders that nobody else can write, as the agent itself.
                count = files.put(*put) if header.get("trusted") else self.as_user(files.put, *put)
                self.send({"id": ident, "count": count})
            elif op == "get":
                self.get(ident, header)
            elif op == "stat":
                self.send({"id": ident, **self.as_user(stat_of, header["path"])})
            elif op == "killall":
                dead = kill_all()
                self.collect(dead)
                self.send({"id": ident, "killed": len(dead)})
            else:
                self.send({"id": ident, **about()})
        except Exception as error:
            text = f"{type(error).__name__}: {error}"
            self.send({"id": ident, "error": text[:1000], "errno": getattr(error, "errno", None) or 0})

    def get(self, ident, header):
        def send(listing, data):
            self.send({"id": ident, "more": True, "files": listing}, data)

        truncated = self.as_user(files.get, header["root"], header["limits"], send)
        self.send({"id": ident, "truncated": truncated})

    def as_user(self, work, *arguments):
        """Touch files with the rights of the untrusted user only; real and saved uid stay, so it cannot signal us."""
        if self.uid is None:
            return work(*arguments)
        os.setegid(self.gid)
        os.seteuid(self.uid)
        try:
            return work(*arguments)
        finally:
            os.seteuid(0)
            os.setegid(0)
            hide(self.config)

    def collect(self, dead):
        for job in self.jobs.values():
            if job.pid in dead and job.status is None:
                job.status, job.ended = dead[job.pid], time.monotonic()

    def watch(self):
        """Kill what is over its deadline, relay what waits, answer for what has ended."""
        now = time.monotonic()
        for job in list(self.jobs.values()):
            if job.status is None and now >= job.deadline:
                job.timed_out = not job.fault
                self.collect(kill_all(job.pid))
                if job.status is None:
                    job.status, job.ended = int(_signal.SIGKILL), now
            if job.status is not None and (job.drained() or now >= job.ended + job.LINGER):
                del self.jobs[job.id]
                self.send(*job.finish())
            else:
                call = job.next_call()
                if call:
                    self.send(*call)


def reap():
    """{pid: status} of the children that have ended; as PID 1 that is every orphan too."""
    dead: dict = {}
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return dead
        if not pid:
            return dead
        dead[pid] = status


def stat_of(path):
    """What lies at a path, links not followed. Raises OSError."""
    info = os.lstat(path)
    return {"size": info.st_size, "mode": info.st_mode, "uid": info.st_uid}


def about():
    """What the host may want to know of this place."""
    return {"pid": os.getpid(), "python": list(sys.version_info[:3]), "executable": sys.executable,
            "runtime": os.path.exists("/opt/runtime/pyvenv.cfg")}  # fmt: skip


def hide(config):
    kernel.hide()
    if ALONE and not config.get("engine"):
        kernel.die_with_parent()


def main():
    """Settle in as the configuration says, then serve."""
    config = loads(sys.argv[1])
    hide(config)
    os.closerange(3, 1024)  # what started us may have left descriptors open
    account.settle(config)
    for path, size, inodes, mode in config.get("tmpfs", ()):
        kernel.mount_tmpfs(path, size, inodes, mode, config["uid"])
    if config.get("loopback"):
        kernel.raise_loopback()
    if config.get("uid") is not None:
        if not config.get("engine"):
            kernel.bound_namespaces()
        kernel.keep_few_capabilities()
    if config.get("filter"):
        kernel.filter_calls(bytes.fromhex(config["filter"]))
    os.umask(0o022)
    agent = Agent(config)
    agent.send({"id": 0, **about()})
    agent.run()
