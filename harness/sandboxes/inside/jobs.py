"""Commands and served programs: starting, feeding, listening, and killing all that is untrusted."""

# ruff: noqa: PTH103, PTH123, PTH208, SIM105
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls, allow-any-generics
from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import fcntl
import os
import resource
import select
import time

from . import kernel
from .codec import LENGTHS, MAX_BODY, MAX_HEADER

ALONE = os.getpid() == 1


class Kept:
    """Head and tail of a stream, at most `limit` bytes; the middle is counted and dropped."""

    SLACK = 1 << 20

    def __init__(self, limit):
        self.half = max(1, limit // 2)
        self.head, self.tail, self.total = bytearray(), bytearray(), 0

    def add(self, data):
        self.total += len(data)
        room = self.half - len(self.head)
        if room > 0:
            self.head += data[:room]
            data = data[room:]
        self.tail += data
        if len(self.tail) > self.half + self.SLACK:
            del self.tail[: len(self.tail) - self.half]

    def parts(self):
        """What was kept, in two parts, not copied."""
        del self.tail[: max(0, len(self.tail) - self.half)]
        return self.head, self.tail

    def dropped(self):
        return self.total - len(self.head) - len(self.tail)


class Job:
    """A running command or served program. Times are of time.monotonic()."""

    LINGER = 0.1
    """Seconds that output is still listened for after the command ended and left its pipes open to a child."""

    def __init__(self, ident, header, stdin):
        self.id, self.header, self.pid = ident, header, 0
        self.started = time.monotonic()
        self.deadline = self.started + float(header.get("time_limit", 60))
        limit = int(header.get("max_output", 1 << 20))
        self.kept = {"out": Kept(limit), "err": Kept(limit)}
        self.sources = {}  # descriptor -> "out" | "err" | "calls"
        self.stdin_fd, self.stdin = -1, memoryview(stdin)
        self.replies_fd, self.replies = -1, bytearray()
        self.incoming, self.waiting = bytearray(), False
        self.status: int | None = None
        self.ended, self.timed_out, self.fault = 0.0, False, ""
        self.oom_kills = kernel.oom_kills()

    def wanted(self):
        """(descriptor, events) to wait for. A served program is not heard while its last call is unanswered."""
        for fd, kind in self.sources.items():
            if kind != "calls" or not (self.waiting or self.replies):
                yield fd, select.POLLIN
        if self.stdin_fd >= 0:
            yield self.stdin_fd, select.POLLOUT
        if self.replies:
            yield self.replies_fd, select.POLLOUT

    def due(self):
        return self.deadline if self.status is None else self.ended + self.LINGER

    def drained(self):
        return not any(kind != "calls" for kind in self.sources.values())

    def pump(self, fd):
        """Move bytes on one descriptor."""
        if fd == self.stdin_fd:
            self._feed()
        elif fd == self.replies_fd:
            try:
                del self.replies[: os.write(fd, bytes(self.replies[: 1 << 16]))]
            except BlockingIOError:
                pass
            except OSError:
                self.replies.clear()
        elif fd in self.sources:
            data = os.read(fd, 1 << 16)
            if not data:
                os.close(fd)
                del self.sources[fd]
            elif self.sources[fd] == "calls":
                self.incoming += data
            else:
                self.kept[self.sources[fd]].add(data)

    def _feed(self):
        try:
            if self.stdin:
                self.stdin = self.stdin[os.write(self.stdin_fd, self.stdin[: 1 << 16]) :]
        except BlockingIOError:
            return
        except OSError:
            self.stdin = memoryview(b"")
        if not self.stdin:
            os.close(self.stdin_fd)
            self.stdin_fd = -1

    def reply(self, data):
        """Hand an answer to the served program."""
        self.replies += data
        self.waiting = False

    def next_call(self):
        """The next complete frame of a served program, to send to the host; None while there is none to relay.

        A frame over the limits ends the program: its stream cannot be trusted any more.
        """
        if self.waiting or self.status is not None or len(self.incoming) < 8:
            return None
        head, body = LENGTHS.unpack_from(self.incoming)
        if head > MAX_HEADER or body > MAX_BODY:
            self.fault = f"a frame of {head} + {body} bytes is over the limit"
            self.deadline = 0.0
            return None
        if len(self.incoming) < 8 + head + body:
            return None
        payload = bytes(self.incoming[8 : 8 + head + body])
        del self.incoming[: 8 + head + body]
        self.waiting = True
        return {"op": "call", "id": self.id, "head": head}, payload

    def finish(self):
        """Close everything; the answer to the request."""
        for fd, kind in self.sources.items():
            os.set_blocking(fd, False)
            try:
                for _ in range(0 if kind == "calls" else 64):
                    data = os.read(fd, 1 << 16)
                    if not data:
                        break
                    self.kept[kind].add(data)
            except OSError:
                pass
            os.close(fd)
        for fd in (self.stdin_fd, self.replies_fd):
            if fd >= 0:
                os.close(fd)
        parts = [*self.kept["out"].parts(), *self.kept["err"].parts()]
        dropped = self.kept["out"].dropped() + self.kept["err"].dropped()
        status = self.status or 0
        code = None if self.timed_out else -(status & 0x7F) if status & 0x7F else status >> 8
        oom = None if self.oom_kills is None else (kernel.oom_kills() or 0) > self.oom_kills
        header = {"id": self.id, "returncode": code, "timed_out": self.timed_out, "dropped": dropped, "oom": oom,
                  "seconds": time.monotonic() - self.started, "out": len(parts[0]) + len(parts[1]), "fault": self.fault}  # fmt: skip
        return header, *parts


def start(job, config):
    """Start a job's program. One that cannot be forked (the sandbox is full) is an ended job, exit code 126."""
    header = job.header
    pipes = {"in": os.pipe(), "out": os.pipe()}
    if header.get("split_streams"):
        pipes["err"] = os.pipe()
    theirs = {0: pipes["in"][0], 1: pipes["out"][1], 2: pipes.get("err", pipes["out"])[1]}
    env = {**({"HOME": config["home"]} if "home" in config else {}), **(header.get("env") or {})}
    if header["op"] == "serve":
        pipes["calls"], pipes["replies"] = os.pipe(), os.pipe()
        env.update(HARNESS_FD_IN="3", HARNESS_FD_OUT="4")
        theirs.update({3: pipes["replies"][0], 4: pipes["calls"][1]})
    try:
        job.pid = spawn(header["argv"], header["cwd"], env, theirs, config)
    except OSError as error:
        os.write(pipes["out"][1], f"cannot start: {error.strerror}\n".encode())
        job.status, job.ended = 126 << 8, time.monotonic()
    finally:
        for fd in set(theirs.values()):
            os.close(fd)
    for kind in ("out", "err", "calls"):
        if kind in pipes:
            job.sources[pipes[kind][0]] = kind
    job.stdin_fd = pipes["in"][1]
    os.set_blocking(job.stdin_fd, False)
    if "replies" in pipes:
        job.replies_fd = pipes["replies"][1]
        os.set_blocking(job.replies_fd, False)
    return job


def spawn(argv, cwd, env, fds, config):
    """fork and exec with exactly these descriptors, as the untrusted user, within its limits.

    A failure to start is exit code 126 or 127 with the reason on the child's standard error. Raises OSError for fork.
    """
    pid = os.fork()
    if pid:
        return pid
    code = 126
    try:
        os.setsid()
        for number in (
            _signal.SIGTERM,
            _signal.SIGINT,
            _signal.SIGHUP,
            _signal.SIGPIPE,
            _signal.SIGCHLD,
            _signal.SIGXFSZ,
        ):
            _signal.signal(number, _signal.SIG_DFL)
        high = {target: fcntl.fcntl(source, fcntl.F_DUPFD_CLOEXEC, 10) for target, source in fds.items()}
        for target, source in high.items():
            os.dup2(source, target, inheritable=True)
        drop_rights(config)
        os.chdir(cwd)
        os.execvpe(argv[0], argv, env)
    except FileNotFoundError as error:
        code = 127
        complain(argv, error)
    except BaseException as error:
        complain(argv, error)
    finally:
        os._exit(code)


def drop_rights(config):
    """Be the first to be killed when memory is short, within the limits, and nobody."""
    uid, gid = config.get("uid"), config.get("gid")
    if uid is not None or config.get("engine"):
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("1000")
    limits = {resource.RLIMIT_CORE: 0, resource.RLIMIT_NOFILE: 1024, resource.RLIMIT_NPROC: config.get("pids"),
              resource.RLIMIT_FSIZE: config.get("fsize"), resource.RLIMIT_DATA: config.get("data")}  # fmt: skip
    for what, value in limits.items():
        if value is not None:
            resource.setrlimit(what, (value, value))
    if uid is not None:
        os.setgroups(config.get("groups", ()))
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)


def complain(argv, error):
    what = argv[0] if argv else "(no command)"
    reason = getattr(error, "strerror", None) or error
    os.write(2, f"{what}: {reason}\n".encode("utf-8", "replace"))


def kill_all(pid=0):
    """End every other process of the namespace and prove it: {pid: status} of all that died.

    The proof is the kernel's: kill(-1) finds nothing, not even a zombie. Without a namespace of our own: one job's
    process group. Raises RuntimeError when something will not die.
    """
    dead: dict = {}
    if not ALONE:
        if pid:
            try:
                os.killpg(pid, _signal.SIGKILL)
                dead[pid] = os.waitpid(pid, 0)[1]
            except OSError:
                pass
        return dead
    patience = time.monotonic() + 5.0
    while True:
        try:
            os.kill(-1, _signal.SIGKILL)
        except ProcessLookupError:
            return dead
        try:
            while True:
                found, status = os.waitpid(-1, os.WNOHANG)
                if not found:
                    break
                dead[found] = status
        except ChildProcessError:
            pass
        if time.monotonic() > patience:
            raise RuntimeError("there are processes that cannot be killed")
        time.sleep(0.0002)
