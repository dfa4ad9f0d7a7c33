"""The in-sandbox agent: runs commands, moves files and relays a served program's frames, over two descriptors.

Standard library only, Python 3.8 and newer, started as `python3 -I -S agent.py [deadline flags]`. In a pid namespace it
is PID 1: kill(-1) ends every untrusted process and nothing inside can kill it. It makes itself undumpable, so that
commands under the same uid can neither trace it nor open its descriptors (prctl(2), proc(5)). It exits when its standard
input closes, and the namespace dies with it.

Frames: uint32 header length, uint32 body length (big endian), JSON header, raw body.
"""

import ctypes
import errno
import json
import os
import resource
import select
import signal
import stat
import struct
import sys
import time

MAX_HEADER, MAX_BODY = 1 << 20, 1 << 26
PR_SET_DUMPABLE = 4
ALONE = os.getpid() == 1


class Kept:
    """Head and tail of a stream, at most `limit` bytes; the middle is counted and dropped."""

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
        if len(self.tail) > 2 * self.half:
            del self.tail[: len(self.tail) - self.half]

    def bytes(self):
        del self.tail[: max(0, len(self.tail) - self.half)]
        return bytes(self.head + self.tail), self.total - len(self.head) - len(self.tail)


class Job:
    """A running command or served program."""

    def __init__(self, ident, header, stdin):
        self.id = ident
        self.header = header
        self.pid = 0
        self.started = time.monotonic()
        self.deadline = self.started + float(header.get("time_limit", 60))
        limit = int(header.get("max_output", 1 << 20))
        self.kept = {"out": Kept(limit), "err": Kept(limit)}
        self.fds = {}  # fd -> "out" | "err" | "calls"
        self.stdin_fd, self.stdin = None, memoryview(stdin)
        self.replies_fd, self.replies = None, bytearray()
        self.incoming, self.waiting = bytearray(), False
        self.status, self.ended_at, self.timed_out, self.fault = None, None, False, ""


