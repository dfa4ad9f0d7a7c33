"""The model port: a loopback HTTP server inside a sandbox, for agents that speak a provider's dialect.

python3 -I model_port.py [--port N] -- COMMAND [ARGUMENT ...]

It starts COMMAND with the providers' usual variables pointing here and a dummy key, hands every HTTP request to the
harness as one frame over HARNESS_FD_IN and HARNESS_FD_OUT, writes the answer, and exits with COMMAND's code. It knows no
dialect, holds no key and needs no network. When the harness says that the session is over, COMMAND gets a few seconds.
Standard library, Python 3.9 and newer.
"""

import contextlib
import http.server
import json
import os
import signal
import struct
import subprocess
import sys
import threading

MAX_BODY = 16 << 20
MAX_CONNECTIONS = 32
IDLE = 120
"""Seconds that a connection may be silent."""
GRACE = 3.0
"""Seconds that the command has to end by itself when the session is over, and again before it is killed."""
FORWARDED = ("content-type", "content-encoding", "anthropic-version", "anthropic-beta", "user-agent")
BUSY = b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Pipe:
    """Frames to the harness and back, one at a time."""

    def __init__(self):
        self.source, self.sink = int(os.environ.pop("HARNESS_FD_IN")), int(os.environ.pop("HARNESS_FD_OUT"))
        self.lock, self.last = threading.Lock(), 0

    def ask(self, header, body):
        with self.lock:
            self.last += 1
            raw = json.dumps(dict(header, op="http", id=self.last)).encode()
            data = memoryview(struct.pack(">II", len(raw), len(body)) + raw + body)
            while data:
                data = data[os.write(self.sink, data) :]
            head, tail = struct.unpack(">II", self.read(8))
            return json.loads(self.read(head)), self.read(tail)

    def read(self, size):
        data = bytearray()
        while len(data) < size:
            piece = os.read(self.source, min(size - len(data), 1 << 20))
            if not piece:
                os._exit(1)  # the harness is gone, and so is every reason to be here
            data += piece
        return bytes(data)


class Refused(Exception):
    """A request that is not worth a frame: (status, reason)."""


class Handler(http.server.BaseHTTPRequestHandler):
    """One connection. Every method goes the same way."""

    protocol_version = "HTTP/1.1"
    timeout = IDLE
    wbufsize = -1
    disable_nagle_algorithm = True

    def serve(self):
        try:
            body = self.body()
        except Refused as refused:
            self.close_connection = True
            status, reason = refused.args
            self.answer(status, "text/plain", reason.encode(), {"x-should-retry": "false"})
            return
        headers = {name: self.headers[name][:1000] for name in FORWARDED if self.headers.get(name)}
        found, data = self.server.pipe.ask({"method": self.command, "path": self.path[:4000], "headers": headers}, body)
        if "status" not in found:
            found, data = {"status": 403}, json.dumps({"error": found.get("error", {})}).encode()
        if found.get("over"):
            self.server.over.set()
        self.answer(found["status"], found.get("type", "application/json"), data, found.get("headers", {}))

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = serve

    def answer(self, status, kind, data, headers):
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(data)), **headers}.items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)
        self.wfile.flush()

    def body(self):
        """The whole body, by length or in chunks."""
        coding, length = self.headers.get("Transfer-Encoding"), self.headers.get("Content-Length")
        if coding is not None:
            if coding.strip().lower() != "chunked" or length is not None:
                raise Refused(400, "a body is either of a Content-Length or chunked")
            return self.chunks()
        if length is None:
            return b""
        if not (length.isascii() and length.isdigit()):
            raise Refused(400, "Content-Length is a number")
        return self.exactly(int(length), 0)

    def chunks(self):
        data = bytearray()
        while True:
            line = self.rfile.readline(1000).split(b";")[0].strip()
            try:
                size = int(line, 16)
            except ValueError:
                raise Refused(400, "a chunk has no size") from None
            if size < 0:
                raise Refused(400, "a chunk has no size")
            if not size:
                for _ in range(100):
                    if not self.rfile.readline(10000).strip():
                        return bytes(data)
                raise Refused(400, "too many trailers")
            data += self.exactly(size, len(data))
            if self.rfile.readline(3).strip():
                raise Refused(400, "a chunk is longer than its size")

    def exactly(self, size, before):
        if before + size > MAX_BODY:
            raise Refused(413, "at most %d bytes in a request" % MAX_BODY)
        data = self.rfile.read(size)
        if len(data) < size:
            raise Refused(400, "the body ended early")
        return data

    def log_message(self, *arguments):
        pass


class Server(http.server.ThreadingHTTPServer):
    """At most so many connections at once: a flood gets 429, not the sandbox's memory."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, address):
        super().__init__(address, Handler)
        self.pipe, self.over = Pipe(), threading.Event()
        self.room = threading.BoundedSemaphore(MAX_CONNECTIONS)

    def server_bind(self):
        """As the base class does, without asking a resolver for this machine's name."""
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = self.server_address[:2]

    def process_request(self, request, client_address):
        if self.room.acquire(blocking=False):
            super().process_request(request, client_address)
            return
        with contextlib.suppress(OSError):
            request.sendall(BUSY)
        self.shutdown_request(request)

    def process_request_thread(self, request, client_address):
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.room.release()

    def handle_error(self, request, client_address):
        pass


def environment(port):
    """What the clients of the two providers read, and nothing of how the port reaches the harness."""
    base = "http://127.0.0.1:%d" % port
    return dict(os.environ, OPENAI_BASE_URL=base + "/v1", OPENAI_API_BASE=base + "/v1", ANTHROPIC_BASE_URL=base,
                OPENAI_API_KEY="harness", ANTHROPIC_API_KEY="harness", NO_PROXY="127.0.0.1,localhost", HARNESS_URL=base)  # fmt: skip


def end(child, over):
    """When the session is over: leave the command a moment to end by itself, then end it."""
    over.wait()
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            child.wait(GRACE)
            return
        except subprocess.TimeoutExpired:
            child.send_signal(number)


def main(arguments):
    port = int(arguments.pop(1)) if arguments[:1] == ["--port"] and len(arguments) > 1 else 0
    command = arguments[arguments.index("--") + 1 :] if "--" in arguments else []
    if not command:
        print(__doc__.splitlines()[2], file=sys.stderr)
        return 2
    server = Server(("127.0.0.1", port))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        child = subprocess.Popen(command, env=environment(server.server_port))
    except OSError as error:
        print("cannot start %s: %s" % (command[0], error.strerror), file=sys.stderr)
        return 127 if isinstance(error, FileNotFoundError) else 126
    threading.Thread(target=end, args=(child, server.over), daemon=True).start()
    code = child.wait()
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    status = main(sys.argv[1:])
    sys.stdout.flush()
    os._exit(status)
