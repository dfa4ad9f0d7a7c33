"""What a scaffold may ask for: its task, the task's sandbox, a model, the log. It carries frames and nothing else.

Contract 1. Standard library, Python 3.8 and newer. Frames go over the descriptors named by HARNESS_FD_IN and
HARNESS_FD_OUT, or by HTTP to HARNESS_URL; printing is harmless. One request at a time: calls from several threads wait for each other.
"""

import json
import os
import struct
import threading


class RequestError(Exception):
    """The request was wrong (bad_request, not_found); the scaffold may go on."""

    def __init__(self, kind, message):
        super().__init__(message)
        self.kind = kind


class ContextError(RequestError):
    """The prompt is longer than the model's context."""


class LimitError(Exception):
    """A limit of the trial was reached; every later request gets the same. End now."""

    def __init__(self, limit):
        super().__init__(limit)
        self.limit = limit


class InfraAbort(Exception):
    """Infrastructure broke; the trial is being abandoned and will not be scored. End now."""


_lock = threading.Lock()
_last = 0


def _read(fd, size):
    data = b""
    while len(data) < size:
        piece = os.read(fd, size - len(data))
        if not piece:
            raise InfraAbort("the broker is gone")
        data += piece
    return data


def _by_descriptor(data):
    out, source = int(os.environ["HARNESS_FD_OUT"]), int(os.environ["HARNESS_FD_IN"])
    while data:
        data = data[os.write(out, data) :]
    head, tail = struct.unpack(">II", _read(source, 8))
    return json.loads(_read(source, head)), _read(source, tail)


def _by_port(data):
    """The same through the model port, for programs that run beside it."""
    import urllib.request

    try:
        with urllib.request.urlopen(os.environ["HARNESS_URL"] + "/harness", data) as found:
            data = found.read()
    except OSError as error:
        raise InfraAbort("the broker is gone: %s" % error) from None
    head, _ = struct.unpack(">II", data[:8])
    return json.loads(data[8 : 8 + head]), data[8 + head :]


def _request(op, body=b"", **header):
    global _last
    with _lock:
        _last += 1
        raw = json.dumps(dict(header, op=op, id=_last)).encode()
        data = struct.pack(">II", len(raw), len(body)) + raw + body
        answer, payload = _by_port(data) if "HARNESS_FD_OUT" not in os.environ else _by_descriptor(data)
    error = answer.get("error")
    if error:
        kind, message = error.get("kind"), error.get("message", "")
        if kind == "limit":
            raise LimitError(error.get("limit", message))
        if kind == "infra":
            raise InfraAbort(message)
        raise (ContextError if kind == "context" else RequestError)(kind, message)
    return answer, payload


class Ran:
    """A finished command: returncode (None when it ran out of time), output (bytes), text, dropped, seconds."""

    def __init__(self, answer, output):
        self.returncode, self.timed_out = answer["returncode"], answer["timed_out"]
        self.dropped, self.seconds, self.output = answer["dropped"], answer["seconds"], output
        self.text = output.decode("utf-8", "replace")


class env:
    """The task's sandbox."""

    @staticmethod
    def exec(command, cwd=None, time_limit=60, stdin=b""):
        """Run a shell command (str) or an argument list there."""
        what = {"command": command} if isinstance(command, str) else {"argv": list(command)}
        return Ran(*_request("exec", stdin, cwd=cwd, time_limit=time_limit, **what))

    @staticmethod
    def read(path, offset=0, limit=1 << 20):
        """Bytes of a file there."""
        return _request("read", path=path, offset=offset, limit=limit)[1]

    @staticmethod
    def write(path, data):
        """Write a file there (str or bytes)."""
        return _request("write", data.encode() if isinstance(data, str) else data, path=path)[0]["size"]


class model:
    """The models behind the experiment's aliases."""

    @staticmethod
    def complete(messages, tools=(), sampling=None, alias="main"):
        """One completion. Returns {"message", "finish", "usage", "left"}."""
        return _request("complete", messages=list(messages), tools=list(tools), sampling=sampling or {}, model=alias)[0]


class log:
    """Notes and counters for the record; no answer depends on them."""

    @staticmethod
    def note(text):
        _request("log", note=str(text))

    @staticmethod
    def count(counter, by=1):
        _request("log", counter=counter, by=by)


def task():
    """instruction, workdir, step, limits, models, contract."""
    return _request("task")[0]