class Agent:
    def __init__(self):
        self.stdin, self.stdout = os.dup(0), os.dup(1)
        null = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(null, fd)
        self.buffer, self.jobs = bytearray(), {}
        self.wake_r, wake_w = os.pipe()
        os.set_blocking(self.wake_r, False)
        os.set_blocking(wake_w, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake_w, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
            signal.signal(number, signal.SIG_IGN)

    def send(self, header, body=b""):
        raw = json.dumps(header).encode()
        data = struct.pack(">II", len(raw), len(body)) + raw + body
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self.stdout, view):]
            except BrokenPipeError:
                os._exit(0)

    def run(self):
        while True:
            poll = select.poll()
            poll.register(self.stdin, select.POLLIN)
            poll.register(self.wake_r, select.POLLIN)
            owner = {}
            for job in self.jobs.values():
                for fd, kind in job.fds.items():
                    if kind != "calls" or not job.waiting:
                        poll.register(fd, select.POLLIN)
                        owner[fd] = job
                if job.stdin_fd is not None:
                    poll.register(job.stdin_fd, select.POLLOUT)
                    owner[job.stdin_fd] = job
                if job.replies:
                    poll.register(job.replies_fd, select.POLLOUT)
                    owner[job.replies_fd] = job
            for fd, _ in poll.poll(self.patience()):
                if fd == self.stdin:
                    self.receive()
                elif fd == self.wake_r:
                    os.read(fd, 4096)
                elif fd in owner:
                    self.pump(owner[fd], fd)
            self.reap()
            self.watch()

    def patience(self):
        now, nearest = time.monotonic(), 3600.0
        for job in self.jobs.values():
            limit = job.deadline if job.ended_at is None else job.ended_at + 0.1
            nearest = min(nearest, max(0.0, limit - now))
        return int(nearest * 1000) + 1

    def receive(self):
        data = os.read(self.stdin, 1 << 20)
        if not data:
            kill_everything()
            os._exit(0)
        self.buffer += data
        while len(self.buffer) >= 8:
            head, body = struct.unpack(">II", self.buffer[:8])
            if len(self.buffer) < 8 + head + body:
                return
            header = json.loads(bytes(self.buffer[8 : 8 + head]))
            payload = bytes(self.buffer[8 + head : 8 + head + body])
            del self.buffer[: 8 + head + body]
            self.handle(header, payload)

    def handle(self, header, body):
        op, ident = header.get("op"), header.get("id")
        try:
            if op == "reply":
                job = self.jobs.get(ident)
                if job is not None:
                    job.replies += body
                    job.waiting = False
            elif op in ("exec", "serve"):
                self.start(ident, header, body)
            elif op == "put":
                self.send({"id": ident, "count": put(header["dest"], header["files"], body)})
            elif op == "get":
                listing, data, truncated = get(header["root"], header["limits"])
                self.send({"id": ident, "files": listing, "truncated": truncated}, data)
            elif op == "killall":
                self.send({"id": ident, "killed": kill_everything()})
            else:
                self.send({"id": ident, "pid": os.getpid()})
        except Exception as error:
            self.send({"id": ident, "error": "%s: %s" % (type(error).__name__, error)})

    def start(self, ident, header, body):
        job = Job(ident, header, body)
        split = header.get("split_streams")
        out_r, out_w = os.pipe()
        err_r, err_w = os.pipe() if split else (None, out_w)
        in_r, in_w = os.pipe()
        pass_fds = {0: in_r, 1: out_w, 2: err_w}
        env = dict(header.get("env") or {})
        calls_r = replies_w = None
        if header["op"] == "serve":
            calls_r, calls_w = os.pipe()
            replies_r, replies_w = os.pipe()
            env.update(HARNESS_FD_IN="3", HARNESS_FD_OUT="4")
            pass_fds.update({3: replies_r, 4: calls_w})
        try:
            job.pid = spawn(header["argv"], header["cwd"], env, pass_fds)
        finally:
            for fd in set(pass_fds.values()):
                os.close(fd)
        job.fds[out_r] = "out"
        if err_r is not None:
            job.fds[err_r] = "err"
        if calls_r is not None:
            job.fds[calls_r] = "calls"
            job.replies_fd = replies_w
            os.set_blocking(replies_w, False)
        job.stdin_fd = in_w
        os.set_blocking(in_w, False)
        self.jobs[ident] = job

    def pump(self, job, fd):
        if fd == job.stdin_fd:
            try:
                if job.stdin:
                    job.stdin = job.stdin[os.write(fd, job.stdin[:65536]):]
            except BlockingIOError:
                return
            except OSError:
                job.stdin = memoryview(b"")
            if not job.stdin:
                os.close(fd)
                job.stdin_fd = None
            return
        if fd == job.replies_fd:
            try:
                del job.replies[: os.write(fd, bytes(job.replies[:65536]))]
            except BlockingIOError:
                pass
            except OSError:
                job.replies.clear()
            return
        data = os.read(fd, 65536)
        kind = job.fds[fd]
        if not data:
            os.close(fd)
            del job.fds[fd]
        elif kind == "calls":
            job.incoming += data
            self.relay(job)
        else:
            job.kept[kind].add(data)

    def relay(self, job):
        if job.waiting or len(job.incoming) < 8:
            return
        head, body = struct.unpack(">II", job.incoming[:8])
        if head > MAX_HEADER or body > MAX_BODY:
            job.fault = "a frame of %d + %d bytes is over the limit" % (head, body)
            job.deadline = 0
            return
        if len(job.incoming) >= 8 + head + body:
            payload = bytes(job.incoming[8 : 8 + head + body])
            del job.incoming[: 8 + head + body]
            job.waiting = True
            self.send({"op": "call", "id": job.id, "head": head}, payload)

    def reap(self):
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            for job in self.jobs.values():
                if job.pid == pid:
                    job.status, job.ended_at = status, time.monotonic()

    def watch(self):
        now = time.monotonic()
        for job in list(self.jobs.values()):
            if job.status is None and now >= job.deadline:
                job.timed_out = not job.fault
                kill_everything(job.pid)
                self.reap()
                if job.status is None:
                    job.status, job.ended_at = signal.SIGKILL, now
            drained = not any(kind != "calls" for kind in job.fds.values())
            if job.status is not None and (drained or now >= job.ended_at + 0.1):
                self.finish(job)
            elif not job.waiting and job.incoming:
                self.relay(job)

    def finish(self, job):
        for fd, kind in list(job.fds.items()):
            os.set_blocking(fd, False)
            try:
                while kind != "calls" and (data := os.read(fd, 65536)) and job.kept[kind].total < 1 << 28:
                    job.kept[kind].add(data)
            except OSError:
                pass
            os.close(fd)
        for fd in (job.stdin_fd, job.replies_fd):
            if fd is not None:
                os.close(fd)
        del self.jobs[job.id]
        out, dropped = job.kept["out"].bytes()
        err, dropped_err = job.kept["err"].bytes()
        code = None if job.timed_out else os.waitstatus_to_exitcode(job.status)
        self.send({"id": job.id, "returncode": code, "timed_out": job.timed_out, "dropped": dropped + dropped_err,
                   "seconds": time.monotonic() - job.started, "out": len(out), "fault": job.fault}, out + err)


