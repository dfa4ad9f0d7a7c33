"""Programs without any package, in a real sandbox: every way in and out of the port, and the ways around it."""

import json
import time

import pytest

from harness.records import Limits

URLLIB = """
import json, os, socket, sys, time, urllib.error, urllib.request
BASE = os.environ["ANTHROPIC_BASE_URL"]
def send(path, body=None, method=None, **headers):
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(BASE + path, data, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()
def raw(data, want=65536):
    with socket.create_connection(("127.0.0.1", int(BASE.rpartition(":")[2])), timeout=20) as link:
        link.sendall(data)
        found = b""
        while piece := link.recv(want):
            found += piece
        return found
HELLO = {"model": "main", "messages": [{"role": "user", "content": "x"}]}
"""


def ok(got):
    assert got.code == 0, got.output
    return got


def test_all_dialects_and_the_corners_of_http_without_network_or_key(port):
    gateway = port.Scripted("Hello.")
    program = (
        URLLIB
        + """
assert not [name for name in os.environ if name.startswith("HARNESS_FD")], os.environ
assert os.environ["OPENAI_API_KEY"] == os.environ["ANTHROPIC_API_KEY"] == "harness"
assert os.environ["OPENAI_BASE_URL"] == os.environ["OPENAI_API_BASE"] == BASE + "/v1"
status, headers, body = send("/v1/chat/completions", HELLO)
assert status == 200 and json.loads(body)["choices"][0]["message"]["content"] == "Hello."
status, headers, body = send("/v1/messages", {**HELLO, "max_tokens": 5, "stream": True})
assert headers["Content-Type"].startswith("text/event-stream"), headers
names = [line[7:] for line in body.decode().splitlines() if line.startswith("event: ")]
assert names == ["message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta", "message_stop"]
status, headers, body = send("/v1/responses", {"model": "main", "input": "x", "stream": True})
names = [line[7:] for line in body.decode().splitlines() if line.startswith("event: ")]
assert names[:3] == ["response.created", "response.in_progress", "response.output_item.added"] and names[-1] == "response.completed", names
status, headers, body = send("/v1/chat/completions", {**HELLO, "stream": True, "stream_options": {"include_usage": True}})
assert body.endswith(b"data: [DONE]\\n\\n") and b'"prompt_tokens": 100' in body
assert send("/", method="HEAD")[0] == 200 and send("/v1/models", method="HEAD")[2] == b""
assert [m["id"] for m in json.loads(send("/v1/models")[2])["data"]] == ["main", "small"]
assert send("/v1/models/small")[0] == 200 and send("/v1/models/gpt-9")[0] == 404
for path, method in (("/v1/files", "POST"), ("/v1/chat/completions", "DELETE"), ("/nowhere", None), ("/v1/chat/completions", "GET")):
    assert send(path, b"{}" if method == "POST" else None, method)[0] == 404, path
assert send("/v1/messages", {**HELLO, "model": "x"})[1]["x-should-retry"] == "false"
assert json.loads(send("/v1/messages", {**HELLO, "model": "x"})[2])["error"]["type"] == "not_found_error"
for bad in (b"", b"no", b"[]", b"{", b'{"model": "main", "messages": NaN}', b"[" * 100000, b'{"a":' * 500 + b"1" + b"}" * 500):
    assert send("/v1/chat/completions", bad)[0] == 400, bad[:20]
assert send("/v1/chat/completions", HELLO, **{"Content-Encoding": "zstd"})[0] == 400
body = json.dumps(HELLO).encode()
head = b"POST /v1/chat/completions HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n"
chunks = b"".join(b"%x;x=y\\r\\n%s\\r\\n" % (len(body[at:at+7]), body[at:at+7]) for at in range(0, len(body), 7)) + b"0\\r\\nTrailer: x\\r\\n\\r\\n"
assert b"Hello." in raw(head + b"Transfer-Encoding: chunked\\r\\n\\r\\n" + chunks)
assert b" 400 " in raw(head + b"Transfer-Encoding: chunked\\r\\n\\r\\nzz\\r\\n")
assert b" 400 " in raw(head + b"Transfer-Encoding: chunked\\r\\nContent-Length: 3\\r\\n\\r\\n")
assert b" 400 " in raw(head + b"Content-Length: -3\\r\\n\\r\\n")
assert b" 413 " in raw(head + b"Content-Length: 99999999\\r\\n\\r\\n")
two = (b"POST /v1/chat/completions HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: %d\\r\\n\\r\\n%s" % (len(body), body)) + head + b"Content-Length: %d\\r\\n\\r\\n%s" % (len(body), body)
assert raw(two).count(b"HTTP/1.1 200") == 2
assert b"100 Continue" in raw(head + b"Expect: 100-continue\\r\\nContent-Length: %d\\r\\n\\r\\n%s" % (len(body), body))
"""
    )
    got = ok(port.run(gateway, program, provider="bwrap"))
    assert got.broker.steps == len(gateway.calls) == 8
    assert not got.broker.over.is_set()


