"""What every verifier shares: a report of named checks, and running a solution at arm's length.

Copied into each task's tests/ by `make grading`, so that a task folder is complete and its digest covers
everything that decides its score. Standard library only.

The harness passes a nonce on standard input and believes only a result line that starts with it. The process makes
itself undumpable before any solution code runs, so that a solution under the same uid can neither read the nonce
nor write to this process's pipes (prctl(2), PR_SET_DUMPABLE; proc(5)). Harbor passes nothing and reads reward.json.
"""

import contextlib
import ctypes
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

APP = pathlib.Path("/app")
INSTANCE = pathlib.Path(__file__).resolve().parent / "instance"
REWARD = pathlib.Path("/logs/verifier/reward.json")
PR_SET_DUMPABLE = 4


def _take_nonce():
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
    nonce = "" if sys.stdin is None or sys.stdin.isatty() else sys.stdin.read(4096).strip()
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    return nonce


NONCE = _take_nonce()


class Report:
    """Named checks; the reward is 1 when there is at least one and all passed, else 0."""

    def __init__(self):
        self.checks = {}

    def check(self, name, passed, note=""):
        """Record one check. `note` goes to the verifier's log only; the proposer never sees it."""
        self.checks[name] = self.checks.get(name, True) and bool(passed)
        if not passed and note:
            print(f"{name}: {note}", file=sys.stderr)
        return bool(passed)

    @contextlib.contextmanager
    def guard(self, name):
        """Run a block for one check: an exception in it is that check failed, not a broken verifier."""
        try:
            yield
            self.checks.setdefault(name, True)
        except Exception as error:  # a submission can break a reader in any way
            self.check(name, False, f"{type(error).__name__}: {error}")

    def finish(self):
        """Write the reward file, print the result line and exit 0. Call it exactly once, last."""
        reward = 1 if self.checks and all(self.checks.values()) else 0
        with contextlib.suppress(OSError):
            REWARD.parent.mkdir(parents=True, exist_ok=True)
            REWARD.unlink(missing_ok=True)
            REWARD.write_text(json.dumps({"reward": reward}) + "\n")
        kill_others()
        print(NONCE + json.dumps({"reward": reward, "checks": self.checks}), flush=True)
        os._exit(0)


class Ran:
    """What a process left: returncode (None when it ran out of time), stdout, stderr (text, at most 1 MB each)."""

    def __init__(self, returncode, stdout, stderr):
        self.returncode, self.stdout, self.stderr = returncode, stdout, stderr

    def json(self):
        """The standard output as JSON. Raises ValueError."""
        return json.loads(self.stdout)


def run(argv, *, stdin="", cwd=APP, time_limit=10.0, env=None):
    """Run solution code in a process of its own with a bare environment and bounded output.

    Never raises for what the solution does: a time-out is `returncode is None`.
    """
    env = {"PATH": os.environ.get("PATH", "/usr/local/bin:/usr/bin:/bin"), "HOME": "/nonexistent", "LANG": "C.UTF-8",
           "PYTHONDONTWRITEBYTECODE": "1", "PYTHONNOUSERSITE": "1", **(env or {})}
    scratch = pathlib.Path("/tmp") / f"grading-{os.getpid()}-{time.monotonic_ns()}"
    scratch.mkdir(mode=0o700)
    with open(scratch / "out", "w+b") as out, open(scratch / "err", "w+b") as err:
        try:
            child = subprocess.Popen([str(a) for a in argv], stdin=subprocess.PIPE, stdout=out, stderr=err,
                                     cwd=cwd, env=env, start_new_session=True)
        except OSError as error:
            return Ran(127, "", str(error))
        returncode = None
        with contextlib.suppress(subprocess.TimeoutExpired, BrokenPipeError):
            child.communicate(stdin.encode(), timeout=time_limit)
            returncode = child.returncode
        with contextlib.suppress(OSError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        out.seek(0), err.seek(0)
        return Ran(returncode, out.read(1 << 20).decode("utf-8", "replace"), err.read(1 << 20).decode("utf-8", "replace"))


def call(module_file, function, argument_lists, *, time_limit=10.0, cwd=APP):
    """Call `function` of a solution's file once per argument list in one child process.

    Returns a list, in order, of {"value": ...} or {"error": "TypeName: text"}; an empty list when the child died or
    printed something else. Values cross as JSON, so an object that claims to equal everything is worth nothing.
    """
    ran = run([sys.executable, "-s", "-c", _CALLER, str(module_file), function],
              stdin=json.dumps(argument_lists), cwd=cwd, time_limit=time_limit)
    try:
        results = json.loads(ran.stdout.rpartition("\x1e")[2])
    except ValueError:
        return []
    return results if isinstance(results, list) and len(results) == len(argument_lists) else []


_CALLER = r"""
import importlib.util, json, os, sys
path, function = sys.argv[1], sys.argv[2]
calls = json.load(sys.stdin)
sys.path.insert(0, os.path.dirname(path))
spec = importlib.util.spec_from_file_location(os.path.basename(path)[:-3], path)
module = importlib.util.module_from_spec(spec)
sys.modules[spec.name] = module
results = []
try:
    spec.loader.exec_module(module)
    target = getattr(module, function)
except BaseException as error:
    results = [{"error": f"{type(error).__name__}: {error}"} for _ in calls]
else:
    for arguments in calls:
        try:
            results.append({"value": target(*arguments)})
        except BaseException as error:
            results.append({"error": f"{type(error).__name__}: {error}"})
sys.stdout.write("\x1e" + json.dumps(results, default=repr))
sys.stdout.flush()
"""


def read_json(path):
    """A JSON file of the submission: at most 1 MB, a regular file. Raises ValueError or OSError."""
    return json.loads(read_text(path))


def read_text(path, limit=1 << 20):
    """A text file of the submission, UTF-8, regular, no link, at most `limit` bytes. Raises ValueError or OSError."""
    path = pathlib.Path(path)
    if path.is_symlink() or not path.is_file():
        raise FileNotFoundError(str(path))
    if path.stat().st_size > limit:
        raise ValueError(f"{path} is larger than {limit} bytes")
    return path.read_text("utf-8")


def kill_others():
    """Kill every process of this sandbox that this one may kill, but PID 1, so that nothing outlives the verdict."""
    if os.environ.get("GRADING_KEEP") == "1":
        return
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) not in (1, os.getpid(), os.getppid()):
            with contextlib.suppress(OSError):
                os.kill(int(entry), signal.SIGKILL)