def spawn(argv, cwd, env, fds):
    """fork and exec with exactly these descriptors; a failure to start is exit code 126 or 127 with the reason."""
    pid = os.fork()
    if pid:
        return pid
    try:
        os.setsid()
        for number in range(1, signal.NSIG):
            try:
                signal.signal(number, signal.SIG_DFL)
            except (OSError, ValueError):
                pass
        high = {target: os.dup2(source, 100 + target, inheritable=False) for target, source in fds.items()}
        for target, source in high.items():
            os.dup2(source, target, inheritable=True)
        try:
            with open("/proc/self/oom_score_adj", "w") as file:
                file.write("1000")
        except OSError:
            pass
        os.chdir(cwd)
        os.execvpe(argv[0], argv, env)
    except BaseException as error:
        os.write(2, ("%s: %s\n" % (argv[0], getattr(error, "strerror", error))).encode())
        os._exit(127 if getattr(error, "errno", 0) == errno.ENOENT else 126)


def kill_everything(pid=0):
    """End every process but this one, and prove it; how many were seen. Without a pid namespace: that job's group."""
    if not ALONE:
        if pid:
            try:
                os.killpg(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            except OSError:
                pass
        return 0
    killed = 0
    for _ in range(2000):
        others = [entry for entry in os.listdir("/proc") if entry.isdigit() and entry != "1" and not zombie(entry)]
        if not others:
            return killed
        killed = max(killed, len(others))
        try:
            os.kill(-1, signal.SIGKILL)
        except ProcessLookupError:
            pass
        time.sleep(0.001)
    raise RuntimeError("processes that cannot be killed: " + " ".join(others[:10]))


def zombie(pid):
    try:
        with open("/proc/%s/stat" % pid) as file:
            return file.read().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def parts_of(path):
    parts = path.split("/")
    if path.startswith("/") or not path or any(part in ("", ".", "..") for part in parts) or "\0" in path:
        raise ValueError("not a relative path: %r" % path)
    return parts


def open_folder(parts, base):
    """A descriptor of the folder below `base`, made when missing, never through a link."""
    fd = os.dup(base)
    for part in parts:
        try:
            os.mkdir(part, 0o755, dir_fd=fd)
        except FileExistsError:
            pass
        inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=fd)
        os.close(fd)
        fd = inner
    return fd


def put(dest, files, body):
    os.makedirs(dest, exist_ok=True)
    base = os.open(dest, os.O_RDONLY | os.O_DIRECTORY)
    folders, at = {(): base}, 0
    try:
        for path, size, executable in files:
            *above, name = parts_of(path)
            key = tuple(above)
            if key not in folders:
                folders[key] = open_folder(above, base)
            try:
                os.unlink(name, dir_fd=folders[key])
            except FileNotFoundError:
                pass
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
            fd = os.open(name, flags, 0o755 if executable else 0o644, dir_fd=folders[key])
            view = memoryview(body)[at : at + size]
            while view:
                view = view[os.write(fd, view):]
            os.close(fd)
            at += size
    finally:
        for fd in folders.values():
            os.close(fd)
    return len(files)


def get(root, limits):
    """Regular files below root, sorted; links, devices and fifos left out; what is over a cap is left out and said."""
    listing, chunks, total, truncated = [], [], 0, False
    for folder, names, files in os.walk(root, followlinks=False):
        names.sort()
        for name in sorted(files):
            full = os.path.join(folder, name)
            try:
                fd = os.open(full, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            except OSError:
                continue
            try:
                info = os.fstat(fd)
                if not stat.S_ISREG(info.st_mode):
                    continue
                if len(listing) >= limits["files"] or info.st_size > min(limits["file"], limits["total"] - total):
                    truncated = True
                    continue
                data = b""
                while len(data) <= limits["file"] and (piece := os.read(fd, 1 << 20)):
                    data += piece
                path = os.path.relpath(full, root)
                try:
                    path.encode()
                except UnicodeEncodeError:
                    continue
                listing.append([path, len(data), bool(info.st_mode & 0o100)])
                chunks.append(data)
                total += len(data)
            finally:
                os.close(fd)
    return listing, b"".join(chunks), truncated


def limit_resources(pids, file_mb):
    for what, value in ((resource.RLIMIT_CORE, 0), (resource.RLIMIT_NOFILE, 1024), (resource.RLIMIT_NPROC, pids),
                        (resource.RLIMIT_FSIZE, file_mb << 20)):
        try:
            resource.setrlimit(what, (value, value))
        except (OSError, ValueError):
            pass


if __name__ == "__main__":
    ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
    if len(sys.argv) > 2:
        limit_resources(int(sys.argv[1]), int(sys.argv[2]))
    os.umask(0o022)
    Agent().run()