def test_a_program_that_goes_around_the_port_finds_nothing(port):
    program = (
        URLLIB
        + """
for where in (("1.1.1.1", 443), ("8.8.8.8", 53), ("169.254.169.254", 80)):
    try:
        socket.create_connection(where, timeout=3)
        raise SystemExit(f"reached {where}")
    except OSError:
        pass
try:
    socket.getaddrinfo("api.openai.com", 443)
    raise SystemExit("a resolver answered")
except OSError:
    pass
for name in os.listdir("/proc/self/fd"):
    target = os.readlink("/proc/self/fd/" + name) if os.path.lexists("/proc/self/fd/" + name) else ""
    assert int(name) < 3 or "pipe" not in target, (name, target)
assert "sk-" not in str(os.environ)
"""
    )
    ok(port.run(port.Scripted("Hello."), program, provider="bwrap"))


def test_a_flood_is_bounded_and_metered(port):
    gateway = port.Scripted("Hello.")
    program = (
        URLLIB
        + """
import threading
seen = []
def many():
    for _ in range(5):
        try:
            seen.append(send("/v1/chat/completions", HELLO)[0])
        except OSError:
            seen.append(0)
threads = [threading.Thread(target=many) for _ in range(40)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(json.dumps({str(code): seen.count(code) for code in set(seen)}))
"""
    )
    got = port.run(gateway, program, provider="bwrap", limits=Limits(time_limit=60, message_limit=20))
    seen = json.loads(got.output)
    assert seen["200"] == 20
    assert seen["403"] > 0
    assert set(seen) <= {"200", "403", "429", "0"}
    assert (len(gateway.calls), got.broker.steps, got.broker.limit) == (20, 20, "message_limit")


@pytest.mark.parametrize("provider", ["bwrap", "local"])
def test_a_program_that_takes_the_port_over_gets_no_more_than_the_broker_gives(port, provider):
    """It finds the port's own descriptors and writes frames itself: forged usage, an undeclared model, an endless session."""
    gateway = port.Scripted("Hello.")
    program = (
        URLLIB
        + """
import glob, struct
status, headers, body = send("/v1/chat/completions", {**HELLO, "usage": {"prompt_tokens": 0, "total_tokens": -5}})
assert json.loads(body)["usage"]["prompt_tokens"] == 100
parent = os.getppid()
try:
    out, back = os.open(f"/proc/{parent}/fd/4", os.O_WRONLY), os.open(f"/proc/{parent}/fd/3", os.O_RDONLY)
except OSError:
    print("closed")
    raise SystemExit
def ask(header, body=b""):
    raw = json.dumps(header).encode()
    os.write(out, struct.pack(">II", len(raw), len(body)) + raw + body)
    head, tail = struct.unpack(">II", os.read(back, 8))
    return json.loads(os.read(back, head)), os.read(back, tail) if tail else b""
for junk in ({"op": "http"}, {"op": "http", "path": 5, "method": [], "headers": 7}, {"op": "http", "path": "/v1/messages", "method": "POST", "over": False,
             "usage": {"tokens_in": 0}, "status": 200}):
    answer, data = ask(junk)
    assert answer["status"] in (200, 400, 404), answer
os.kill(parent, 9)
"""
    )
    got = port.run(gateway, program, provider=provider)
    assert got.code == (-9 if provider == "local" else 0), got.output
    assert got.broker.usage.tokens == 120
    assert got.broker.steps == 1


def test_a_program_that_stops_the_port_is_left_behind_when_its_session_is_over(port, monkeypatch):
    monkeypatch.setattr("harness.port.program.GRACE", 1.0)
    program = (
        URLLIB
        + """
send("/v1/chat/completions", HELLO)
assert send("/v1/chat/completions", HELLO)[0] == 403
os.kill(os.getppid(), 19)
time.sleep(60)
"""
    )
    begun = time.monotonic()
    got = port.run(port.Scripted("Hello."), program, provider="bwrap", limits=Limits(time_limit=60, message_limit=1))
    assert got.code is None
    assert got.broker.limit == "message_limit"
    assert time.monotonic() - begun < 15


def test_the_exit_code_and_a_missing_command_are_told(port):
    assert port.run(port.Scripted("x"), "raise SystemExit(7)", provider="bwrap").code == 7
    assert port.run(port.Scripted("x"), "import os; os.kill(os.getpid(), 9)", provider="bwrap").code == 137
    missing = port.run(port.Scripted("x"), "", provider="bwrap", argv=["no-such-agent"])
    assert missing.code == 127
    assert "no-such-agent" in missing.output
